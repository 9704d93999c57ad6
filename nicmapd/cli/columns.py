"""The columns of a list of NICs: what each shows to people, to a spreadsheet, and how it sorts."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import click

from nicmapd.cli import nics, words
from nicmapd.cli.table import Cell
from nicmapd.text import printable

Value = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Column:
    """One column. `value` is what the NIC has there, plain; None for nothing. `cell` shows it to people."""

    name: str
    header: str
    value: Value
    cell: Callable[[Any], Cell]

    def plain(self, nic: Any) -> str:
        """For programs: empty where there is nothing."""
        value = self.value(nic)
        if value is None:
            return ""
        if isinstance(value, tuple):
            return " ".join(map(printable, value))
        return printable(str(value))


def _member(name: str, header: str, member: str | None = None) -> Column:
    """A column that shows one member of the API's NIC as it is."""
    key = member or name
    return Column(name, header, lambda nic: nic[key], lambda nic: Cell(words.text(nic[key])))


def _place(nic: Any) -> Any:
    return nic["network"] or nic["source"]


def _place_cell(nic: Any) -> Cell:
    return Cell(words.text(_place(nic) or f"({nic['type']})"))


def _addresses(nic: Any) -> tuple[str, ...]:
    return tuple(words.address(one) for one in nic["addresses"])


def _addresses_cell(nic: Any) -> Cell:
    parts = _addresses(nic)
    return Cell(" ".join(parts) or "-", parts=parts)


def _state_cell(nic: Any) -> Cell:
    return Cell(words.text(nic["name_state"]), nics.COLOURS.get(nic["name_state"], ""))


_ALL = (
    _member("vm", "VM"),
    Column("name", "NIC", lambda nic: nic["name"], lambda nic: Cell(words.text(nic["name"]), "strong")),
    _member("mac", "MAC"),
    Column("network", "NETWORK", _place, _place_cell),
    _member("target", "HOST-IF"),
    Column("state", "STATE", lambda nic: nic["name_state"], _state_cell),
    Column("addresses", "ADDRESSES", _addresses, _addresses_cell),
    Column("age", "AGE", lambda nic: nic["age"], lambda nic: Cell(words.age(nic["age"]))),
    Column("note", "NOTE", lambda nic: nics.note(nic) or None, lambda nic: Cell(nics.note(nic), "dim")),
    _member("type", "TYPE"),
    _member("source", "SOURCE"),
    _member("bridge", "BRIDGE"),
    _member("model", "MODEL"),
    _member("alias", "ALIAS"),
    _member("pci", "PCI"),
    _member("link", "LINK"),
    _member("guest_mac", "GUEST-MAC"),
    _member("by", "BY", "name_source"),
    _member("agent", "AGENT", "agent_state"),
    Column("since", "SINCE", lambda nic: nic["name_since"], lambda nic: Cell(words.local(nic["name_since"]))),
    _member("reason", "REASON"),
    _member("uuid", "UUID", "vm_uuid"),
    _member("host", "HOST"),
    _member("id", "ID"),
)

COLUMNS: Mapping[str, Column] = {column.name: column for column in _ALL}

#: What people call them who have read the header or the API's documentation.
_ALSO = {
    **{column.header.lower(): column.name for column in _ALL},
    "name_state": "state",
    "name_source": "by",
    "agent_state": "agent",
    "vm_uuid": "uuid",
    "name_since": "since",
}

NARROW = ("vm", "name", "mac", "network", "target", "state", "addresses", "age", "note")
WIDE = (*NARROW[:5], "alias", "type", "bridge", "model", "pci", "link", "state", "by", "agent", *NARROW[6:])


def column(word: str) -> Column:
    """The column of that name. Raises ValueError that says what there is."""
    name = word.strip().lower()
    found = COLUMNS.get(_ALSO.get(name, name))
    if found is None:
        import difflib

        near = difflib.get_close_matches(name, COLUMNS, n=1)
        meant = f'did you mean "{near[0]}"? ' if near else ""
        raise ValueError(f'there is no column "{printable(word)}"; {meant}there are {", ".join(COLUMNS)}')
    return found


class Columns(click.ParamType):  # type: ignore[type-arg]  # generic only in newer click
    """`vm,name,mac`: gives the columns in that order."""

    name = "columns"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Sequence[Column]:
        if not isinstance(value, str):
            found: Sequence[Column] = value
            return found
        try:
            return [column(word) for word in value.split(",")]
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Order(click.ParamType):  # type: ignore[type-arg]
    """`vm,-age`: gives pairs of a column and whether it is the other way round."""

    name = "order"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Sequence[tuple[Column, bool]]:
        if not isinstance(value, str):
            found: Sequence[tuple[Column, bool]] = value
            return found
        words_given = [word.strip() for word in value.split(",")]
        try:
            return [(column(word.removeprefix("-")), word.startswith("-")) for word in words_given]
        except ValueError as error:
            self.fail(str(error), param, ctx)


def ordered(found: Sequence[Any], order: Sequence[tuple[Column, bool]]) -> list[Any]:
    """`found` sorted by the first column, then by the next ...; what has nothing there comes last, either way round."""
    result = list(found)
    for by, backwards in reversed(order):
        there = [nic for nic in result if by.value(nic) not in (None, "", ())]
        missing = [nic for nic in result if by.value(nic) in (None, "", ())]
        there.sort(key=lambda nic: _rank(by.value(nic)), reverse=backwards)
        result = there + missing
    return result


def _rank(value: Any) -> Any:
    """As people count: eth2 before eth10, 10.0.0.9 before 10.0.0.10."""
    if isinstance(value, (int, float)):
        return value
    if isinstance(value, tuple):
        return [_address_rank(one) for one in value]
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", str(value).casefold())]


def _address_rank(text: str) -> tuple[int, int]:
    import ipaddress

    address = ipaddress.ip_interface(text)
    return address.version, int(address)
