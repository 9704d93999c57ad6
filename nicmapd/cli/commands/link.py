"""`nicmapctl link`: the cable of a NIC, in or out."""

from __future__ import annotations

import click

from nicmapd.cli import changing, failure, words
from nicmapd.cli.calling import Command
from nicmapd.cli.session import Session, command_options


@click.command("link", cls=Command)
@click.argument("vm")
@click.argument("nic")
@click.argument("state", type=click.Choice(["up", "down"]), metavar="up|down")
@command_options
@click.pass_obj
def command(session: Session, vm: str, nic: str, state: str) -> None:
    """Plugs the cable of NIC in (up) or out (down), now and for the next boot.

    A guest name must be certain at that moment: the guest is asked again.
    """
    session.about("link", vm, nic, state)
    before = session.client.get("vms", vm, "interfaces", nic)
    if nic == before["name"]:
        session.hint = failure.line("link", vm, before["mac"], state)
    with changing.under_way(f"link {state} for {words.text(nic)} of {words.text(vm)}"):
        answer = session.client.change("PATCH", "vms", vm, "interfaces", nic, body={"link": state})
    found = answer.document
    if session.json:
        session.print_json(found)
        return
    name = words.text(found["name"] or found["mac"])
    was = "" if before["link"] != found["link"] else ", as it was"
    session.print(f"{words.text(found['vm'])}: the link of {name} is {words.text(found['link'])}{was}")
