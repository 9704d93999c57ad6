// The frame of the page: heading, views, live light, notices, the line at the bottom.

import { h, icon, put, say } from "./dom.js";
import { ago, local, shown } from "./words.js";

const THEMES = { auto: "theme: as the system", light: "theme: light", dark: "theme: dark" };
const ICONS = { auto: "auto", light: "sun", dark: "moon" };

export class Shell {
  /** `onRetry()` when the reader does not want to wait for the next try; `onSignIn()` and `onSignOut()`. */
  constructor({ onRetry, onSignIn, onSignOut }) {
    this.host = h("span", { class: "host" });
    this.light = h("span", { class: "live", "data-state": "connecting", role: "status" }, "connecting");
    this.theme = h("button", { type: "button", class: "plain", onclick: () => this.nextTheme() });
    this.signIn = h("button", { type: "button", class: "plain", hidden: true, title: "with the write token, to attach and detach", onclick: onSignIn }, "sign in");
    this.signOut = h("button", { type: "button", class: "plain", hidden: true, onclick: onSignOut }, "sign out");
    this.tabs = { nics: this.tab("nics", "NICs"), networks: this.tab("networks", "Networks") };
    this.lost = h("span");
    this.banner = h(
      "div", { class: "banner", role: "alert", hidden: true },
      icon("warn"), this.lost, h("button", { type: "button", class: "button small", onclick: onRetry }, "Retry now"),
    );
    this.degraded = h("div", { class: "banner mild", role: "status", hidden: true });
    this.main = h("main", { class: "main" });
    this.counts = h("span", { class: "counts" });
    this.latest = h("span", { class: "latest", role: "log", "aria-live": "polite", "aria-label": "Latest change" });
    this.footer = h("footer", { class: "footer" }, this.counts, this.latest);
    this.element = h(
      "div", { class: "shell" },
      h("header", { class: "header" },
        h("h1", { class: "brand" }, h("img", { src: "/static/icon.svg", alt: "", width: "22", height: "22" }), "nicmapd", this.host),
        h("nav", { class: "tabs", "aria-label": "Views" }, Object.values(this.tabs)),
        h("span", { class: "space" }), this.light, h("a", { class: "plain", href: "/docs" }, "API"), this.signIn, this.signOut, this.theme),
      this.banner, this.degraded, this.main, this.footer,
    );
    this.lostAt = 0;
    this.showTheme();
    setInterval(() => this.tick(), 1000);
  }

  tab(view, title) {
    return h("a", { class: "tab", href: `#/${view}` }, title);
  }

  /** The other view is opened with the same filter and NIC. */
  keep(query) {
    for (const [name, tab] of Object.entries(this.tabs)) tab.setAttribute("href", `#/${name}${query}`);
  }

  show(view, ...children) {
    for (const [name, tab] of Object.entries(this.tabs)) {
      if (name === view) tab.setAttribute("aria-current", "page");
      else tab.removeAttribute("aria-current");
    }
    put(this.main, children);
  }

  // -- the feed

  live(state, reason) {
    this.light.dataset.state = state;
    say(this.light, { live: "live", lost: "not live", connecting: "connecting" }[state]);
    if (state === "live") {
      this.lostAt = 0;
    } else if (state === "lost") {
      this.lostAt ||= Date.now();
      this.reason = reason;
    }
    this.tick();
  }

  /** Nobody is signed in, so nothing is asked. */
  signedOut() {
    this.light.dataset.state = "connecting";
    say(this.light, "signed out");
    this.lostAt = 0;
    this.degraded.hidden = this.signOut.hidden = true;
    this.tick();
  }

  tick() {
    this.banner.hidden = this.lostAt === 0;
    if (this.lostAt === 0) return;
    // The age is for the eye only: a screen reader would be told each second.
    const seconds = (Date.now() - this.lostAt) / 1000;
    say(this.lost, `Live updates lost ${seconds < 10 ? "" : `${ago(seconds)} `}(${this.reason}), retrying`);
  }

  // -- what the daemon says of itself

  status(status) {
    say(this.host, shown(status.host));
    document.title = `nicmapd – ${shown(status.host)}`;
    this.degraded.hidden = status.reasons.length === 0;
    put(this.degraded, icon("warn"), h("span", {}, `Degraded: ${status.reasons.map(shown).join("; ")}`));
  }

  tell(sentence, at) {
    put(this.latest, h("time", { datetime: at ?? "" }, local(at ?? new Date().toISOString()).slice(11)), " ", shown(sentence));
  }

  // -- dark and light

  nextTheme() {
    const order = Object.keys(THEMES);
    const next = order[(order.indexOf(this.chosen()) + 1) % order.length];
    if (next === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = next;
    try {
      if (next === "auto") localStorage.removeItem("nicmapd.theme");
      else localStorage.setItem("nicmapd.theme", next);
    } catch {
      // It holds until the page is left, then.
    }
    this.showTheme();
  }

  chosen() {
    return document.documentElement.dataset.theme ?? "auto";
  }

  showTheme() {
    put(this.theme, icon(ICONS[this.chosen()]));
    this.theme.setAttribute("aria-label", THEMES[this.chosen()]);
    this.theme.title = THEMES[this.chosen()];
  }
}
