// Above the table: the search line, the states with their counts, the networks.

import { h, icon, put, say } from "./dom.js";
import { STATES } from "./words.js";

export class Toolbar {
  /** `onChange()` when the reader asks for other rows; `onAttach()` for a new NIC. */
  constructor({ onChange, onAttach }) {
    this.onChange = onChange;
    this.state = "";
    this.search = h("input", {
      type: "search", id: "search", class: "search", autocomplete: "off", spellcheck: "false", "aria-label": "Filter",
      placeholder: "VM, name, MAC, IP, network …", title: "Words that must all fit; vm: name: mac: ip: network: state: look into one column; ip:10.9.0.0/16; -word for not",
      oninput: () => onChange(),
    });
    this.network = h("select", { class: "network", "aria-label": "Network", onchange: () => onChange() });
    this.chips = h("div", { class: "chips", role: "group", "aria-label": "State" });
    this.attach = h("button", { type: "button", class: "button", hidden: true, onclick: onAttach }, icon("plus"), "Attach NIC");
    this.element = h(
      "div", { class: "toolbar", role: "search" },
      h("label", { class: "searchbox" }, icon("search"), this.search, h("kbd", { "aria-hidden": "true" }, "/")),
      this.network, this.chips, this.attach,
    );
    this.buttons = ["", ...Object.keys(STATES)].map((state) => this.chip(state));
    put(this.chips, this.buttons.map((one) => one.button));
    this.networks = null;
    this.wanted = ""; // a network that the address names, until the map has it
  }

  chip(state) {
    const number = h("span", { class: "number" });
    const button = h(
      "button", {
        type: "button", class: "filter", "data-tone": state === "" ? null : STATES[state].tone, "aria-pressed": "false",
        title: state === "" ? "all states" : STATES[state].means,
        onclick: () => {
          this.state = this.state === state ? "" : state;
          this.onChange();
        },
      },
      state === "" ? "all" : STATES[state].label, " ", number,
    );
    return { state, button, number };
  }

  /** Whether a row fits what is chosen beside the search line. */
  fits(row) {
    return (this.state === "" || row.state === this.state) && (this.network.value === "" || row.network === this.network.value);
  }

  get active() {
    return this.search.value.trim() !== "" || this.state !== "" || this.network.value !== "";
  }

  clear() {
    this.search.value = "";
    this.state = "";
    this.network.value = "";
    this.onChange();
  }

  /** Shows how many rows are in each state, of those that fit everything else. */
  count(states, total) {
    for (const { state, button, number } of this.buttons) {
      const found = state === "" ? total : (states.get(state) ?? 0);
      say(number, found.toLocaleString("en"));
      button.setAttribute("aria-pressed", String(this.state === state));
      button.hidden = state !== "" && found === 0 && this.state !== state;
    }
  }

  /** Only the NICs on that network; "" for all. One that is not offered yet is chosen once it is. */
  choose(network) {
    const offered = [...this.network.options].some((option) => option.value === network);
    this.wanted = offered ? "" : network;
    this.network.value = offered ? network : "";
  }

  /** Offers these networks. */
  offer(names) {
    const all = [...names].sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
    const key = all.join("\n");
    if (this.networks === key) return;
    this.networks = key;
    const chosen = this.network.value || (all.length > 0 ? this.wanted : "");
    if (all.length > 0) this.wanted = "";
    if (chosen !== "" && !all.includes(chosen)) all.push(chosen);
    put(this.network, h("option", { value: "" }, "all networks"), all.map((name) => h("option", { value: name }, name)));
    this.network.value = chosen;
  }
}
