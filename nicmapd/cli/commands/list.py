"""`nicmapctl list`: NICs, one a line, now or as it was."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from nicmapd.cli import columns, following, listing, words
from nicmapd.cli.calling import Command
from nicmapd.cli.columns import Column
from nicmapd.cli.session import Session, command_options
from nicmapd.errors import NotFound


@click.command("list", cls=Command)
@click.argument("vm", required=False)
@click.option("--network", metavar="NAME", help="Only NICs on this libvirt network.")
@click.option("--type", metavar="TYPE", help="Only NICs of this libvirt type, such as network or bridge.")
@click.option("--state", metavar="STATE", help="Only NICs whose name is fresh, stale, last_known, ambiguous, ...")
@click.option("--at", type=words.Moment(), help="The map as it was: 2h or 7d (ago), 2026-01-01, or a full time.")
@click.option("-w", "--watch", is_flag=True, help="Then each NIC again whenever it changes, until Ctrl-C.")
@listing.options
@command_options
@click.pass_obj
def command(
    session: Session,
    /,
    vm: str | None,
    output: str | None,
    chosen: Sequence[Column] | None,
    headers: bool,
    order: Sequence[tuple[Column, bool]] | None,
    watch: bool,
    **query: str | None,
) -> None:
    """The NICs of VM, or of all VMs: VM, guest name, MAC, network, host side device, state, addresses, age."""
    session.about("list", vm)
    form = listing.form(session, output, chosen)
    if watch:
        if query["at"]:
            raise click.UsageError("--at is the past, which does not change: leave out --watch")
        _watch(session, vm, query, listing.Lines(session, form=form, chosen=chosen, headers=headers), order or ())
        return
    found = columns.ordered(_find(session, vm, query), order or ())
    listing.show(session, found, form=form, chosen=chosen, headers=headers)
    if not found and not session.json:
        filtered = any(value for key, value in query.items() if key != "at")
        session.note("no NIC fits" if filtered else _why_none(session))


def _why_none(session: Session) -> str:
    """That there are no NICs, or that it is not known whether there are."""
    reasons = session.client.get("status")["reasons"]
    return f"no NICs are known: {words.text(reasons[0])}" if reasons else "there are no NICs"


def _watch(
    session: Session,
    vm: str | None,
    query: dict[str, str | None],
    lines: listing.Lines,
    order: Sequence[tuple[Column, bool]],
) -> None:
    """Prints what is there, and from then on what changes, until Ctrl-C."""
    uuid = None if vm is None else session.client.get("vms", vm)["uuid"]

    def find(one: str | None) -> list[Any]:
        try:
            return _find(session, one or uuid, query)
        except NotFound:  # a VM that is gone has no NICs
            return []

    for event, found in following.nics(session, uuid, find, lines.sight):
        lines.show(event, columns.ordered(found, order))


def _find(session: Session, vm: str | None, query: dict[str, str | None]) -> list[Any]:
    if vm is None:
        return list(session.client.items("interfaces", query=query))
    found: list[Any] = session.client.get("vms", vm, "interfaces", query=query)["items"]
    return found
