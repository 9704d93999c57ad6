"""`nicmapctl list`: NICs, one a line, now or as it was."""

from __future__ import annotations

from typing import Any

import click

from nicmapd.cli import nics, words
from nicmapd.cli.session import Session, command_options


@click.command("list", short_help="NICs, one a line; now or as they were.")
@click.argument("vm", required=False)
@click.option("--network", metavar="NAME", help="Only NICs on this libvirt network.")
@click.option("--type", "kind", metavar="TYPE", help="Only NICs of this libvirt type, such as network or bridge.")
@click.option("--state", metavar="STATE", help="Only NICs whose name is fresh, stale, last_known, ambiguous, ...")
@click.option("--at", type=words.Moment(), help="The map as it was: 2h or 7d (ago), 2026-01-01, or a full time.")
@command_options
@click.pass_obj
def command(
    session: Session, vm: str | None, network: str | None, kind: str | None, state: str | None, at: str | None
) -> None:
    """The NICs of VM, or of all VMs: VM, guest name, MAC, network, host side device, state, addresses, age."""
    session.about("list", vm)
    found = _find(session, vm, {"network": network, "type": kind, "state": state, "at": at})
    if session.json:
        session.print_json({"items": found})
        return
    session.print(nics.print_table(found))
    if not found:
        session.note("no NIC fits" if any((network, kind, state)) else "there are no NICs")


def _find(session: Session, vm: str | None, query: dict[str, str | None]) -> list[Any]:
    if vm is None:
        return list(session.client.items("interfaces", query=query))
    found: list[Any] = session.client.get("vms", vm, "interfaces", query=query)["items"]
    return found
