"""`nicmapctl refresh`: ask the guest now."""

from __future__ import annotations

import click

from nicmapd.cli import words
from nicmapd.cli.calling import Command
from nicmapd.cli.session import Session, command_options


@click.command("refresh", cls=Command)
@click.argument("vm")
@command_options
@click.pass_obj
def command(session: Session, vm: str) -> None:
    """Asks the guest of VM now, and prints what changed.

    If it does not answer, the map stays as it is and the exit code is 1.
    """
    session.about("refresh", vm)
    answer = session.client.post("vms", vm, "refresh")
    if session.json:
        session.print_json(answer)
        return
    changes = [words.text(change["sentence"]) for change in answer["changes"]]
    named = sum(1 for nic in answer["items"] if nic["name"])
    of_all = words.count(len(answer["items"]), "NIC")
    session.print("\n".join(changes or [f"nothing new: {of_all}, {named} named"]))
