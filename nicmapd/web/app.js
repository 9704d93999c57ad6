// Puts the page together: the API, the map, the feed, and what shows them.

import { Actions } from "./actions.js";
import { Api } from "./api.js";
import { h } from "./dom.js";
import { Feed } from "./feed.js";
import { parse, sorted } from "./filter.js";
import { NicMap } from "./map.js";
import { Networks } from "./networks.js";
import { Panel } from "./panel.js";
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
      onGap: () => this.lookAtAll(),
      onState: (state, reason) => this.connection(state, reason),
    });
    this.shell = new Shell({ onRetry: () => this.feed.retry(), onSignIn: () => this.offerSignIn(), onSignOut: () => this.leave() });
    this.actions = new Actions({ api: this.api, map: this.map, networks: () => this.networks.names() });
    this.networks = new Networks({
      api: this.api, map: this.map,
      onOpen: (row) => this.open(row.key),
      onFilter: (network) => this.filterNetwork(network),
      onAttach: (network) => this.actions.attach(null, network),
    });
    this.panel = new Panel({ api: this.api, map: this.map, actions: this.actions, onClose: () => this.closePanel() });
    this.toolbar = new Toolbar({ onChange: () => this.filterChanged(), onAttach: () => this.attach() });
    this.table = new Table({ onOpen: (row) => this.open(row.key), onSort: (column) => this.sortBy(column) });
    this.list = h("div", { class: "view" }, this.toolbar.element, this.table.element);
    this.column = "vm";
    this.descending = false;
    this.order = [];
    this.status = null;
    root.append(this.shell.element);
    document.addEventListener("keydown", (event) => this.key(event));
    window.addEventListener("hashchange", () => this.moved());
    this.readAddress();
    this.route();
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

  /** Begins to follow; what runs already goes on. */
  run() {
    this.map.paused = false;
    this.feed.start();
    this.sweeping ??= this.map.sweepForEver();
  }

  /** Asks nothing more, until `run`: without a token all would be refused. */
  pause() {
    this.map.paused = true;
    this.feed.stop();
    this.shell.signedOut();
  }

  async reload() {
    const [status] = await Promise.all([this.api.json("/status"), this.map.load()]);
    this.statusChanged(status);
  }

  // -- tokens

  denied(problem) {
    if (this.signIn) return;
    const had = this.api.token !== null;
    this.api.token = null;
    this.pause();
    this.showSignIn(undefined);
    if (had || problem.status === 403) this.signIn.message.textContent = problem.message;
  }

  /** Where reading is for everybody, a token is only for changes. */
  offerSignIn() {
    this.showSignIn(() => this.afterSignIn());
  }

  showSignIn(onCancel) {
    this.signIn = new SignIn((token) => this.enter(token), onCancel);
    this.shell.show("", this.signIn.element);
    this.signIn.input.focus();
  }

  afterSignIn() {
    this.signIn = null;
    this.view = null;
    this.route();
  }

  async enter(token) {
    this.api.token = token;
    try {
      await this.reload();
      if (this.signIn.forChanges && !this.status.you.may_change) throw new Error("With this token nothing may be changed here: it must be that of api.write_token_file.");
    } catch (problem) {
      this.api.token = null;
      throw problem;
    }
    this.afterSignIn();
    this.run();
  }

  leave() {
    this.api.token = null;
    location.reload();
  }

  // -- the address: the view, the filter and the open NIC are in it, so that it can be sent to others

  readAddress() {
    const { parameters } = address();
    this.toolbar.search.value = parameters.get("q") ?? "";
    this.toolbar.state = parameters.get("state") ?? "";
    this.toolbar.choose(parameters.get("network") ?? "");
  }

  /** Another address: by a link, by back and forward, by hand. */
  moved() {
    this.readAddress();
    this.route();
    this.showRows();
  }

  route() {
    const { view, parameters } = address();
    const nic = parameters.get("nic");
    if (nic && nic !== this.panel.key) this.show(nic, { focus: false });
    else if (!nic && this.panel.key !== null) this.hide();
    if (this.view !== view && !this.signIn) {
      this.view = view;
      this.shell.show(view, view === "networks" ? this.networks.element : this.list, this.panel.element);
      if (view === "networks") this.networks.update();
      else this.table.measure();
    }
  }

  /** `step`: the reader can come back to what is shown now. */
  writeAddress({ step = false } = {}) {
    const all = { q: this.toolbar.search.value.trim(), state: this.toolbar.state, network: this.toolbar.network.value || this.toolbar.wanted, nic: this.panel.key ?? "" };
    const parameters = new URLSearchParams(Object.entries(all).filter(([, value]) => value !== ""));
    const { view } = address();
    const text = parameters.size > 0 ? `?${parameters}` : "";
    this.shell.keep(text);
    const there = `#/${view}${text}`;
    if (step) history.pushState(null, "", there);
    else history.replaceState(null, "", there);
  }

  // -- news

  connection(state, reason) {
    this.shell.live(state, reason);
    if (state === "live" && this.map.loaded) this.map.sweep().catch(() => {});
  }

  /** Reads everything; what cannot be read now (the daemon may have gone meanwhile) the map owes and reads later. */
  lookAtAll() {
    this.reload().catch(() => {});
  }

  happened(type, data) {
    if (data.sentence) this.shell.tell(data.vm ? `${data.vm}: ${data.sentence}` : data.sentence, data.at);
    if (data.vm_uuid) this.map.look(data.vm_uuid);
    else this.lookAtAll();
  }

  statusChanged(status) {
    this.status = status;
    this.shell.status(status);
    const may = status.you.may_change;
    this.toolbar.attach.hidden = !may;
    this.shell.signOut.hidden = this.api.token === null;
    this.shell.signIn.hidden = may || this.api.token !== null;
    this.panel.uri = status.libvirt.uri || this.panel.uri;
    this.panel.mayChange = this.networks.mayChange = may;
    this.panel.update();
    this.networks.update();
    if (this.map.entries.size === 0) this.showRows();
  }

  mapChanged() {
    this.sort();
    this.showRows();
    this.panel.update();
    this.networks.update();
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
    this.writeAddress();
  }

  filterNetwork(network) {
    location.hash = "#/nics";
    this.toolbar.clear(); // all of its NICs, whatever was looked for before
    this.toolbar.network.value = network;
    this.filterChanged();
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

  // -- the panel

  open(key) {
    const step = this.panel.key === null;
    this.show(key, { focus: true });
    this.writeAddress({ step });
  }

  show(key, { focus }) {
    this.panel.open(key, { focus });
    this.table.mark(key);
  }

  hide() {
    this.panel.close();
    this.table.mark(null);
  }

  closePanel() {
    const { key } = this.panel;
    this.hide();
    this.writeAddress();
    if (this.view === "nics") this.table.grid.focus();
    else this.networks.focus(key);
  }

  async attach() {
    await this.networks.read();
    this.actions.attach(this.panel.row?.entry ?? null);
  }

  key(event) {
    const typing = event.target.closest("input, select, textarea, dialog");
    if (event.key === "Escape" && !typing && this.panel.key !== null) {
      this.closePanel();
    } else if (event.key === "/" && !typing && this.view === "nics" && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      this.toolbar.search.focus();
      this.toolbar.search.select();
    } else if (event.key === "Escape" && event.target === this.toolbar.search) {
      this.table.grid.focus();
    }
  }
}

/** The view and the parameters after the `#`. */
function address() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  return { view: path === "networks" ? "networks" : "nics", parameters: new URLSearchParams(query) };
}

new App(document.getElementById("app"));
