"""`nicmapctl find`: whose is this MAC, this address, this name?"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence

import click

from nicmapd.cli import columns, listing, nics
from nicmapd.cli.calling import Command
from nicmapd.cli.columns import Column
from nicmapd.cli.session import Session, command_options
from nicmapd.errors import NotFound
from nicmapd.text import printable

_MAC = re.compile(r"[0-9a-f]{2}([:-][0-9a-f]{2}){5}", re.IGNORECASE)


@click.command("find", cls=Command)
@click.argument("what", metavar="MAC|IP|NAME")
@listing.options
@command_options
@click.pass_obj
def command(
    session: Session,
    what: str,
    output: str | None,
    chosen: Sequence[Column] | None,
    headers: bool,
    order: Sequence[tuple[Column, bool]] | None,
) -> None:
    """Which VM and NIC a MAC, an address, a guest name or a host side device is, over all VMs."""
    session.about("find", what)
    form = listing.form(session, output, chosen)
    found = nics.unique(nic for query in _queries(what) for nic in session.client.items("interfaces", query=query))
    if not found:
        raise NotFound(f'no NIC of any VM has "{printable(what)}" as its MAC, address, guest name or host side device')
    listing.show(session, columns.ordered(found, order or ()), form=form, chosen=chosen, headers=headers)


def _queries(what: str) -> Sequence[Mapping[str, str | None]]:
    """What to ask for: the form of the word says what it can be."""
    if _MAC.fullmatch(what):
        return ({"mac": what}, {"guest_mac": what})
    try:
        address = what.partition("/")[0].partition("%")[0]
        return ({"ip": str(ipaddress.ip_address(address))},)
    except ValueError:
        pass
    if what.startswith("dev:"):
        return ({"target": what.removeprefix("dev:")},)
    return ({"name": what}, {"target": what}) if what else ()
