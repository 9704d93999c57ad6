"""`nicmapctl wait`: returns when it is so."""

from __future__ import annotations

from typing import Any

import click

from nicmapd.cli import words
from nicmapd.cli.calling import Command
from nicmapd.cli.progress import Progress
from nicmapd.cli.session import Session, command_options
from nicmapd.cli.waiting import Waiting, addressed, present
from nicmapd.errors import NotFound

_WANTED = {"present": (present, "present"), "address": (addressed, "there with an address")}


@click.command("wait", cls=Command)
@click.argument("vm")
@click.argument("nic")
@click.option(
    "--for",
    "wanted",
    type=click.Choice([*_WANTED, "gone"]),
    default="present",
    show_default=True,
    help="present: the guest shows it; address: it has one beyond link-local; gone: it is detached.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(0, 86400),
    default=60,
    show_default=True,
    metavar="S",
    help="Seconds; then exit code 3.",
)
@command_options
@click.pass_obj
def command(session: Session, vm: str, nic: str, wanted: str, timeout: float) -> None:
    """Returns when NIC of VM is as wanted, or after the timeout with exit code 3.

    NIC need not be there yet. A NIC that is waited for to be gone is followed by what it is, not by its name.
    """
    session.about("wait", vm, nic)
    with Progress(f"waiting until {words.text(nic)} of {words.text(vm)} is {wanted}") as progress:
        found = _gone(session, vm, nic, timeout) if wanted == "gone" else _there(session, vm, nic, wanted, timeout)
    if session.json:
        session.print_json({"for": wanted, "seconds": round(progress.seconds, 3), "nic": found})
        return
    name = words.text(nic if found is None else found["name"] or found["mac"])
    mac = "" if found is None or found["name"] is None else f" ({words.text(found['mac'])})"
    state = "is gone" if wanted == "gone" else "is there"
    addresses = "" if wanted == "gone" else "".join(f", {words.address(one)}" for one in found["addresses"])
    session.print(f"{words.text(vm)}: {name}{mac} {state}{addresses}, after {progress.seconds:.1f} s")


def _there(session: Session, vm: str, nic: str, wanted: str, timeout: float) -> Any:
    waiting = Waiting(session.client, vm, seconds=timeout)
    waiting.pin()
    return waiting.until(nic, *_WANTED[wanted])


def _gone(session: Session, vm: str, nic: str, timeout: float) -> Any:
    """The NIC that went; None if it was not there to begin with."""
    waiting = Waiting(session.client, vm, seconds=timeout)
    try:
        waiting.pin()
        found = waiting.find(nic)
    except NotFound as error:
        # A name that moved is still somebody's NIC, and a VM that never was is a mistyped one.
        if error.details.get("renamed_to") is None and ("vm_uuid" in error.details or "removed_uuid" in error.details):
            return None
        raise
    waiting.until_gone(found)
    return found
