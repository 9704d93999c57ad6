"""`nicmapctl events`: what changes, as it does, a line each."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Any

import click

from nicmapd.cli import following, table, words
from nicmapd.cli.calling import Command
from nicmapd.cli.session import Session, command_options, encode
from nicmapd.errors import NotFound
from nicmapd.follow import Event, Follower

_COLOURS = {
    "nic.attached": "good",
    "nic.named": "good",
    "vm.added": "good",
    "nic.detached": "bad",
    "nic.unnamed": "bad",
    "vm.removed": "bad",
    "agent.state": "old",
    "resync": "dim",
}
#: Columns of the longest kind, `nic.addresses`.
_KIND = 13


@click.command("events", cls=Command)
@click.argument("vm", required=False)
@click.option(
    "--after",
    type=click.IntRange(min=0),
    metavar="NUMBER",
    help="Begin with what came after the event of that number (its id in --json); 0: with the oldest that is kept.",
)
@click.option("--count", type=click.IntRange(min=1), metavar="N", help="End after so many events.")
@command_options
@click.pass_obj
def command(session: Session, vm: str | None, after: int | None, count: int | None) -> None:
    """Each change of VM, or of all VMs, as it is stored: time, kind, VM, what changed. Until Ctrl-C.

    With --json one object a line. A daemon that restarts is waited for, and nothing is missed; what is missed all the
    same, and each break, is remarked on stderr.
    """
    session.about("events", vm)
    uuid = None if vm is None else _uuid(session, vm)
    items = following.remarked(session, Follower(session.client, uuid=uuid, after=after))
    for event in islice((item for item in items if isinstance(item, Event)), count):
        session.print(encode(event.data) if session.json else _line(event))


def _uuid(session: Session, vm: str) -> str:
    """UUID of a VM that is here, or was: what became of it is worth reading, too."""
    try:
        return str(session.client.get("vms", vm)["uuid"])
    except NotFound as error:
        removed = error.details.get("removed_uuid")
        if not isinstance(removed, str):
            raise
        return removed


def _line(event: Event) -> str:
    data: Mapping[str, Any] = event.data
    kind = words.text(event.kind)
    painted = table.paint(kind, _COLOURS.get(event.kind, ""), on=table.colourful())
    padding = " " * (_KIND - table.width(kind))
    return f"{words.local(data['at'])}  {painted}{padding}  {words.text(data['vm'])}  {words.text(data['sentence'])}"
