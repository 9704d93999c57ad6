"""How much of what a guest says is kept in the store: the first of it, and a count of the rest in words. Pure.

A guest may have hundreds of interfaces with long names, and show others in each reply. Who looks at the present sees
them; the past has a limit for each row, or its disk would be the guest's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from nicmapd.model import Change, Naming, NicAddress, NicEntry, StackLayer
from nicmapd.text import shortened

#: Entries kept of each list of a naming or a change, and the bytes of text in them.
MAX_ENTRIES = 16
MAX_BYTES = 1000

#: Characters kept of a sentence or another text: the longest name fits in, with words around it.
MAX_TEXT = 400

_MARK = "not kept: "

#: Bytes for the sentence that counts what is left out.
_ROOM = 120

_Entry = TypeVar("_Entry")


def kept(naming: Naming) -> Naming:
    """What is stored of a naming; the last of its evidence counts what is not. `kept(kept(x)) == kept(x)`."""
    candidates = _first(naming.candidates, _text)
    addresses = _first(naming.addresses, _address)
    stack = _first(naming.stack, _layer)
    evidence = _first(naming.evidence, _text)
    left_out = {
        "candidates": len(naming.candidates) - len(candidates),
        "addresses": len(naming.addresses) - len(addresses),
        "layers": len(naming.stack) - len(stack),
        "facts": len(naming.evidence) - len(evidence),
    }
    if any(left_out.values()):
        evidence = _first(naming.evidence, _text, entries_kept=MAX_ENTRIES - 1, size=MAX_BYTES - _ROOM)
        left_out["facts"] = len(naming.evidence) - len(evidence)
        evidence = (*evidence, _MARK + _in_words(left_out))
    return replace(
        naming,
        reason=shortened(naming.reason, MAX_TEXT),
        evidence=evidence,
        candidates=candidates,
        addresses=addresses,
        stack=stack,
    )


def was_cut(naming: Naming) -> bool:
    """Whether it is what the store has kept of a longer one."""
    return bool(naming.evidence) and naming.evidence[-1].startswith(_MARK)


def same_but_for_cut(loaded: NicEntry, entry: NicEntry) -> bool:
    """Whether `loaded`, which came from the store, may be the same knowledge as `entry`: only the cut is different."""
    return was_cut(loaded.naming) and kept(entry.naming) == loaded.naming


def kept_change(change: Change) -> Change:
    """What is stored of a change: as of a naming, with its lists in `details` and the count in `not_kept` there."""
    details = dict(change.details)
    left_out: dict[str, int] = {}
    for name, value in change.details.items():
        if isinstance(value, (list, tuple)) and all(isinstance(one, str) for one in value):
            first = _first(value, _text)
            details[name] = list(first)
            left_out["layers" if name == "stack" else name] = len(value) - len(first)
        elif isinstance(value, str):
            details[name] = shortened(value, MAX_TEXT)
    if any(left_out.values()):
        details["not_kept"] = _in_words(left_out)
    return replace(
        change,
        sentence=shortened(change.sentence, MAX_TEXT),
        old=None if change.old is None else shortened(change.old, MAX_TEXT),
        new=None if change.new is None else shortened(change.new, MAX_TEXT),
        details=details,
    )


def _first(
    entries: Sequence[_Entry], text: Callable[[_Entry], str], *, entries_kept: int = MAX_ENTRIES, size: int = MAX_BYTES
) -> tuple[_Entry, ...]:
    found: list[_Entry] = []
    for entry in entries[:entries_kept]:
        size -= len(text(entry).encode("utf-8", "surrogatepass"))
        if size < 0:
            break
        found.append(entry)
    return tuple(found)


def _text(entry: str) -> str:
    return entry


def _address(entry: NicAddress) -> str:
    return entry.interface + entry.family + entry.ip


def _layer(entry: StackLayer) -> str:
    return entry.name + (entry.mac or "")


def _in_words(left_out: Mapping[str, int]) -> str:
    return ", ".join(f"{number} more {what}" for what, number in left_out.items() if number)
