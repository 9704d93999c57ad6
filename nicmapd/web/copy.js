// Copy buttons, and the commands that they copy.

import { h, icon, put } from "./dom.js";

/** A button that copies what `text()` gives. */
export function copyButton(label, text) {
  const words = h("span", {}, label);
  const button = h("button", { type: "button", class: "button small", onclick: () => copy() }, icon("copy"), words);
  async function copy() {
    const done = await toClipboard(text(), button);
    put(words, done ? "copied" : "cannot copy");
    setTimeout(() => put(words, label), 1500);
  }
  return button;
}

/** Copies; without https or localhost browsers have no clipboard, there a selection does it. */
async function toClipboard(text, near) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = h("textarea", { class: "offscreen", "aria-hidden": "true", tabindex: "-1" });
    area.value = text;
    near.after(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    near.focus();
    return done;
  }
}

/** `text` as one word of a shell. */
export function quoted(text) {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

/** Asks the API for this path. The token is never part of it: it would stay in the shell's history. */
export function curl(path, token) {
  const header = token ? ' -H "Authorization: Bearer $NICMAPD_TOKEN"' : "";
  return `curl -s${header} ${quoted(location.origin + path)}`;
}

/** Shows the NIC as libvirt at `uri` has it. A UUID stands for names that a terminal or a shell could stumble over. */
export function virsh(uri, vm, nic) {
  const name = /^[\w.-]+$/.test(vm.name) && !vm.name.startsWith("-") ? vm.name : vm.uuid;
  return `virsh -c ${quoted(uri)} dumpxml ${name} --xpath "//interface[mac/@address='${nic.mac}']"`;
}
