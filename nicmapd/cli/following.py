"""What changes, for commands that print it line by line and do not end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from nicmapd.cli import words
from nicmapd.cli.session import Session
from nicmapd.errors import Unavailable
from nicmapd.follow import Connected, Event, Follower, Lost, Missed

#: Gives NICs: of the VM with that UUID, or all that are asked for (None).
Find = Callable[[str | None], Sequence[Any]]
#: Equal for a NIC that looks the same as before.
Sight = Callable[[Any], object]


def remarked(session: Session, follower: Follower) -> Iterator[Connected | Event | Missed]:
    """What comes, with a remark for the user where it breaks, goes on, and where something is missing."""
    lost = False
    for item in follower:
        if isinstance(item, Lost):
            if not lost:
                session.note(f"lost the daemon ({words.text(item.reason)}), trying again")
            lost = True
            continue
        if isinstance(item, Connected) and lost:
            session.note("connected again")
            lost = False
        elif isinstance(item, Missed):
            session.note(f"some changes were missed: {words.text(item.reason)}")
        yield item


def nics(session: Session, uuid: str | None, find: Find, sight: Sight) -> Iterator[tuple[str, list[Any]]]:
    """What happens to NICs, of one VM or of all: (`there`, all of them) at first, then `new`, `changed` and `gone`
    ones. A NIC that `find` does not give any more, for whatever reason, is gone."""
    known: dict[tuple[str, str], Any] | None = None
    for item in remarked(session, Follower(session.client, uuid=uuid)):
        vm = item.data["vm_uuid"] if isinstance(item, Event) else None
        try:
            found = {(nic["vm_uuid"], nic["id"]): nic for nic in find(vm)}
        except Unavailable:
            if known is None:
                raise
            continue  # the daemon is going: once it is back, everything is compared
        if known is None:
            known = found
            yield "there", list(found.values())
            continue
        for event, those in _differences(known, found, vm, sight):
            if those:
                yield event, those
        known = {key: nic for key, nic in known.items() if vm not in (None, key[0])} | found


def _differences(
    known: dict[tuple[str, str], Any], found: dict[tuple[str, str], Any], vm: str | None, sight: Sight
) -> Iterator[tuple[str, list[Any]]]:
    yield "gone", [nic for key, nic in known.items() if key not in found and vm in (None, key[0])]
    yield "changed", [nic for key, nic in found.items() if key in known and sight(nic) != sight(known[key])]
    yield "new", [nic for key, nic in found.items() if key not in known]
