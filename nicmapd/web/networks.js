// The view "networks": each libvirt network as a cable with the NICs that hang on it.

import { h, icon, put } from "./dom.js";
import { STATES, count, shown } from "./words.js";

/** NICs drawn of one network; the table has room for the rest. */
const DRAWN = 60;
/** Between two questions for libvirt's networks, in milliseconds. */
const FRESH = 10_000;

export class Networks {
  /** `onOpen(row)` for a NIC, `onFilter(network)` for all of a network, `onAttach(network)` for a new one. */
  constructor({ api, map, onOpen, onFilter, onAttach }) {
    this.api = api;
    this.map = map;
    this.on = { open: onOpen, filter: onFilter, attach: onAttach };
    this.mayChange = false;
    this.known = [];
    this.readAt = -Infinity;
    this.drawn = "";
    this.list = h("div", { class: "cables" });
    this.element = h("div", { class: "networks", tabindex: "0", role: "region", "aria-label": "Networks" }, this.list);
  }

  /** The names of libvirt's networks; where libvirt tells none, those that NICs are on. */
  names() {
    const found = new Set(this.known.map((one) => one.name));
    for (const row of this.map.rows()) if (row.nic?.network) found.add(row.nic.network);
    return [...found].sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
  }

  /** Asks libvirt's networks, if that was not done just now. */
  async read() {
    if (performance.now() - this.readAt < FRESH) return;
    this.readAt = performance.now();
    try {
      this.known = (await this.api.json("/networks")).items;
    } catch {
      return; // the NICs alone say which networks there are
    }
    this.update();
  }

  update() {
    if (!this.element.isConnected) return;
    this.read();
    const groups = this.groups();
    const signature = JSON.stringify([this.mayChange, groups.map((group) => [group.title, group.about, group.rows.map((row) => [row.key, row.signature, row.state])])]);
    if (signature === this.drawn) return;
    this.drawn = signature;
    const focused = this.list.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
    put(this.list, groups.length > 0 ? groups.map((group) => this.cable(group)) : h("p", { class: "nothing" }, this.map.loaded ? "No network, and no NIC." : "Reading the map …"));
    if (focused !== undefined) this.focus(focused);
  }

  /** Puts the keyboard on the NIC of that key. */
  focus(key) {
    [...this.list.querySelectorAll("[data-key]")].find((one) => one.dataset.key === key)?.focus();
  }

  /** Networks first, also those without NICs, then what else NICs hang on. */
  groups() {
    const groups = new Map();
    for (const name of this.names()) groups.set(`network ${name}`, { title: shown(name), name, about: this.about(name), rows: [] });
    for (const row of this.map.rows()) {
      if (row.nic === null) continue;
      const key = row.nic.network ? `network ${row.nic.network}` : row.network;
      if (!groups.has(key)) groups.set(key, { title: row.network, name: null, about: ["no libvirt network"], rows: [] });
      groups.get(key).rows.push(row);
    }
    const order = (row) => row.vmName;
    for (const group of groups.values()) group.rows.sort((a, b) => order(a).localeCompare(order(b), "en", { numeric: true }) || a.index - b.index);
    return [...groups.values()];
  }

  about(name) {
    const found = this.known.find((one) => one.name === name);
    if (found === undefined) return [];
    return [
      found.active ? "active" : "not active", found.forward ?? "isolated", found.bridge, found.autostart ? "autostart" : null, found.persistent ? null : "transient",
    ].filter(Boolean).map(shown);
  }

  cable({ title, name, about, rows }) {
    const more = rows.length - DRAWN;
    return h(
      "section", { class: "cable" },
      h("header", {},
        h("h2", {}, title),
        about.map((word) => h("span", { class: "chip", "data-tone": word === "not active" ? "warn" : "idle" }, word)),
        h("span", { class: "quiet" }, count(rows.length, "NIC")),
        h("span", { class: "space" }),
        this.mayChange && name !== null ? h("button", { type: "button", class: "button small", onclick: () => this.on.attach(name) }, icon("plus"), "Attach NIC") : null,
        rows.length > 0 ? h("button", { type: "button", class: "button small", onclick: () => this.on.filter(rows[0].network) }, "In the table") : null),
      rows.length === 0 ? h("p", { class: "quiet none" }, "No NIC is on it.") : h("ul", { class: "plugs" }, rows.slice(0, DRAWN).map((row) => this.plug(row))),
      more > 0 ? h("button", { type: "button", class: "button small more", onclick: () => this.on.filter(rows[0].network) }, `${count(more, "more NIC")}: in the table`) : null,
    );
  }

  plug(row) {
    const state = STATES[row.state];
    const down = row.nic.link === "down";
    return h(
      "li", { class: down ? "plug down" : "plug" },
      h("button", { type: "button", "data-key": row.key, "data-tone": state.tone, title: row.why, onclick: () => this.on.open(row) },
        h("span", { class: "who" }, row.vmName),
        h("span", { class: row.nic.name === null ? "as unsure" : "as" }, row.name),
        h("span", { class: "where" }, row.addresses.length > 0 ? shown(row.addresses[0]) : row.nic.mac),
        h("span", { class: "stand" }, down ? "link down" : state.label)),
    );
  }
}
