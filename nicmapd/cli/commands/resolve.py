"""`nicmapctl resolve`: one NIC by any of its words, another of its words alone on stdout; for scripts."""

from __future__ import annotations

import click

from nicmapd.cli import failure, nics, words
from nicmapd.cli.calling import Command
from nicmapd.cli.session import Session, command_options
from nicmapd.errors import NotFound, Stale
from nicmapd.text import printable


@click.command("resolve", cls=Command)
@click.argument("vm")
@click.argument("name")
@click.option("--alias", "what", flag_value="alias", help="Print the alias (net0) instead.")
@click.option("--target", "what", flag_value="target", help="Print the host side device (vnet1) instead.")
@click.option("--name", "what", flag_value="name", help="Print the guest's name instead.")
@click.option("--require-fresh", is_flag=True, help="Exit code 6 unless the name is confirmed in time.")
@command_options
@click.pass_obj
def command(session: Session, vm: str, name: str, what: str | None, require_fresh: bool) -> None:
    """The MAC of the NIC that the guest of VM calls NAME, alone on stdout.

    NAME may also be a MAC, alias:net0 or dev:vnet1.
    """
    session.about("resolve", vm, name)
    nic = session.client.get("vms", vm, "interfaces", name)
    if nic["name_state"] != "fresh":
        seen = "" if nic["age"] is None else f", seen {words.ago(nic['age'])}"
        old = f"{printable(vm)} {printable(name)} is {nics.state(nic)}{seen}"
        if require_fresh:
            if nic["name_state"] == "last_known":  # the guest cannot be asked: what there is, is all there is
                session.hint = failure.line("resolve", vm, name)
            raise Stale(f"{old}: {nics.note(nic) or nic['reason']}")
        session.note(old)
    if session.json:
        session.print_json(nic)
        return
    value = nic[what or "mac"]
    if value is None:
        raise NotFound(f"{printable(vm)} {printable(name)} has no {what} now ({nic['reason']})")
    session.print(printable(value))
