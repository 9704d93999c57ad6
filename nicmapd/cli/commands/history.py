"""`nicmapctl history`: what was."""

from __future__ import annotations

from typing import Any

import click

from nicmapd.cli import nics, table, words
from nicmapd.cli.session import Session, command_options
from nicmapd.cli.table import Cell

_HEADERS = ("FROM", "TO", "NIC", "MAC", "STATE", "ADDRESSES")


@click.command("history", short_help="Past names, MACs and addresses.")
@click.argument("vm")
@click.argument("nic", required=False)
@click.option(
    "--since", type=words.Moment(), help="Only what was known after: 2h or 7d (ago), 2026-01-01, a full time."
)
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True, help="At most this many.")
@command_options
@click.pass_obj
def command(session: Session, vm: str, nic: str | None, since: str | None, limit: int) -> None:
    """The past of the NICs of VM, or of one of them, newest first.

    Times are those of this machine's clock; --json has UTC.
    """
    session.about("history", vm, nic)
    path = ("vms", vm, "history") if nic is None else ("vms", vm, "interfaces", nic, "history")
    found = session.client.get(*path, query={"since": since, "limit": str(limit)})
    if session.json:
        session.print_json(found)
        return
    items = found["items"]
    rows = [_row(item) for item in items]
    session.print(table.render(_HEADERS, rows, limit=table.terminal_width(), colour=table.colourful()))
    if not items:
        session.note("nothing is known of that time")
    elif len(items) == limit:
        session.note(f"these are the newest {limit}; --limit shows more")


def _row(item: Any) -> list[Cell]:
    addresses = tuple(nics.address_text(one) for one in item["addresses"])
    state = "named" if item["name"] else item["name_state"]
    return [
        Cell(words.local(item["from"])),
        Cell("now" if item["to"] is None else words.local(item["to"])),
        Cell(words.text(item["name"]), "strong"),
        Cell(words.text(item["mac"])),
        Cell(words.text(state)),
        Cell(" ".join(addresses) or "-", parts=addresses),
    ]
