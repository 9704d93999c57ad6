"""`nicmapctl watch`: a table that follows the map."""

from __future__ import annotations

import sys

import click

from nicmapd.cli.calling import Command
from nicmapd.cli.session import Session, command_options
from nicmapd.errors import Invalid


@click.command("watch", cls=Command)
@click.argument("vm", required=False)
@command_options
@click.pass_obj
def command(session: Session, vm: str | None) -> None:
    """The NICs of VM, or of all VMs, in a table that follows what changes. What changed glows for five seconds.

    \b
    Keys: q ends                          / filters (words that must all be in a line), Esc shows all
          s, S sort by the next column, the one before; r turns the order around
          Up, Down, PgUp, PgDn, Home, End scroll
    """
    session.about("watch", vm)
    if session.json or not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise Invalid("watch needs a terminal; for scripts there are: nicmapctl events --json, nicmapctl list -w")
    # Here, because `--help` of the program loads all commands, and must be quick.
    from nicmapd.cli import watching

    watching.run(session, vm)
