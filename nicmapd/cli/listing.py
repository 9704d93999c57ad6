"""A list of NICs in the form that is wanted: for people, for a spreadsheet, for scripts."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from nicmapd.cli import columns, table, words
from nicmapd.cli.columns import Column
from nicmapd.cli.session import Session, encode

F = TypeVar("F", bound=Callable[..., Any])

#: What changes with every poll.
_VOLATILE = frozenset({"age", "seen_at", "statistics"})

FORMATS = ("table", "wide", "json", "jsonl", "csv", "name")

#: What a spreadsheet would take for a formula (https://owasp.org/www-community/attacks/CSV_Injection).
_FORMULA = ("=", "+", "-", "@")

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def options(function: F) -> F:
    """`-o`, `--columns`, `--no-headers`, `--sort`, as `output`, `chosen`, `headers`, `order`."""
    for option in (
        click.option(
            "--sort",
            "order",
            type=columns.Order(),
            metavar="COLUMN,...",
            help="Sort by these columns; -COLUMN the other way round.",
        ),
        click.option("--no-headers", "headers", flag_value=False, default=True, help="No first line with headers."),
        click.option(
            "-c",
            "--columns",
            "chosen",
            type=columns.Columns(),
            metavar="COLUMN,...",
            help=f"These columns, of {', '.join(columns.COLUMNS)}.",
        ),
        click.option(
            "-o",
            "--output",
            type=click.Choice(FORMATS),
            help="table (if not given), wide, json, jsonl (an object a line), csv, name (VM and NIC, for xargs).",
        ),
    ):
        function = option(function)
    return function


def form(session: Session, output: str | None, chosen: Sequence[Column] | None) -> str:
    """The format that is wanted. Raises `UsageError` where two options contradict each other."""
    if session.json and output not in (None, "json"):
        raise click.UsageError(f"--json and -o {output} contradict each other; give one")
    found = "json" if session.json else output or "table"
    session.json = found in ("json", "jsonl")
    if chosen is not None and found not in ("table", "wide", "csv"):
        raise click.UsageError(f"--columns is for table, wide and csv; -o {found} has its own form")
    return found


def show(
    session: Session, found: Sequence[Any], *, form: str, chosen: Sequence[Column] | None = None, headers: bool = True
) -> None:
    """Prints NICs."""
    if form == "json":
        session.print_json({"items": found})
    elif form == "jsonl":
        session.print("".join(encode(nic) + "\n" for nic in found))
    elif form == "name":
        session.print(names(found))
    elif form == "csv":
        session.print(spreadsheet(found, chosen or _of(columns.NARROW), headers=headers))
    else:
        session.print(text(found, chosen, wide=form == "wide", headers=headers))


class Lines:
    """Prints NICs as they come, in columns that stay in line; JSON and CSV too. Raises `UsageError` for other forms."""

    def __init__(
        self, session: Session, *, form: str, chosen: Sequence[Column] | None = None, headers: bool = True
    ) -> None:
        if form == "name":
            raise click.UsageError("-w is for the forms table, wide, jsonl and csv")
        self._session = session
        self._form = form
        self._shown = list(chosen or _of(columns.WIDE if form == "wide" else columns.NARROW))
        self._headers = headers
        self._widths: list[int] = []

    def sight(self, nic: Any) -> object:
        """Equal for a NIC that looks the same."""
        if self._session.json:
            return {key: value for key, value in nic.items() if key not in _VOLATILE}
        return [column.plain(nic) for column in self._shown if column.name != "age"]

    def show(self, event: str, found: Sequence[Any]) -> None:
        """Prints NICs to which that happened: `there`, `new`, `changed`, `gone`."""
        if self._session.json:
            self._session.print("".join(encode({"event": event, "nic": nic}) + "\n" for nic in found))
            return
        if event == "gone":
            found = [{**nic, "name_state": "gone", "age": None} for nic in found]
        if self._form == "csv":
            self._session.print(spreadsheet(found, self._shown, headers=self._headers))
        else:
            self._session.print(self._lines(found))
        self._headers = False

    def _lines(self, found: Sequence[Any]) -> str:
        return table.render(
            [column.header for column in self._shown],
            [[column.cell(nic) for column in self._shown] for nic in found],
            limit=table.terminal_width(),
            colour=table.colourful(),
            headed=self._headers,
            least=self._widths,
        )


def _of(those: Sequence[str]) -> list[Column]:
    return [columns.COLUMNS[name] for name in those]


def text(
    found: Sequence[Any], chosen: Sequence[Column] | None = None, *, wide: bool = False, headers: bool = True
) -> str:
    """A table. If no columns are chosen, NOTE is there only if any NIC has one."""
    shown = list(chosen) if chosen is not None else _of(columns.WIDE if wide else columns.NARROW)
    rows = [[column.cell(nic) for column in shown] for nic in found]
    if chosen is None and not any(row[-1].text for row in rows):
        shown, rows = shown[:-1], [row[:-1] for row in rows]
    names_of_columns = [column.header for column in shown]
    return table.render(names_of_columns, rows, limit=table.terminal_width(), colour=table.colourful(), headed=headers)


def spreadsheet(found: Sequence[Any], chosen: Sequence[Column], *, headers: bool) -> str:
    """RFC 4180, with bare line feeds. A cell that a spreadsheet would run begins with an apostrophe: guests choose
    their names."""
    import csv
    import io

    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\n")
    if headers:
        writer.writerow([column.name for column in chosen])
    for nic in found:
        writer.writerow([_harmless(column.plain(nic)) for column in chosen])
    return written.getvalue()


def _harmless(cell: str) -> str:
    return f"'{cell}" if cell.startswith(_FORMULA) else cell


def names(found: Sequence[Any]) -> str:
    """VM and NIC, as nicmapctl, a shell and xargs take them: by the guest's name where that will do."""
    macs = Counter((nic["vm_uuid"], nic["mac"]) for nic in found)
    lines = []
    for nic in found:
        one = nic["mac"]
        if macs[nic["vm_uuid"], nic["mac"]] > 1 and nic["alias"]:
            one = f"alias:{nic['alias']}"
        if nic["name"] and nic["reachable"] and not nic["name"].startswith("-"):
            one = nic["name"]
        # A UUID wins over a name: a VM that is called by another one's would be that one.
        vm = nic["vm_uuid"] if nic["vm"].startswith("-") or _UUID.fullmatch(nic["vm"]) else nic["vm"]
        lines.append(f"{shlex.quote(words.text(vm))} {shlex.quote(words.text(one))}\n")
    return "".join(lines)
