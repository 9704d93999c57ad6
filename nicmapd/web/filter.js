// The search line: words that must all fit, `ip:10.9.0.0/16`, `vm:web`, `-state:fresh`, "Ethernet 2".

import { STATES } from "./words.js";

const FIELDS = {
  vm: (row) => `${row.vmName}\n${row.entry.uuid}`,
  name: (row) => (row.nic === null ? "" : [row.nic.name, ...row.nic.candidates].filter(Boolean).join("\n")),
  mac: (row) => (row.nic === null ? "" : `${row.nic.mac}\n${row.nic.guest_mac ?? ""}`),
  network: (row) => row.network,
  type: (row) => row.nic?.type ?? "",
  agent: (row) => row.entry.vm.agent.state,
  state: (row) => row.state,
};
const SHORT = { net: "network" };

/**
 * What the text asks for: a function of a row that says whether it fits.
 * Fields (`vm: name: mac: ip: network: state: type: agent:`) look into that only; a leading `-` turns a word around.
 */
export function parse(text) {
  const tests = words(text).map(test);
  return (row) => tests.every((fits) => fits(row));
}

/** The words of a line; quotes keep blanks together. */
function words(text) {
  const found = [];
  for (const match of text.matchAll(/(-?(?:[a-z]+:)?)"([^"]*)"?|(\S+)/gi)) {
    const word = match[3] ?? `${match[1]}${match[2]}`;
    if (word !== "" && word !== "-") found.push(word.toLowerCase());
  }
  return found;
}

function test(word) {
  if (word.startsWith("-") && word.length > 1) {
    const inner = test(word.slice(1));
    return (row) => !inner(row);
  }
  const colon = word.indexOf(":");
  const field = SHORT[word.slice(0, colon)] ?? word.slice(0, colon);
  const value = word.slice(colon + 1);
  if (colon > 0 && value === "" && (field === "ip" || field in FIELDS)) return () => true; // still being typed
  if (field === "ip") return ofAddress(value);
  if (field === "state") return (row) => row.state === value || STATES[row.state].label === value.replace("_", " ");
  if (colon > 0 && field in FIELDS) {
    const wanted = field === "mac" ? value.replaceAll("-", ":") : value;
    return (row) => FIELDS[field](row).toLowerCase().includes(wanted);
  }
  if (/^[0-9a-f.:]+\/\d{1,3}$/.test(word)) return ofAddress(word);
  const wanted = /^[0-9a-f]{2}(-[0-9a-f]{2})+-?$/.test(word) ? word.replaceAll("-", ":") : word;
  return (row) => row.text.includes(wanted);
}

/** Addresses that begin so, or that lie in this network. */
function ofAddress(text) {
  const [base, length] = text.split("/");
  const wanted = length === undefined ? null : bits(base);
  if (wanted === null) return (row) => row.addresses.some((ip) => ip.startsWith(base));
  const head = wanted.slice(0, Number(length));
  return (row) => row.addresses.some((ip) => {
    const found = bits(ip);
    return found !== null && found.length === wanted.length && found.startsWith(head);
  });
}

/** An address as a string of ones and zeros; null for what is none. */
export function bits(ip) {
  if (/^\d{1,3}(\.\d{1,3}){3}$/.test(ip)) {
    const bytes = ip.split(".").map(Number);
    return bytes.every((byte) => byte < 256) ? bytes.map((byte) => byte.toString(2).padStart(8, "0")).join("") : null;
  }
  if (!ip.includes(":")) return null;
  const [left, right, more] = ip.split("::");
  if (more !== undefined) return null;
  const before = groups(left);
  const after = right === undefined ? [] : groups(right);
  const missing = 8 - before.length - after.length;
  if (right === undefined ? missing !== 0 : missing < 1) return null;
  const all = [...before, ...Array(missing).fill("0"), ...after];
  if (!all.every((group) => /^[0-9a-f]{1,4}$/i.test(group))) return null;
  return all.map((group) => parseInt(group, 16).toString(2).padStart(16, "0")).join("");
}

function groups(text) {
  return text === "" ? [] : text.split(":");
}

const BY_NUMBER = new Intl.Collator("en", { numeric: true, sensitivity: "base" });

const KEYS = {
  vm: (row) => row.vmName,
  name: (row) => row.name,
  mac: (row) => row.nic?.mac ?? "",
  network: (row) => row.network,
  addresses: (row) => row.addresses[0] ?? "\uffff",
  state: (row) => Object.keys(STATES).indexOf(row.state),
  age: (row) => row.ageAt(0) ?? Infinity,
  why: (row) => row.why,
};

/** `rows` in the order of a column; equal ones by VM, then as in the domain XML. */
export function sorted(rows, column, descending) {
  const key = KEYS[column];
  const keyed = rows.map((row) => ({ row, value: key(row) }));
  const sign = descending ? -1 : 1;
  keyed.sort((a, b) => {
    const first = typeof a.value === "number" ? a.value - b.value || 0 : BY_NUMBER.compare(a.value, b.value);
    return sign * first || BY_NUMBER.compare(a.row.vmName, b.row.vmName) || a.row.index - b.row.index;
  });
  return keyed.map((one) => one.row);
}
