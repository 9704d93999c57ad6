// Draws what stands on a NIC: network, host device, NIC, and the guest's interfaces above it with their addresses.

import { svg } from "./dom.js";
import { shown } from "./words.js";

const WIDTH = 372;
const INDENT = 22;
const HEAD = 30;
const LINE = 17;
const GAP = 12;

/**
 * The layers as a tree under the NIC. The agent tells no parents: names do (`bond0.100`, `eth0:1`), else kinds (what is
 * no bond stands on the bond, if there is one).
 */
export function tree(nic) {
  const name = nic.name ?? (nic.candidates.length > 0 ? `${nic.candidates.join(" or ")}?` : "name not known");
  const root = node(name, "NIC", [nic.name, ...nic.candidates]);
  const layers = nic.stack.map((layer) => node(layer.name, layer.kind, [layer.name]));
  const bonds = layers.filter((layer) => layer.kind === "bond");
  for (const layer of layers) {
    const stem = layer.name.replace(/[.:][^.:]*$/, "");
    const named = stem === layer.name ? undefined : layers.find((one) => one.name === stem && one !== layer);
    const onNic = root.names.includes(stem);
    const parent = named ?? (onNic || layer.kind === "bond" || bonds.length === 0 ? root : bonds[0]);
    parent.above.push(layer);
  }
  for (const one of [root, ...layers]) {
    one.addresses = nic.addresses.filter((address) => one.names.includes(address.interface)).map((address) =>
      `${address.ip}${address.prefix === null ? "" : `/${address.prefix}`}`);
  }
  return root;
}

function node(name, kind, names) {
  return { name, kind, names, above: [], addresses: [] };
}

/** The picture, and its words for who cannot see it. */
export function drawing(nic) {
  const place = nic.network ?? nic.source ?? nic.type;
  const kind = nic.network ? `network${nic.bridge ? ` · ${nic.bridge}` : ""}` : nic.type;
  const boxes = [{ name: place, kind, addresses: [], side: "host", depth: 0, parent: -1 }];
  if (nic.target) boxes.push({ name: nic.target, kind: "host device", addresses: [], side: "host", depth: 0, parent: 0 });
  flatten(tree(nic), 0, boxes.length - 1, boxes, new Set());
  let top = 8;
  let border = 0;
  for (const box of boxes) {
    if (box.side === "guest" && border === 0) {
      border = top + 9;
      top += 30;
    }
    box.top = top;
    box.left = 8 + box.depth * INDENT;
    box.height = HEAD + box.addresses.length * LINE;
    top += box.height + GAP;
  }
  const words = boxes.map((box) => [box.name, `(${box.kind})`, ...box.addresses].map(shown).join(" ")).join(", then ");
  return svg(
    "svg", { class: "stack", viewBox: `0 0 ${WIDTH} ${top}`, role: "img", "aria-label": `From the host into the guest: ${words}` },
    boxes.map((box) => (box.parent < 0 ? null : wire(boxes[box.parent], box, nic.link === "down" && box.side === "guest" && box.depth === 0))),
    svg("line", { class: "border", x1: 0, x2: WIDTH, y1: border, y2: border }),
    svg("text", { class: "side", x: WIDTH - 8, y: border - 6, "text-anchor": "end" }, "host"),
    svg("text", { class: "side", x: WIDTH - 8, y: border + 14, "text-anchor": "end" }, "guest"),
    boxes.map((box) => drawn(box)),
  );
}

function flatten(one, depth, parent, boxes, seen) {
  if (seen.has(one)) return;
  seen.add(one);
  const index = boxes.push({ ...one, side: "guest", depth: Math.min(depth, 6), parent }) - 1;
  for (const layer of one.above) flatten(layer, depth + 1, index, boxes, seen);
}

function wire(from, to, cut) {
  const x = from.left + 14;
  const path = from.left === to.left
    ? `M${x} ${from.top + from.height}V${to.top}`
    : `M${x} ${from.top + from.height}V${to.top + HEAD / 2}H${to.left}`;
  return svg("path", { class: cut ? "wire cut" : "wire", d: path });
}

function drawn(box) {
  const width = WIDTH - 8 - box.left;
  const kind = shown(box.kind);
  const room = Math.floor((width - 34) / 7.9) - Math.ceil(kind.length * 0.85);
  return svg(
    "g", { class: `box ${box.side}` },
    svg("title", {}, `${shown(box.name)} (${kind})`),
    svg("rect", { x: box.left, y: box.top, width, height: box.height, rx: 6 }),
    svg("text", { class: "label", x: box.left + 12, y: box.top + 20 }, cut(shown(box.name), room)),
    svg("text", { class: "kind", x: box.left + width - 12, y: box.top + 20, "text-anchor": "end" }, cut(kind, 26)),
    box.addresses.map((address, index) =>
      svg("text", { class: "address", x: box.left + 12, y: box.top + HEAD + 8 + index * LINE }, cut(shown(address), Math.floor((width - 20) / 7.3)))),
  );
}

function cut(text, room) {
  const characters = [...text];
  return characters.length <= room ? text : `${characters.slice(0, Math.max(1, room - 1)).join("")}…`;
}
