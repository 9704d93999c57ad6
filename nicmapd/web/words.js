// How ages, times, states and texts from elsewhere read to people.

const UNITS = [["d", 86400], ["h", 3600], ["m", 60], ["s", 1]];

/** `12s`, `14m`, `3h`, `3d`; `-` for none. */
export function age(seconds) {
  if (seconds === null || seconds === undefined) return "-";
  for (const [unit, length] of UNITS) {
    if (seconds >= length) return `${Math.floor(seconds / length)}${unit}`;
  }
  return "0s";
}

/** `12 s ago`; `never` for none. */
export function ago(seconds) {
  if (seconds === null || seconds === undefined) return "never";
  const short = age(Math.max(0, seconds));
  return `${short.slice(0, -1)} ${short.slice(-1)} ago`;
}

const LOCAL = new Intl.DateTimeFormat("sv-SE", { dateStyle: "short", timeStyle: "medium" });

/** A time of the API on this machine's clock: `2026-01-01 10:00:00`; `-` for none. */
export function local(moment) {
  return moment ? LOCAL.format(new Date(moment)) : "-";
}

/** How long a stretch of milliseconds was: `2 d 3 h`, `14 m`, `8 s`. */
export function span(milliseconds) {
  let rest = Math.max(0, Math.round(milliseconds / 1000));
  const parts = [];
  for (const [unit, length] of UNITS) {
    const count = Math.floor(rest / length);
    if (count > 0 || (unit === "s" && parts.length === 0)) parts.push(`${count} ${unit}`);
    rest -= count * length;
  }
  return parts.slice(0, 2).join(" ");
}

/** Bytes in units of 1024. */
export function size(number) {
  if (number === null || number === undefined) return "-";
  let value = number;
  for (const unit of ["B", "KiB", "MiB", "GiB", "TiB"]) {
    if (value < 1024 || unit === "TiB") return `${value < 10 && unit !== "B" ? value.toFixed(1) : Math.round(value)} ${unit}`;
    value /= 1024;
  }
  return String(number);
}

/** `1 NIC`, `5,000 NICs`. */
export function count(number, word) {
  return `${number.toLocaleString("en")} ${word}${number === 1 ? "" : "s"}`;
}

const HIDDEN = /[\p{C}\p{Zl}\p{Zp}\u115f\u1160\u3164\uffa0\u2800\u034f]|(?! )\p{Zs}/gu;

/**
 * Text from a guest or from libvirt with all that does not show, or that would turn its neighbours around, written
 * out, as the daemon does for guests: `\x1b`, `\u202e`.
 */
export function shown(text) {
  return String(text).replace(HIDDEN, (character) => {
    const point = character.codePointAt(0);
    if (point < 0x100) return `\\x${point.toString(16).padStart(2, "0")}`;
    if (point < 0x10000) return `\\u${point.toString(16).padStart(4, "0")}`;
    return `\\U${point.toString(16).padStart(8, "0")}`;
  });
}

/** What each `name_state` is called, its colour, and what it means. */
export const STATES = {
  fresh: { label: "fresh", tone: "ok", means: "polled in time" },
  stale: { label: "stale", tone: "warn", means: "polls fail or are overdue" },
  ambiguous: { label: "ambiguous", tone: "warn", means: "more than one name is possible" },
  unseen: { label: "unseen", tone: "warn", means: "the guest does not show this NIC" },
  last_known: { label: "last known", tone: "idle", means: "the VM is not running" },
  never: { label: "never", tone: "bad", means: "nothing was ever learned" },
  none: { label: "no NIC", tone: "idle", means: "the VM has no NIC" },
};

/** What a NIC hangs on, for people: network, or what else its XML names. */
export function attachedTo(nic) {
  if (nic.network) return shown(nic.network);
  const place = nic.source ?? nic.bridge;
  return place ? `${shown(place)} (${shown(nic.type)})` : shown(nic.type);
}

/** The guest name, or what it may be. */
export function nameOf(nic) {
  if (nic.name !== null) return shown(nic.name);
  if (nic.candidates.length > 0) return `${nic.candidates.map(shown).join(" or ")}?`;
  return "–";
}

/** What the next boot changes of a NIC, in words; "" for nothing. */
export function pendingOf(nic) {
  const { pending } = nic;
  if (!pending) return "";
  if (pending.kind === "attach") return "only from the next boot on";
  if (pending.kind === "detach") return "gone after the next boot";
  const differs = Object.entries(pending.differs ?? {}).map(([member, value]) => `${shown(member)} ${shown(value ?? "none")}`);
  return `from the next boot on: ${differs.join(", ")}`;
}
