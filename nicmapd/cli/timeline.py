"""The past of NICs as people tell it: what happened when. Made from the stretches of time that the API gives."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from nicmapd.cli import words


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened to a NIC. All escaped; `name` is what it was called after that, or "-"."""

    at: datetime
    name: str
    mac: str
    what: str


def events(items: Sequence[Any], *, whole: bool) -> list[Event]:
    """What happened, newest first. `whole`: `items` reach back to the beginning."""
    stretches: defaultdict[str, list[Any]] = defaultdict(list)
    for item in sorted(items, key=lambda one: words.parse(one["from"])):
        stretches[item["id"]].append(item)
    found = [event for those in stretches.values() for event in _of_nic(those, whole=whole)]
    # Of one moment: what happened to each NIC stays in the order of the changes.
    return sorted(found, key=lambda event: event.at, reverse=True)


def _of_nic(stretches: Sequence[Any], *, whole: bool) -> Iterator[Event]:
    before = None
    for item in stretches:
        if before is None:
            yield _event(item, "from", f"{'first seen' if whole else 'known'}, {_state(item)}")
        elif before["to"] is not None and words.parse(before["to"]) < words.parse(item["from"]):
            yield _event(before, "to", "gone")
            yield _event(item, "from", f"there again, {_state(item)}")
        else:
            for what in _changes(before, item):
                yield _event(item, "from", what)
        before = item
    if before is not None and before["to"] is not None:
        yield _event(before, "to", "gone")


def _event(item: Any, moment: str, what: str) -> Event:
    return Event(words.parse(item[moment]), words.text(item["name"]), words.text(item["mac"]), what)


def _state(item: Any) -> str:
    """How a NIC is at the beginning of what is known of it."""
    place = words.text(item["network"] or item["source"] or item["type"])
    parts = [f"on {place}", _name_state(item)]
    parts += [words.address(one) for one in item["addresses"]]
    return ", ".join(parts)


def _name_state(item: Any) -> str:
    if item["name"] is not None:
        return f"named {words.text(item['name'])}"
    if item["name_state"] == "ambiguous":
        return f"may be {' or '.join(words.text(one) for one in item['candidates'][:4])}"
    return "not shown by the guest" if item["name_state"] == "unseen" else "its name is not known"


def _changes(old: Any, new: Any) -> list[str]:
    """What became different between two stretches, a sentence each."""
    found = _of_name(old, new)
    place_before, place = (one["network"] or one["source"] or one["type"] for one in (old, new))
    if place_before != place:
        found.append(f"moved from {words.text(place_before)} to {words.text(place)}")
    before, now = ({words.address(one): one["interface"] for one in item["addresses"]} for item in (old, new))
    found += [f"has {address} on {words.text(on)}" for address, on in now.items() if address not in before]
    found += [f"has no more {address}" for address in before if address not in now]
    if old["mac"] != new["mac"]:
        found.append(f"has the MAC {words.text(new['mac'])}, before {words.text(old['mac'])}")
    if old["guest_mac"] != new["guest_mac"]:
        again = "" if new["guest_mac"] else " again"
        found.append(f"the guest uses the MAC {words.text(new['guest_mac'] or new['mac'])}{again}")
    if old["link"] != new["link"]:
        found.append(f"link {words.text(new['link'])}")
    if old["target"] != new["target"] and new["target"]:
        found.append(f"plugged in as {words.text(new['target'])}")
    return found or [f"noted anew: {words.text(new['reason'])}"]


def _of_name(old: Any, new: Any) -> list[str]:
    if old["name"] == new["name"]:
        if new["name"] is None and _name_state(old) != _name_state(new):
            return [_name_state(new)]
        if new["name"] is not None and old["name_source"] != new["name_source"]:
            return [f"named by {words.text(new['name_source'])}, before by {words.text(old['name_source'])}"]
        return []
    if old["name"] is None:
        return [_name_state(new)]
    if new["name"] is None:
        return [f"not certainly {words.text(old['name'])} any more: {_name_state(new)}"]
    return [f"renamed from {words.text(old['name'])}"]
