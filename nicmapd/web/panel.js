// Everything about one NIC: why it is called so, what stands on it, its past, and what may be done to it.

import { nicPath, vmPath } from "./api.js";
import { copyButton, curl, virsh } from "./copy.js";
import { h, icon, put, say } from "./dom.js";
import { drawing } from "./stack.js";
import { timeline } from "./timeline.js";
import { STATES, ago, attachedTo, local, pendingOf, shown, size } from "./words.js";

const SOURCES = {
  probe: "verified in the guest's sysfs",
  agent: "the only interface with this MAC, and nothing speaks against it",
  inferred: "the only one left after ruling out the others",
};
const HISTORY = 50;

export class Panel {
  /** `onClose()`; `actions` are Attach, Detach, Link of actions.js. */
  constructor({ api, map, onClose, actions }) {
    this.api = api;
    this.map = map;
    this.actions = actions;
    this.mayChange = false;
    this.uri = "qemu:///system";
    this.key = null;
    this.signature = null;
    this.title = h("h2", { class: "title", tabindex: "-1" });
    this.subtitle = h("p", { class: "subtitle" });
    this.chip = h("span", { class: "chip" });
    this.age = h("span", { class: "quiet" });
    this.why = h("p", { class: "reason" });
    this.buttons = h("div", { class: "buttons" });
    this.message = h("p", { class: "fault", role: "status" });
    this.facts = h("div", { class: "facts" });
    this.history = h("div");
    this.element = h(
      "aside", { class: "panel", "aria-label": "NIC", hidden: true },
      h("div", { class: "top" },
        h("div", { class: "titles" }, this.title, this.subtitle),
        h("button", { type: "button", class: "plain", "aria-label": "Close", title: "Close (Escape)", onclick: onClose }, icon("close"))),
      h("div", { class: "inside" },
        h("div", { class: "standing" }, this.chip, this.age), this.why, this.buttons, this.message, this.facts,
        h("section", {}, h("h3", {}, "History"), this.history)),
    );
    setInterval(() => this.element.hidden || this.tick(), 1000);
  }

  get row() {
    return this.key === null ? undefined : this.map.row(this.key);
  }

  /** Shows the NIC of that key. Keyboard focus goes to its title if `focus`. */
  open(key, { focus = true } = {}) {
    const other = key !== this.key;
    this.key = key;
    this.element.hidden = false;
    if (other) {
      this.signature = null;
      put(this.message);
      put(this.history);
      this.element.querySelector(".inside").scrollTop = 0;
    }
    this.update();
    if (focus) this.title.focus();
  }

  close() {
    this.key = null;
    this.element.hidden = true;
  }

  /** Writes anew what changed. */
  update() {
    if (this.key === null) return;
    const { row } = this;
    if (row === undefined && !this.map.loaded) return; // it may come
    const signature = row === undefined ? "gone" : `${row.signature}${row.vmName}${row.entry.vm.state}${row.entry.vm.agent.state}${this.mayChange}`;
    if (signature !== this.signature) {
      const known = this.signature !== null;
      this.signature = signature;
      if (row === undefined) this.gone(known);
      else this.write(row);
    }
    this.tick();
  }

  /** `known`: it was shown before. */
  gone(known) {
    put(this.buttons);
    say(this.chip, "gone");
    this.chip.dataset.tone = "idle";
    if (!known) say(this.title, "not there");
    say(this.why, known
      ? "It was detached, or its VM left this host. What is below is what was known last."
      : "There is no such NIC now: it was detached, or its VM left this host. The VM's history tells of it.");
  }

  tick() {
    const { row } = this;
    if (row === undefined) return;
    const state = STATES[row.state];
    say(this.chip, state.label);
    this.chip.dataset.tone = state.tone;
    this.chip.title = state.means;
    const age = row.ageAt(performance.now());
    say(this.age, row.nic === null ? "" : age === null ? "the guest never showed it" : `seen ${ago(age)}`);
    say(this.why, row.why);
  }

  write(row) {
    const { nic, entry } = row;
    say(this.title, nic === null ? row.vmName : row.name);
    this.title.classList.toggle("unsure", nic !== null && nic.name === null);
    put(this.subtitle, nic === null ? "VM without a NIC" : ["of ", h("b", {}, row.vmName), ` · ${entry.vm.state}`]);
    put(this.buttons, this.offers(row));
    if (nic === null) {
      put(this.facts, section("VM", list(this.vmFacts(entry.vm))));
      put(this.history);
      return;
    }
    put(
      this.facts,
      section("Stack", drawing(nic)),
      section("Evidence", this.evidence(nic)),
      section("Host side", list([
        ["MAC", nic.mac], ["network", attachedTo(nic)], ["bridge", nic.bridge], ["device", nic.target], ["alias", nic.alias],
        ["PCI", nic.pci], ["model", nic.model], ["link", nic.link], ["next boot", pendingOf(nic)],
      ])),
      section("Guest", list([
        ["MAC in the guest", nic.guest_mac], ["named since", nic.name_since && local(nic.name_since)],
        ["received", traffic(nic.statistics, "rx")], ["sent", traffic(nic.statistics, "tx")],
      ])),
      section("VM", list(this.vmFacts(entry.vm))),
    );
    this.readHistory(row);
  }

  evidence(nic) {
    const because = nic.name_source === null ? null : h("p", {}, `Taken because it is ${SOURCES[nic.name_source] ?? nic.name_source}.`);
    const items = nic.evidence.length > 0 ? h("ol", { class: "evidence" }, nic.evidence.map((one) => h("li", {}, shown(one)))) : null;
    return because || items ? [because, items] : h("p", { class: "quiet" }, shown(nic.reason));
  }

  vmFacts(vm) {
    return [
      ["name", shown(vm.name)], ["UUID", vm.uuid], ["state", vm.state + (vm.persistent ? "" : ", transient")],
      ["agent", `${vm.agent.state.replace("_", " ")}: ${shown(vm.agent.message)}`], ["agent version", vm.agent.version && shown(vm.agent.version)],
    ];
  }

  /** The buttons: what may be copied, asked and done. */
  offers(row) {
    const { nic, entry } = row;
    const siblings = entry.rows.map((one) => one.nic).filter(Boolean);
    const path = nic === null ? vmPath(entry.uuid) : nicPath(nic, siblings);
    const ask = h("button", { type: "button", class: "button small", onclick: () => this.ask(row, ask) }, icon("refresh"), "Ask the guest now");
    const copies = [
      nic && copyButton("MAC", () => nic.mac),
      copyButton("curl", () => curl(path, this.api.token)),
      nic && copyButton("virsh", () => virsh(this.uri, entry.vm, nic)),
    ];
    const changes = !this.mayChange ? null : [
      ask,
      h("button", { type: "button", class: "button small", onclick: () => this.actions.attach(entry) }, icon("plus"), "Attach NIC"),
      nic && h("button", { type: "button", class: "button small", onclick: () => this.actions.link(row) }, nic.link === "down" ? "Link up" : "Link down"),
      nic && h("button", { type: "button", class: "button small danger", onclick: () => this.actions.detach(row) }, "Detach"),
    ];
    return [h("div", { class: "group", role: "group", "aria-label": "Copy" }, copies), changes && h("div", { class: "group", role: "group", "aria-label": "Do" }, changes)];
  }

  async ask(row, button) {
    button.disabled = true;
    put(this.message, "asking …");
    try {
      const done = await this.api.json(`${vmPath(row.entry.uuid)}/refresh`, { method: "POST" });
      put(this.message, shown(done.sentence));
      this.message.classList.remove("bad");
    } catch (problem) {
      put(this.message, problem.message);
      this.message.classList.add("bad");
    }
    button.disabled = false;
    this.map.look(row.entry.uuid);
  }

  async readHistory(row) {
    const siblings = row.entry.rows.map((one) => one.nic).filter(Boolean);
    const { key } = this;
    let content;
    try {
      content = timeline((await this.api.json(`${nicPath(row.nic, siblings)}/history?limit=${HISTORY}`)).items);
    } catch (problem) {
      content = h("p", { class: "quiet" }, problem.message);
    }
    if (key === this.key) put(this.history, content);
  }
}

function section(title, ...children) {
  return h("section", {}, h("h3", {}, title), children);
}

/** A list of terms, without those that have nothing to say. */
function list(facts) {
  const known = facts.filter(([, value]) => value !== null && value !== undefined && value !== "");
  if (known.length === 0) return h("p", { class: "quiet" }, "Nothing is known.");
  return h("dl", {}, known.map(([term, value]) => [h("dt", {}, term), h("dd", {}, value === true ? "yes" : shown(value))]));
}

function traffic(statistics, way) {
  if (statistics === null || statistics[`${way}_bytes`] === null) return null;
  const faults = (statistics[`${way}_errors`] ?? 0) + (statistics[`${way}_dropped`] ?? 0);
  return `${size(statistics[`${way}_bytes`])}, ${(statistics[`${way}_packets`] ?? 0).toLocaleString("en")} packets${faults > 0 ? `, ${faults.toLocaleString("en")} errors and drops` : ""}`;
}
