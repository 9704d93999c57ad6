// What this page knows: all VMs and NICs, kept current. An event never changes the map; it only says "look at this VM".

import { vmPath } from "./api.js";
import { attachedTo, nameOf, shown } from "./words.js";

/** Events come in bursts (a boot is a dozen); one look serves all that came within this time. */
const GATHER = 60;
/** Looks at once: the browser has six connections to a host, and one of them is the feed. */
const LOOKS = 3;
/** So many VMs to look at are read faster as one list. */
const MANY = 150;
/** Between sweeps over the VMs, in milliseconds; longer where a sweep takes long. */
const SWEEP = 5_000;

/** Members that move with every poll: no news to show. */
const VOLATILE = new Set(["seen_at", "age", "statistics"]);

/** A line of the table: a NIC, or a VM that has none (`nic` null). */
class Row {
  constructor(entry, nic, index, at) {
    this.entry = entry;
    this.key = `${entry.uuid}/${nic?.id ?? ""}`;
    this.nic = nic;
    this.index = index;
    this.at = at;
    this.changed = 0;
    this.signature = nic === null ? "" : JSON.stringify(nic, (name, value) => (VOLATILE.has(name) ? undefined : value));
    this.vmName = shown(entry.vm.name);
    this.name = nic === null ? "–" : nameOf(nic);
    this.network = nic === null ? "" : attachedTo(nic);
    this.addresses = nic === null ? [] : nic.addresses.map((one) => one.ip);
    this.text = [
      this.vmName, entry.uuid, this.name, this.network, ...this.addresses,
      nic?.mac, nic?.guest_mac, nic?.alias, nic?.target,
    ].filter(Boolean).join("\n").toLowerCase();
  }

  /** `name_state` now: of a name that is known it follows the VM's freshness, without another look. */
  get state() {
    if (this.nic === null) return "none";
    if (this.nic.name === null) return this.nic.name_state;
    const { freshness } = this.entry.vm;
    return freshness === "never" ? "last_known" : freshness;
  }

  /** Seconds since the guest last showed this NIC. */
  ageAt(now) {
    if (this.nic === null) return null;
    const present = this.nic.name !== null || this.nic.name_state === "ambiguous";
    const follows = present && this.entry.vm.age !== null;
    const [age, at] = follows ? [this.entry.vm.age, this.entry.at] : [this.nic.age, this.at];
    return age === null ? null : age + (now - at) / 1000;
  }

  /** Why the state is what it is. */
  get why() {
    const { agent } = this.entry.vm;
    if (this.nic === null) return shown(agent.message);
    const state = this.state;
    if (state === "stale" || state === "last_known") {
      return agent.state === "ok" ? "no answer in time; the name is the last known one" : shown(agent.message);
    }
    return shown(this.nic.reason);
  }
}

export class NicMap {
  /** `onChange(news)` after every change, at most once a frame; `news` says whether rows came, went or moved. */
  constructor(api, { onChange, onStatus }) {
    this.api = api;
    this.onChange = onChange;
    this.onStatus = onStatus;
    this.entries = new Map();
    this.loaded = false;
    this.paused = false;
    this.loading = null;
    this.stale = false;
    this.owed = false; // everything was to be read and could not be: with the next sweep
    this.dirty = new Set();
    this.busy = new Set();
    this.failed = new Set(); // could not be read: again with the next sweep
    this.gathering = 0;
    this.announced = 0;
  }

  *rows() {
    for (const entry of this.entries.values()) yield* entry.rows;
  }

  /** The row of a key; undefined if it is gone. */
  row(key) {
    return this.entries.get(key.split("/", 1)[0])?.rows.find((row) => row.key === key);
  }

  // -- everything anew

  /** Reads everything. While it runs, another call only asks for one more run after it. */
  async load() {
    if (this.loading) {
      this.stale = true;
      return this.loading;
    }
    this.owed = true;
    this.loading = this.loadUntilSettled().finally(() => {
      this.loading = null;
      this.gather();
    });
    return this.loading;
  }

  async loadUntilSettled() {
    do {
      this.stale = false;
      this.dirty.clear();
      this.failed.clear();
      const [vms, nics] = await Promise.all([this.api.all("/vms"), this.api.all("/interfaces")]);
      const byVm = Map.groupBy(nics, (nic) => nic.vm_uuid);
      for (const uuid of [...this.entries.keys()]) this.entries.delete(uuid);
      for (const vm of vms) this.place(vm, byVm.get(vm.uuid) ?? [], { glow: false });
      this.loaded = true;
      this.announce();
    } while (this.stale);
    this.owed = false;
  }

  // -- one VM anew

  /** Something happened to this VM: read it again soon. */
  look(uuid) {
    this.dirty.add(uuid);
    this.gather();
  }

  gather() {
    if (this.gathering || this.loading || this.dirty.size === 0) return;
    this.gathering = setTimeout(() => {
      this.gathering = 0;
      if (this.dirty.size > MANY) this.load().catch(() => {});
      else this.work();
    }, GATHER);
  }

  work() {
    for (const uuid of this.dirty) {
      if (this.busy.size >= LOOKS) return;
      if (this.busy.has(uuid)) continue; // asked again once the answer that is under way is there
      this.dirty.delete(uuid);
      this.busy.add(uuid);
      this.read(uuid)
        .catch((problem) => {
          if (problem.status === 404) this.remove(uuid);
          else this.failed.add(uuid);
        })
        .finally(() => {
          this.busy.delete(uuid);
          if (!this.loading && !this.gathering) this.work();
        });
    }
  }

  async read(uuid) {
    const path = vmPath(uuid);
    const [vm, list] = await Promise.all([this.api.json(path), this.api.json(`${path}/interfaces`)]);
    this.place(vm, list.items, { glow: true });
    this.announce();
  }

  remove(uuid) {
    if (this.entries.delete(uuid)) this.announce();
  }

  /** Puts a VM and its NICs into the map; rows that say something new glow. */
  place(vm, nics, { glow }) {
    const now = performance.now();
    const old = this.entries.get(vm.uuid);
    const entry = { uuid: vm.uuid, vm, at: now, rows: [] };
    const found = nics.length > 0 ? nics : [null];
    entry.rows = found.map((nic, index) => new Row(entry, nic, index, now));
    for (const row of entry.rows) {
      const before = old?.rows.find((one) => one.key === row.key);
      row.changed = before?.changed ?? 0;
      if (glow && before?.signature !== row.signature) row.changed = now;
    }
    this.entries.set(vm.uuid, entry);
  }

  announce() {
    if (this.announced) return;
    this.announced = setTimeout(() => {
      this.announced = 0;
      this.onChange();
    }, 16);
  }

  // -- ages, and what no event told

  /** Compares all VMs with what is known of them, again and again while the page is looked at. */
  async sweepForEver() {
    for (;;) {
      const begun = performance.now();
      if (!this.paused && !document.hidden && (this.loaded || this.owed) && !this.loading) await this.sweep().catch(() => {});
      const took = performance.now() - begun;
      await new Promise((resolve) => setTimeout(resolve, Math.max(SWEEP, took * 20)));
    }
  }

  async sweep() {
    const [status, vms] = await Promise.all([this.api.json("/status"), this.api.all("/vms")]);
    this.onStatus(status);
    if (this.owed) await this.load();
    if (this.loading) return;
    const now = performance.now();
    const there = new Set();
    for (const vm of vms) {
      there.add(vm.uuid);
      const entry = this.entries.get(vm.uuid);
      const nics = entry?.rows.filter((row) => row.nic !== null).length;
      if (entry === undefined || nics !== vm.nic_count || entry.vm.name !== vm.name) {
        this.look(vm.uuid);
      } else {
        entry.vm = vm;
        entry.at = now;
      }
    }
    for (const uuid of [...this.entries.keys()]) if (!there.has(uuid)) this.remove(uuid);
    for (const uuid of this.failed) this.look(uuid);
    this.failed.clear();
    this.announce();
  }
}
