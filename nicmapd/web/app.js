// Puts the page together: the API, the map, the feed, and what shows them.

import { Api } from "./api.js";
import { h } from "./dom.js";
import { Feed } from "./feed.js";
import { parse, sorted } from "./filter.js";
import { NicMap } from "./map.js";
import { Shell } from "./shell.js";
import { SignIn } from "./signin.js";
import { Table } from "./table.js";
import { Toolbar } from "./toolbar.js";
import { count } from "./words.js";

class App {
  constructor(root) {
    this.api = new Api((problem) => this.denied(problem));
    this.map = new NicMap(this.api, { onChange: () => this.mapChanged(), onStatus: (status) => this.statusChanged(status) });
    this.feed = new Feed(this.api, {
      onEvent: (type, data) => this.happened(type, data),
      onGap: () => this.reload(),
      onState: (state, reason) => this.shell.live(state, reason),
    });
    this.shell = new Shell({ onRetry: () => this.feed.retry(), onSignOut: () => this.leave() });
    this.toolbar = new Toolbar({ onChange: () => this.filterChanged(), onAttach: () => {} });
    this.table = new Table({ onOpen: (row) => this.open(row.key), onSort: (column) => this.sortBy(column) });
    this.view = h("div", { class: "view" }, this.toolbar.element, this.table.element);
    this.column = "vm";
    this.descending = false;
    this.order = [];
    this.status = null;
    root.append(this.shell.element);
    document.addEventListener("keydown", (event) => this.key(event));
    this.shell.show("nics", this.view);
    this.showRows();
    this.start();
  }

  async start() {
    try {
      await this.reload();
    } catch {
      // The feed says that nothing answers, and loads once something does.
    }
    if (!this.signIn) this.run();
  }

  run() {
    this.feed.start();
    this.sweeping ??= this.map.sweepForEver();
  }

  async reload() {
    const [status] = await Promise.all([this.api.json("/status"), this.map.load()]);
    this.statusChanged(status);
  }

  // -- tokens

  denied(problem) {
    if (this.signIn) return;
    this.api.token = null;
    this.signIn = new SignIn((token) => this.enter(token));
    if (problem.status === 403) this.signIn.message.textContent = problem.message;
    this.shell.show("", this.signIn.element);
    this.signIn.input.focus();
  }

  async enter(token) {
    this.api.token = token;
    try {
      await this.reload();
    } catch (problem) {
      this.api.token = null;
      throw problem;
    }
    this.signIn = null;
    this.shell.signOut.hidden = false;
    this.shell.show("nics", this.view);
    this.run();
  }

  leave() {
    this.api.token = null;
    location.reload();
  }

  // -- news

  happened(type, data) {
    if (data.sentence) this.shell.tell(data.vm ? `${data.vm}: ${data.sentence}` : data.sentence, data.at);
    if (data.vm_uuid) this.map.look(data.vm_uuid);
    else this.reload().catch(() => {});
  }

  statusChanged(status) {
    this.status = status;
    this.shell.status(status);
    if (this.map.entries.size === 0) this.showRows();
  }

  mapChanged() {
    this.sort();
    this.showRows();
  }

  // -- rows

  sortBy(column) {
    this.descending = this.column === column && !this.descending;
    this.column = column;
    this.sort();
    this.showRows();
  }

  sort() {
    this.order = sorted([...this.map.rows()], this.column, this.descending);
  }

  filterChanged() {
    this.showRows();
    this.table.grid.scrollTop = 0;
  }

  showRows() {
    const fits = parse(this.toolbar.search.value);
    const states = new Map();
    const networks = new Set();
    const rows = [];
    let total = 0;
    for (const row of this.order) {
      if (row.network !== "") networks.add(row.network);
      if (!fits(row)) continue;
      if (this.toolbar.network.value !== "" && row.network !== this.toolbar.network.value) continue;
      total += 1;
      states.set(row.state, (states.get(row.state) ?? 0) + 1);
      if (this.toolbar.fits(row)) rows.push(row);
    }
    this.toolbar.offer(networks);
    this.toolbar.count(states, total);
    this.table.show(rows, { column: this.column, descending: this.descending, message: this.nothing() });
    const all = this.order.length;
    const shown = rows.length === all ? count(all, "NIC") : `${rows.length.toLocaleString("en")} of ${count(all, "NIC")}`;
    this.shell.counts.textContent = this.map.loaded ? `${shown} · ${count(this.map.entries.size, "VM")}` : "";
  }

  /** What stands where the rows would be, if there are none. */
  nothing() {
    if (!this.map.loaded) return h("p", {}, "Reading the map …");
    if (this.toolbar.active) {
      const clear = h("button", { type: "button", class: "button", onclick: () => this.toolbar.clear() }, "Clear the filter");
      return [h("p", {}, "No NIC fits the filter."), clear];
    }
    const reasons = this.status?.reasons ?? [];
    return [
      h("h2", {}, "No VMs yet"),
      h("p", {}, reasons.length > 0 ? reasons.join("; ") : "libvirt has no VM on this host. What is defined there appears here by itself."),
    ];
  }

  open() {}

  key(event) {
    const typing = event.target.closest("input, select, textarea, dialog");
    if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      this.toolbar.search.focus();
      this.toolbar.search.select();
    } else if (event.key === "Escape" && event.target === this.toolbar.search) {
      this.table.grid.focus();
    }
  }
}

new App(document.getElementById("app"));
