"""`nicmapctl history`: what was."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import click

from nicmapd.cli import table, timeline, words
from nicmapd.cli.calling import Command
from nicmapd.cli.session import Session, command_options
from nicmapd.cli.table import Cell

_HEADERS = ("FROM", "TO", "NIC", "MAC", "STATE", "ADDRESSES")


@click.command("history", cls=Command)
@click.argument("vm")
@click.argument("nic", required=False)
@click.option(
    "--since", type=words.Moment(), help="Only what was known after: 2h or 7d (ago), 2026-01-01, a full time."
)
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True, help="At most this many.")
@click.option(
    "-o",
    "--output",
    type=click.Choice(["timeline", "table", "json"]),
    help="timeline (if not given): what happened when; table: what was known from when to when; json.",
)
@command_options
@click.pass_obj
def command(session: Session, vm: str, nic: str | None, since: str | None, limit: int, output: str | None) -> None:
    """The past of the NICs of VM, or of one of them, newest first.

    Times are those of this machine's clock; --json has UTC.
    """
    session.about("history", vm, nic)
    if session.json and output not in (None, "json"):
        raise click.UsageError(f"--json and -o {output} contradict each other; give one")
    session.json = session.json or output == "json"
    path = ("vms", vm, "history") if nic is None else ("vms", vm, "interfaces", nic, "history")
    found = session.client.get(*path, query={"since": since, "limit": str(limit)})
    if session.json:
        session.print_json(found)
        return
    items = found["items"]
    cut = len(items) == limit
    if output == "table":
        session.print(_table(items))
    else:
        session.print(_timeline(items, whole=since is None and not cut))
    if not items:
        session.note("nothing is known of that time")
    elif cut:
        session.note(f"these are the newest {limit}; --limit shows more")


def _timeline(items: Sequence[Any], *, whole: bool) -> str:
    """By day; a line for each thing that happened."""
    colour = table.colourful()
    days = []
    for day, those in groupby(timeline.events(items, whole=whole), lambda event: words.day(event.at)):
        rows = [
            [
                Cell(f"  {words.time_of_day(event.at)}", "dim"),
                Cell(event.name, "strong"),
                Cell(event.mac),
                Cell(event.what),
            ]
            for event in those
        ]
        lines = table.render(("", "", "", ""), rows, colour=colour, headed=False)
        days.append(f"{table.paint(day, 'strong', on=colour)}\n{lines}")
    return "".join(days)


def _table(items: Sequence[Any]) -> str:
    rows = [_row(item) for item in items]
    return table.render(_HEADERS, rows, limit=table.terminal_width(), colour=table.colourful())


def _row(item: Any) -> list[Cell]:
    addresses = tuple(words.address(one) for one in item["addresses"])
    state = "named" if item["name"] else item["name_state"]
    return [
        Cell(words.local(item["from"])),
        Cell("now" if item["to"] is None else words.local(item["to"])),
        Cell(words.text(item["name"]), "strong"),
        Cell(words.text(item["mac"])),
        Cell(words.text(state)),
        Cell(" ".join(addresses) or "-", parts=addresses),
    ]
