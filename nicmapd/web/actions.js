// What changes a VM: each after a dialog that names what comes or goes. Nothing is sent before that is confirmed.

import { nicPath, vmPath } from "./api.js";
import { h, put } from "./dom.js";
import { age, ago, attachedTo, nameOf, shown } from "./words.js";

/** Seconds that the daemon gives a guest to show a new NIC, and to let one go. */
const SHOWS = 10;
const LETS_GO = 30;

const MODELS = ["", "virtio", "e1000e", "e1000", "rtl8139", "vmxnet3"];

/** Whether the NIC has an address that is good beyond its own link. */
export function reached(nic) {
  return nic.addresses.some((one) => !/^(fe[89ab][0-9a-f]:|169\.254\.)/i.test(one.ip));
}

export class Actions {
  /** `networks()` gives the names of networks to offer. */
  constructor({ api, map, networks }) {
    this.api = api;
    this.map = map;
    this.networks = networks;
  }

  // -- detach and link

  detach(row) {
    return this.confirm(row, {
      title: (nic) => `Detach ${called(nic)} from ${shown(nic.vm)}?`,
      button: "Detach",
      danger: true,
      working: "waiting for the guest to let it go",
      send: async (path, etag) => {
        const response = await this.api.fetch(path, { method: "DELETE", headers: { "If-Match": etag, Prefer: `wait=${LETS_GO}` } });
        return response.status === 202 ? `The guest has not let it go within ${LETS_GO} s. It is asked to, and may do so later.` : null;
      },
    });
  }

  link(row) {
    const to = row.nic.link === "down" ? "up" : "down";
    return this.confirm(row, {
      title: (nic) => `Set the link of ${called(nic)} of ${shown(nic.vm)} ${to}?`,
      button: `Link ${to}`,
      danger: to === "down",
      working: "changing the link",
      send: async (path, etag) => {
        await this.api.fetch(path, { method: "PATCH", headers: { "If-Match": etag }, body: { link: to } });
        return null;
      },
    });
  }

  /** Reads the NIC anew, shows what it is, and does it only as long as that still holds (If-Match). */
  async confirm(row, { title, button, danger, working, send }) {
    const siblings = row.entry.rows.map((one) => one.nic).filter(Boolean);
    const path = nicPath(row.nic, siblings);
    const heading = h("h2", {});
    const facts = h("div", {});
    const act = h("button", { type: "submit", class: `button primary${danger ? " danger" : ""}` }, button);
    const frame = new Frame(heading, facts, act);
    let etag = null;
    const read = async () => {
      const response = await this.api.fetch(path);
      etag = response.headers.get("ETag");
      const nic = await response.json();
      put(heading, title(nic));
      put(facts, this.goes(nic, siblings.filter((one) => one.id !== nic.id), danger));
    };
    frame.open(async () => {
      try {
        return await frame.during(working, () => send(path, etag));
      } catch (problem) {
        if (problem.status === 412) {
          await read();
          throw new Error("It is not any more what was shown; this is what is there now. Nothing was changed.");
        }
        throw problem;
      } finally {
        this.map.look(row.entry.uuid);
      }
    });
    put(heading, title(row.nic));
    act.disabled = true;
    try {
      await read();
      act.disabled = false;
    } catch (problem) {
      frame.fault(problem);
    }
  }

  /** What goes, for people. */
  goes(nic, others, danger) {
    const notes = [];
    if (nic.name !== null && nic.name_state !== "fresh") notes.push(`The guest confirmed this name ${ago(nic.age)}.`);
    if (danger && others.length === 0) notes.push("It is the VM's only NIC.");
    else if (danger && reached(nic) && !others.some(reached)) notes.push("No other NIC of the VM has an address.");
    const facts = [
      ["VM", shown(nic.vm)],
      ["guest name", nameOf(nic)],
      ["MAC", nic.mac],
      ["network", attachedTo(nic)],
      ["addresses", nic.addresses.map((one) => shown(one.ip)).join(", ") || "none is known"],
      ["on top of it", nic.stack.map((one) => `${shown(one.name)} (${one.kind})`).join(", ") || null],
      ["seen", nic.age === null ? "never" : `${age(nic.age)} ago`],
    ];
    return [
      h("dl", { class: "goes" }, facts.filter(([, value]) => value !== null).map(([term, value]) => [h("dt", {}, term), h("dd", {}, value)])),
      notes.map((note) => h("p", { class: "note" }, note)),
    ];
  }

  // -- attach

  /** Asks for a NIC for the VM of `entry`, or for one that is to be chosen (null), on `network` if that is given. */
  attach(entry, network = "") {
    const names = h("datalist", { id: "vms" });
    if (entry === null) put(names, [...this.map.entries.values()].map((one) => h("option", { value: one.vm.name })));
    const vm = h("input", { id: "attach-vm", required: true, list: entry === null ? "vms" : null, autocomplete: "off", readonly: entry !== null });
    vm.value = entry === null ? "" : shown(entry.vm.name);
    const networks = this.networks();
    const place = h("select", { id: "attach-network", required: true }, networks.map((name) => h("option", { value: name }, shown(name))));
    place.value = networks.includes(network) ? network : (networks[0] ?? "");
    const model = h("select", { id: "attach-model" }, MODELS.map((name) => h("option", { value: name }, name || "the best that the machine offers")));
    const mac = h("input", { id: "attach-mac", placeholder: "52:54:00:…", autocomplete: "off", spellcheck: "false", pattern: "[0-9A-Fa-f]{2}([:\\-][0-9A-Fa-f]{2}){5}", title: "six pairs of hex digits" });
    const summary = h("p", { class: "note", "aria-live": "polite" });
    const tell = () => put(summary, vm.value && place.value ? `${vm.value} gets a NIC on the network ${place.value}.` : "");
    const field = (control, title) => h("div", { class: "field" }, h("label", { for: control.id }, title), control);
    const frame = new Frame(
      h("h2", {}, "Attach a NIC"),
      h("div", { oninput: tell }, field(vm, "VM"), names, field(place, "Network"), field(model, "Model"), field(mac, "MAC, if not a free one of 52:54:00"), summary),
      h("button", { type: "submit", class: "button primary" }, "Attach"),
    );
    tell();
    frame.open(async () => {
      const found = entry ?? [...this.map.entries.values()].find((one) => one.vm.name === vm.value);
      if (found === undefined) throw new Error(`There is no VM ${vm.value} on this host.`);
      const body = { type: "network", network: place.value, model: model.value || null, mac: mac.value.trim().replaceAll("-", ":") || null };
      const options = { method: "POST", body, headers: { Prefer: `wait=${SHOWS}` } };
      const nic = await frame.during("waiting for the guest to show it", () => this.api.json(`${vmPath(found.uuid)}/interfaces`, options));
      this.map.look(found.uuid);
      const name = nic.name === null ? (found.vm.state === "running" ? `The guest has not named it within ${SHOWS} s: ${shown(nic.reason)}` : "It is there when the VM is started.") : `Its guest calls it ${shown(nic.name)}.`;
      return `Attached ${nic.mac} to ${attachedTo(nic)}. ${name}`;
    });
    (entry === null ? vm : place).focus();
  }
}

function called(nic) {
  return nic.name === null ? nic.mac : shown(nic.name);
}

/** A modal dialog with one thing to do. The browser keeps the focus inside and gives it back. */
class Frame {
  constructor(heading, content, act) {
    this.message = h("p", { class: "fault", role: "alert" });
    this.progress = h("p", { class: "quiet", role: "status" });
    this.cancel = h("button", { type: "button", class: "button", autofocus: true, onclick: () => this.dialog.close() }, "Cancel");
    this.act = act;
    heading.id = "dialog-title";
    this.content = content;
    this.form = h("form", { onsubmit: (event) => this.submit(event) }, heading, content, this.message, this.progress, h("div", { class: "choices" }, this.cancel, act));
    this.dialog = h("dialog", { class: "dialog", "aria-labelledby": "dialog-title", onclose: () => this.dialog.remove() }, this.form);
  }

  /** `work()` does it; what it returns is told, and null closes the dialog. */
  open(work) {
    this.work = work;
    document.body.append(this.dialog);
    this.dialog.showModal();
  }

  async submit(event) {
    event.preventDefault();
    put(this.message);
    this.act.disabled = true;
    try {
      const told = await this.work();
      if (told === null) this.dialog.close();
      else this.told(told);
    } catch (problem) {
      this.fault(problem);
      this.act.disabled = false;
    }
  }

  fault(problem) {
    put(this.message, problem.message);
  }

  told(text) {
    put(this.content, h("p", {}, text));
    this.act.hidden = true;
    put(this.cancel, "Close");
    this.cancel.focus();
  }

  /** Runs `work`, with its seconds. */
  async during(what, work) {
    const begun = Date.now();
    const tick = () => put(this.progress, `${what} … ${Math.round((Date.now() - begun) / 1000)} s`);
    tick();
    const timer = setInterval(tick, 1000);
    try {
      return await work();
    } finally {
      clearInterval(timer);
      put(this.progress);
    }
  }
}
