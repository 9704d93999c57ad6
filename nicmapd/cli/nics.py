"""A NIC for people: a note on it, a sheet with everything."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from nicmapd.cli import table, tree, words

#: What the next boot of a running VM does to a NIC, in few words.
NEXT_BOOT = {"attach": "from the next boot on", "detach": "gone at the next boot", "change": "next boot changes it"}

COLOURS = {"fresh": "good", "stale": "old", "last_known": "old", "ambiguous": "bad", "unseen": "bad", "never": "dim"}


def note(nic: Any) -> str:
    """What a reader of the row should know beside it, in a few words."""
    state = nic["name_state"]
    coming = next_boot(nic)
    if coming and nic["pending"]["kind"] == "attach":
        return coming
    if state == "ambiguous":
        return words.text(" or ".join(nic["candidates"][:4]))
    if state == "unseen":
        return "not in the guest"
    if state in ("stale", "last_known", "never") and nic["agent_state"] not in (None, "ok"):
        return words.AGENT.get(nic["agent_state"], words.text(nic["agent_state"]))
    if nic["guest_mac"] is not None:
        return f"guest uses {words.text(nic['guest_mac'])}"
    if coming:
        return coming
    return "link down" if nic["link"] == "down" else ""


def state(nic: Any) -> str:
    """The state of its name, in a sentence."""
    return "not known yet" if nic["name_state"] == "never" else words.text(nic["name_state"])


def next_boot(nic: Any) -> str:
    """What the VM's next boot does to it, in few words; empty if nothing."""
    return "" if nic["pending"] is None else NEXT_BOOT.get(nic["pending"]["kind"], NEXT_BOOT["change"])


def sheet(nic: Any) -> str:
    """Everything that is known of a NIC."""
    colour = table.colourful()
    title = f"{words.text(nic['vm'])} {words.text(nic['name'])}" if nic["name"] else words.text(nic["vm"])
    head = table.paint(f"{title}  {words.text(nic['mac'])}", "strong", on=colour)
    return f"{head}\n" + table.sheet(
        [
            ("name", _name(nic)),
            ("reason", words.text(nic["reason"])),
            ("evidence", [words.text(one) for one in nic["evidence"]]),
            ("may be", ", ".join(words.text(one) for one in nic["candidates"])),
            ("seen", "never" if nic["seen_at"] is None else f"{words.ago(nic['age'])}, {words.local(nic['seen_at'])}"),
            ("guest MAC", words.text(nic["guest_mac"]) if nic["guest_mac"] else ""),
            ("in a URL", "" if nic["reachable"] else "by MAC or alias only: its name reads as something else there"),
            ("on the host", _host_side(nic)),
            ("next boot", _next_boot(nic["pending"])),
            ("in the guest", tree.draw(nic)),
            ("traffic", _traffic(nic["statistics"])),
        ],
        colour=colour,
    )


def _name(nic: Any) -> str:
    state, why = words.text(nic["name_state"]), note(nic)
    explained = f"{state} ({why})" if why and state in ("stale", "last_known", "never") else state
    found = [words.text(nic["name"]) if nic["name"] else "not known", explained]
    if nic["name_source"]:
        found.append(f"by {words.text(nic['name_source'])}")
    if nic["name_since"]:
        found.append(f"since {words.since(nic['name_since'])}")
    return ", ".join(found)


def _next_boot(pending: Any) -> str:
    """What the VM's next boot changes of a NIC."""
    if pending is None:
        return ""
    if pending["kind"] == "change":
        return ", ".join(f"{words.text(key)} {words.text(value)}" for key, value in pending["differs"].items())
    return "attaches it" if pending["kind"] == "attach" else "detaches it: only the running VM has it"


def _host_side(nic: Any) -> list[str]:
    attached = [f"{key} {words.text(nic[key])}" for key in ("type", "network", "source", "bridge") if nic[key]]
    device = [
        f"{label} {words.text(nic[key])}"
        for label, key in (
            ("alias", "alias"),
            ("device", "target"),
            ("model", "model"),
            ("PCI", "pci"),
            ("link", "link"),
        )
        if nic[key]
    ]
    return [", ".join(attached), ", ".join(device)]


def _traffic(counters: Any) -> list[str]:
    if counters is None:
        return []
    found = []
    for way in ("rx", "tx"):
        parts = [words.size(counters[f"{way}_bytes"])]
        parts += [
            f"{counters[f'{way}_{what}']} {what}"
            for what in ("packets", "errors", "dropped")
            if counters[f"{way}_{what}"] is not None
        ]
        found.append(f"{way} {', '.join(parts)}")
    return found


def unique(nics: Iterable[Any]) -> list[Any]:
    """Each NIC once, in the order of its first appearance."""
    return list({(nic["vm_uuid"], nic["id"], nic["mac"]): nic for nic in nics}.values())
