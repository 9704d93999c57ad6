// Asks for the token that the API wants. It stays in this tab's sessionStorage and goes out in one header only.

import { h, put } from "./dom.js";

export class SignIn {
  /** `onToken(token)` gives a promise; it is rejected with a `Problem` if the token does not do.
   * `onCancel`, if given, goes on without. */
  constructor(onToken, onCancel) {
    this.input = h("input", { type: "password", id: "token", autocomplete: "current-password", required: true, spellcheck: "false", pattern: "[A-Za-z0-9._~+\\/\\-]+=*", title: "one word of A-Z a-z 0-9 . _ ~ + / - =" });
    this.forChanges = onCancel !== undefined;
    this.message = h("p", { class: "fault", role: "alert" });
    this.element = h(
      "form", {
        class: "signin", "aria-label": "Sign in",
        onsubmit: (event) => {
          event.preventDefault();
          this.send(onToken);
        },
      },
      h("h2", {}, onCancel ? "Sign in to change things" : "This nicmapd wants a token"),
      h("p", {}, "It is in the file that ", h("code", {}, "api.read_token_file"), " or ", h("code", {}, "api.write_token_file"),
        " names on that host. It is kept until this tab is closed."),
      h("label", { for: "token" }, "Token"),
      this.input,
      this.message,
      h("div", { class: "group" },
        h("button", { class: "button primary" }, "Sign in"),
        onCancel ? h("button", { type: "button", class: "button", onclick: onCancel }, "Cancel") : null),
    );
  }

  async send(onToken) {
    put(this.message);
    try {
      await onToken(this.input.value.trim());
    } catch (problem) {
      put(this.message, problem.message);
      this.input.select();
    }
  }
}
