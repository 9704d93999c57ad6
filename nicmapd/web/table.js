// The table: only the rows that can be seen exist as elements, so that 5,000 NICs scroll like 50.

import { h, put, say } from "./dom.js";
import { STATES, age, pendingOf, shown } from "./words.js";

const COLUMNS = [
  ["vm", "VM"],
  ["name", "Guest name"],
  ["mac", "MAC"],
  ["network", "Network"],
  ["addresses", "Addresses"],
  ["state", "State"],
  ["age", "Age"],
  ["why", "Why"],
];
/** Rows kept above and below what can be seen. */
const SPARE = 8;
/** How long a changed row glows, in milliseconds (page.css has the same number). */
const GLOW = 4_000;

export class Table {
  /** `onOpen(row)` when a row is chosen, `onSort(column)` when a heading is. */
  constructor({ onOpen, onSort }) {
    this.onOpen = onOpen;
    this.rows = [];
    this.slots = [];
    this.active = null; // key of the row that the keyboard is on
    this.opened = null; // key of the row whose panel is open
    this.headings = COLUMNS.map(([column, title], index) => this.heading(column, title, index, onSort));
    this.sizer = h("div", { class: "sizer", role: "rowgroup" });
    this.grid = h(
      "div",
      { class: "grid", role: "grid", tabindex: "0", "aria-label": "NICs", "aria-colcount": COLUMNS.length },
      h("div", { class: "head", role: "rowgroup" }, h("div", { class: "row", role: "row", "aria-rowindex": "1" }, this.headings)),
      this.sizer,
    );
    this.empty = h("div", { class: "empty", hidden: true });
    this.element = h("div", { class: "table" }, this.grid, this.empty);
    this.grid.addEventListener("scroll", () => this.schedule(), { passive: true });
    this.grid.addEventListener("keydown", (event) => this.key(event));
    this.grid.addEventListener("focus", () => this.enter());
    this.sizer.addEventListener("click", (event) => this.click(event));
    new ResizeObserver(() => this.measure()).observe(this.grid);
    setInterval(() => document.hidden || this.draw(), 1000);
  }

  heading(column, title, index, onSort) {
    const button = h("button", { type: "button", class: "sort", onclick: () => onSort(column) }, title);
    return h("div", { class: `cell ${column}`, role: "columnheader", "aria-colindex": index + 1, "data-column": column }, button);
  }

  // -- what is shown

  /** Shows these rows; `message` (elements) instead if there are none. */
  show(rows, { column, descending, message }) {
    this.rows = rows;
    this.positions = null;
    this.grid.setAttribute("aria-rowcount", rows.length + 1);
    for (const heading of this.headings) {
      const here = heading.dataset.column === column;
      heading.setAttribute("aria-sort", here ? (descending ? "descending" : "ascending") : "none");
    }
    this.empty.hidden = rows.length > 0;
    put(this.empty, rows.length > 0 ? null : message);
    this.measure();
  }

  /** Marks the row whose panel is open. */
  mark(key) {
    this.opened = key;
    this.draw();
  }

  measure() {
    this.height = parseFloat(getComputedStyle(this.grid).getPropertyValue("--row")) || 40;
    this.sizer.style.height = `${this.rows.length * this.height}px`;
    this.schedule();
  }

  schedule() {
    this.frame ||= requestAnimationFrame(() => {
      this.frame = 0;
      this.draw();
    });
  }

  draw() {
    const top = this.grid.scrollTop;
    const first = Math.max(0, Math.floor(top / this.height) - SPARE);
    const last = Math.min(this.rows.length, Math.ceil((top + this.grid.clientHeight) / this.height) + SPARE);
    const needed = Math.ceil(this.grid.clientHeight / this.height) + 2 * SPARE + 2;
    while (this.slots.length < needed) this.addSlot();
    // A row keeps its slot while it is near, so that scrolling by one row writes one row.
    const used = new Set();
    const now = performance.now();
    for (let index = first; index < last; index += 1) {
      const slot = this.slots[index % this.slots.length];
      used.add(slot);
      this.bind(slot, index, now);
    }
    for (const slot of this.slots) slot.element.hidden = !used.has(slot);
    this.point();
  }

  addSlot() {
    const cells = Object.fromEntries(COLUMNS.map(([column], index) => [
      column, h("div", { class: `cell ${column}`, role: "gridcell", "aria-colindex": index + 1 }),
    ]));
    const light = h("span", { class: "light" });
    const vm = h("span", { class: "text" });
    put(cells.vm, light, vm);
    const chip = h("span", { class: "chip" });
    put(cells.state, chip);
    const element = h("div", { class: "row", role: "row", id: `row-${this.slots.length}`, hidden: true }, Object.values(cells));
    this.slots.push({ element, cells, light, vm, chip, row: null, glow: 0 });
    this.sizer.append(element);
    for (const slot of this.slots) slot.row = null; // all are elsewhere now
  }

  bind(slot, index, now) {
    const row = this.rows[index];
    const { element, cells } = slot;
    if (slot.index !== index) {
      slot.index = index;
      element.setAttribute("aria-rowindex", index + 2);
      element.classList.toggle("odd", index % 2 === 1);
    }
    element.style.transform = `translateY(${index * this.height}px)`;
    if (slot.row !== row) {
      slot.row = row;
      this.write(slot, row);
    }
    const again = index > 0 && this.rows[index - 1].entry === row.entry;
    element.classList.toggle("again", again);
    element.classList.toggle("opened", row.key === this.opened);
    element.setAttribute("aria-selected", row.key === this.opened);
    const state = STATES[row.state];
    if (slot.chip.dataset.tone !== state.tone) slot.chip.dataset.tone = state.tone;
    say(slot.chip, state.label);
    say(cells.age, age(row.ageAt(now)));
    if (cells.why.textContent !== row.why) {
      say(cells.why, row.why);
      cells.why.title = row.why;
    }
    slot.light.dataset.state = row.entry.vm.state;
    this.glow(slot, row, now);
  }

  write({ element, cells, vm, light }, row) {
    const { nic } = row;
    element.dataset.key = row.key;
    say(vm, row.vmName);
    cells.vm.title = row.vmName;
    light.title = `VM ${row.entry.vm.state}`;
    say(cells.name, row.name);
    cells.name.classList.toggle("unsure", nic === null || nic.name === null);
    cells.name.title = row.name;
    say(cells.mac, nic?.mac ?? "");
    cells.mac.title = nic?.guest_mac ? `the guest uses ${nic.guest_mac}` : "";
    cells.mac.classList.toggle("differs", Boolean(nic?.guest_mac));
    const pending = nic === null ? "" : pendingOf(nic);
    const network = nic === null ? "" : [row.network, nic.link === "down" && "link down", pending].filter(Boolean).join(" · ");
    say(cells.network, network);
    cells.network.title = network;
    const addresses = nic === null ? [] : nic.addresses.map((one) => `${one.ip}${one.prefix === null ? "" : `/${one.prefix}`}`);
    say(cells.addresses, addresses.map(shown).join("  "));
    cells.addresses.title = addresses.map(shown).join("\n");
  }

  glow(slot, row, now) {
    const glowing = row.changed > 0 && now - row.changed < GLOW;
    const wanted = glowing ? row.changed : 0;
    if (slot.glow === wanted) return;
    slot.glow = wanted;
    slot.element.classList.remove("glow");
    if (glowing) {
      void slot.element.offsetWidth; // a second change starts the animation anew
      slot.element.classList.add("glow");
    }
  }

  // -- the keyboard: focus stays on the grid, aria-activedescendant says on which row

  position(key) {
    this.positions ??= new Map(this.rows.map((row, index) => [row.key, index]));
    return this.positions.get(key) ?? -1;
  }

  enter() {
    if (this.position(this.active) < 0) this.active = this.rows[Math.ceil(this.grid.scrollTop / this.height)]?.key ?? null;
    this.point();
  }

  point() {
    let id = null;
    for (const slot of this.slots) {
      const here = !slot.element.hidden && slot.row?.key === this.active;
      slot.element.classList.toggle("active", here);
      if (here) id = slot.element.id;
    }
    if (id === null) this.grid.removeAttribute("aria-activedescendant");
    else this.grid.setAttribute("aria-activedescendant", id);
  }

  key(event) {
    if (event.target !== this.grid || event.ctrlKey || event.metaKey || event.altKey) return;
    const here = this.position(this.active);
    const page = Math.max(1, Math.floor(this.grid.clientHeight / this.height) - 2);
    const to = {
      ArrowDown: here + 1, j: here + 1, ArrowUp: here - 1, k: here - 1,
      PageDown: here + page, PageUp: here - page, Home: 0, End: this.rows.length - 1,
    }[event.key];
    if (to !== undefined) this.go(to);
    else if ((event.key === "Enter" || event.key === " ") && here >= 0) this.onOpen(this.rows[here]);
    else return;
    event.preventDefault();
  }

  go(index) {
    const to = Math.min(Math.max(index, 0), this.rows.length - 1);
    if (to < 0) return;
    this.active = this.rows[to].key;
    const top = to * this.height;
    const head = this.sizer.offsetTop;
    const visible = this.grid.clientHeight - head;
    if (top < this.grid.scrollTop) this.grid.scrollTop = top;
    else if (top + this.height > this.grid.scrollTop + visible) this.grid.scrollTop = top + this.height - visible;
    this.draw();
  }

  click(event) {
    const key = event.target.closest(".row")?.dataset.key;
    const index = key === undefined ? -1 : this.position(key);
    if (index < 0) return;
    this.active = key;
    this.point();
    this.onOpen(this.rows[index]);
  }
}
