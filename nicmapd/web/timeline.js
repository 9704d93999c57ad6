// What was known of a NIC, newest first, and what each stretch of time had that the one before had not.

import { h } from "./dom.js";
import { local, shown, span } from "./words.js";

const MEMBERS = [
  ["name", "name"],
  ["mac", "MAC"],
  ["guest_mac", "MAC in the guest"],
  ["network", "network"],
  ["link", "link"],
];

/** Elements for `items` of a history. */
export function timeline(items) {
  if (items.length === 0) return h("p", { class: "quiet" }, "Nothing is kept of it yet.");
  return h("ol", { class: "timeline" }, items.map((item, index) => stretch(item, items[index + 1])));
}

function stretch(item, before) {
  const until = item.to === null ? Date.now() : Date.parse(item.to);
  const name = item.name === null ? unnamed(item) : shown(item.name);
  return h(
    "li", { class: item.to === null ? "now" : null },
    h("div", { class: "when" },
      h("time", { datetime: item.from }, local(item.from)), item.to === null ? " – now" : " – ",
      item.to === null ? null : h("time", { datetime: item.to }, local(item.to)),
      h("span", { class: "quiet" }, ` (${span(until - Date.parse(item.from))})`)),
    h("div", { class: item.name === null ? "what unsure" : "what" }, name),
    h("ul", { class: "news" }, news(item, before).map((text) => h("li", {}, text))),
  );
}

function unnamed(item) {
  return item.candidates.length > 0 ? `${item.candidates.map(shown).join(" or ")}?` : "no certain name";
}

/** What became different, in words. */
function news(item, before) {
  if (before === undefined) return ["first known"];
  const found = [];
  if (before.to !== null && item.from !== before.to) found.push(`not attached for ${span(Date.parse(item.from) - Date.parse(before.to))}`);
  for (const [member, title] of MEMBERS) {
    if (item[member] === before[member]) continue;
    if (member === "name" && item.name !== null && before.name !== null) found.push(`renamed from ${shown(before.name)}`);
    else if (member === "name") found.push(item.name === null ? `lost the name ${shown(before.name)}` : "named");
    else found.push(`${title}: ${shown(before[member] ?? "none")} → ${shown(item[member] ?? "none")}`);
  }
  const had = new Set(before.addresses.map((one) => one.ip));
  const has = new Set(item.addresses.map((one) => one.ip));
  for (const ip of has) if (!had.has(ip)) found.push(`+ ${shown(ip)}`);
  for (const ip of had) if (!has.has(ip)) found.push(`− ${shown(ip)}`);
  return found.length > 0 ? found : [shown(item.reason)];
}
