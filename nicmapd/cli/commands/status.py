"""`nicmapctl status`: how the daemon does."""

from __future__ import annotations

from typing import Any

import click

from nicmapd.cli import failure, table, words
from nicmapd.cli.calling import Command
from nicmapd.cli.session import Session, command_options


@click.command("status", cls=Command)
@command_options
@click.pass_context
def command(ctx: click.Context) -> None:
    """How the daemon, libvirt, the store and the guests do.

    Exit code 1 if degraded: no libvirt, a store that cannot be written, or passes that do not finish. A guest that does
    not answer is counted, and is not the daemon's fault.
    """
    session: Session = ctx.obj
    session.about("status")
    status = session.client.get("status")
    if session.json:
        session.print_json(status)
    else:
        session.print(_text(status))
    if status["state"] != "ok":
        ctx.exit(failure.FAILED)


def _text(status: Any) -> str:
    colour = table.colourful()
    state = table.paint(words.text(status["state"]), "good" if status["state"] == "ok" else "bad", on=colour)
    head = f"nicmapd {words.text(status['version'])} on {words.text(status['host'])}: {state}\n"
    return head + table.sheet(
        [
            ("why", [words.text(one) for one in status["reasons"]]),
            ("running", f"for {words.age(status['uptime'])}, pid {status['pid']}"),
            ("libvirt", _libvirt(status["libvirt"])),
            ("store", _store(status["store"])),
            ("passes", _passes(status["passes"])),
            ("VMs", _counts(status["vms"])),
            ("NICs", f"{status['nics']['total']}, {status['nics']['named']} of them named"),
            ("oldest entry", _oldest(status["oldest"])),
        ],
        colour=colour,
    )


def _libvirt(libvirt: Any) -> str:
    state = "connected" if libvirt["connected"] else "not connected"
    found = f"{state} to {words.text(libvirt['uri'])}" if libvirt["uri"] else state
    if libvirt["version"]:
        found += f", version {words.text(libvirt['version'])}"
    if libvirt["since"]:
        found += f", since {words.since(libvirt['since'])}"
    if libvirt["connected"] and libvirt["rx_filter"]:
        found += "; renames are seen at once (hints.rx_filter)"
    if libvirt["message"] and not libvirt["connected"]:
        found += f": {words.text(libvirt['message'])}"
    return found


def _store(store: Any) -> str:
    found = words.text(store["state"]) + (f", {words.text(store['backend'])}" if store["backend"] else "")
    if store["suppressed"]:
        found += f"; {sum(store['suppressed'].values())} changes of {len(store['suppressed'])} VMs too many to keep"
    return f"{found}: {words.text(store['message'])}" if store["message"] else found


def _passes(passes: Any) -> str:
    age = passes["last_age"]
    last = "none has finished yet" if age is None else f"last finished {words.ago(age)}"
    return (
        f"{last}, {passes['count']} since the start, {passes['queue']} due, "
        f"every {passes['interval']:g} s, {passes['lateness']:.0f} s late"
    )


def _counts(vms: Any) -> str:
    states = ", ".join(f"{number} {words.text(state)}" for state, number in vms["by_agent_state"].items())
    return f"{vms['total']}" + (f"; agents: {states}" if states else "")


def _oldest(oldest: Any) -> str:
    return "" if oldest is None else f"{words.text(oldest['vm'])}, last answered {words.ago(oldest['age'])}"
