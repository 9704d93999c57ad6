"""A table of NICs that changes while somebody looks at it: what is in it, what glows, and what keys do. No terminal."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from nicmapd.cli import columns, nics, words

#: Seconds for which what changed glows: long enough to be found by somebody who looked elsewhere.
GLOW = 5.0
#: Changes that are kept to be shown below the table.
NEWS = 5

VM, NIC, MAC, NETWORK, DEVICE, STATE, ADDRESSES, AGE, NOTE = range(9)
_COLUMNS = [columns.COLUMNS[name] for name in columns.NARROW]
HEADERS = tuple(column.header for column in _COLUMNS)

Key = tuple[str, str]


@dataclass(slots=True)
class Row:
    """A NIC: its document, its cells (escaped; AGE is made when it is shown), and until when which of them glow."""

    nic: Any
    cells: list[str]
    addresses: tuple[str, ...]
    fetched: float
    order: int
    glow: dict[int, float] = field(default_factory=dict)
    gone: float | None = None

    def age(self, now: float) -> float | None:
        """Seconds since the guest last showed it."""
        known: float | None = self.nic["age"]
        return None if known is None else known + now - self.fetched

    @property
    def colour(self) -> str:
        """That of its state."""
        return "bad" if self.gone is not None else nics.COLOURS.get(self.nic["name_state"], "")


def _cells(nic: Any) -> tuple[list[str], tuple[str, ...]]:
    """The texts of a row, and its addresses one by one."""
    cells = [column.cell(nic) for column in _COLUMNS]
    texts = [cell.text for cell in cells]
    texts[AGE] = ""
    return texts, cells[ADDRESSES].parts


def _key(nic: Any) -> Key:
    return nic["vm_uuid"], nic["id"]


@dataclass(frozen=True, slots=True)
class Link:
    """Whether changes come in, since when (monotonic) that is so, and why not; without a reason: not yet."""

    live: bool
    since: float
    reason: str = ""


class Live:
    """The table. `clock` is monotonic; it tells the ages between two readings of the map, and when a glow ends."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._rows: dict[Key, Row] = {}
        self._filled = False
        self.link = Link(False, clock())
        self.news: list[str] = []
        self.sort = VM
        self.backwards = False
        self.filter = ""
        self.typing = False
        self.offset = 0

    # -- what comes in

    def fill(self, documents: Iterable[Any], *, uuid: str | None = None) -> None:
        """What the map has now, of one VM or of all. What is not in it any more shows that for a while, and goes."""
        now = self._clock()
        found: set[Key] = set()
        for order, document in enumerate(documents):
            key = _key(document)
            found.add(key)
            self._put(key, document, order, now)
        for key, row in self._rows.items():
            if key not in found and uuid in (None, key[0]) and row.gone is None:
                row.gone = now + GLOW
                row.cells[STATE], row.cells[NOTE] = "gone", ""
                row.glow = dict.fromkeys(range(len(HEADERS)), row.gone)
        self._filled = True

    def _put(self, key: Key, document: Any, order: int, now: float) -> None:
        cells, addresses = _cells(document)
        row = self._rows.get(key)
        if row is None or row.gone is not None:
            new = Row(document, cells, addresses, now, order)
            if self._filled:
                new.glow = dict.fromkeys(range(len(HEADERS)), now + GLOW)
            self._rows[key] = new
            return
        for column, (old, text) in enumerate(zip(row.cells, cells, strict=True)):
            if old != text:
                row.glow[column] = now + GLOW
        row.nic, row.cells, row.addresses, row.fetched, row.order = document, cells, addresses, now, order

    def tell(self, line: str) -> None:
        """A line of news, escaped."""
        self.news = [*self.news, line][-NEWS:]

    def connected(self) -> None:
        if not self.link.live:
            self.link = Link(True, self._clock())

    def lost(self, reason: str) -> None:
        """Keeps the moment at which it was lost through all attempts that fail; `reason` is escaped."""
        self.link = Link(False, self._clock() if self.link.live else self.link.since, reason)

    # -- what is shown

    def tick(self) -> None:
        """Ends what has glowed long enough."""
        now = self._clock()
        for key, row in list(self._rows.items()):
            if row.gone is not None and row.gone <= now:
                del self._rows[key]
            elif row.glow:
                row.glow = {column: end for column, end in row.glow.items() if end > now}

    def counts(self) -> tuple[int, int, int]:
        """(VMs, NICs, NICs with a name)."""
        present = [row for row in self._rows.values() if row.gone is None]
        return len({row.nic["vm_uuid"] for row in present}), len(present), sum(1 for row in present if row.nic["name"])

    @property
    def host(self) -> str:
        return next((words.text(row.nic["host"]) for row in self._rows.values()), "")

    def rows(self) -> list[Row]:
        """Those that the filter lets through, sorted."""
        wanted = self.filter.casefold().split()
        found = [
            row
            for row in self._rows.values()
            if not wanted or all(word in " ".join(row.cells).casefold() for word in wanted)
        ]
        now = self._clock()
        # As the daemon gave them first: what is equal otherwise keeps an order that does not jump.
        found.sort(key=lambda row: (row.nic["vm"], row.nic["vm_uuid"], row.order))
        if self.sort == AGE:
            found.sort(key=lambda row: (row.age(now) is None, row.age(now) or 0.0))
        elif self.sort != VM:
            by_key = {_key(row.nic): row for row in found}
            found = [
                by_key[_key(nic)] for nic in columns.ordered([row.nic for row in found], [(_COLUMNS[self.sort], False)])
            ]
        return found[::-1] if self.backwards else found

    def visible(self, rows: Sequence[Row], room: int) -> Sequence[Row]:
        """The part of `rows` that the table shows in `room` lines; mends a place that is past the end."""
        self.offset = max(0, min(self.offset, len(rows) - room))
        return rows[self.offset : self.offset + room]

    # -- keys

    def press(self, key: str, page: int) -> bool:
        """What a key does (a character, or a word such as `up`); False if it ends the program. `page`: lines shown."""
        if self.typing:
            self._type(key)
            return True
        if key in ("q", "Q"):
            return False
        if key == "/":
            self.typing = True
        elif key == "escape":
            self.filter = ""
        elif key in ("s", ">", "right"):
            self.sort = (self.sort + 1) % len(HEADERS)
        elif key in ("S", "<", "left"):
            self.sort = (self.sort - 1) % len(HEADERS)
        elif key in ("r", "R"):
            self.backwards = not self.backwards
        else:
            self._scroll(key, page)
        return True

    def _type(self, key: str) -> None:
        if key in ("enter", "escape"):
            self.typing = False
            if key == "escape":
                self.filter = ""
        elif key == "backspace":
            self.filter = self.filter[:-1]
        elif len(key) == 1 and key.isprintable():
            self.filter += key
        self.offset = 0

    def _scroll(self, key: str, page: int) -> None:
        steps = {"up": -1, "k": -1, "down": 1, "j": 1, "pageup": -page, "pagedown": page, " ": page}
        if key in ("home", "g"):
            self.offset = 0
        elif key in ("end", "G"):
            self.offset = len(self._rows)
        else:
            self.offset = max(0, self.offset + steps.get(key, 0))
