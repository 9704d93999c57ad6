"""`nicmapctl detach`: a NIC less, after saying which one that is."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import click

from nicmapd.cli import changing, failure, table, tree, words
from nicmapd.cli.calling import Command
from nicmapd.cli.session import Session, command_options
from nicmapd.text import printable

#: Seconds that the daemon gives the guest by itself.
_PATIENCE = 30

#: HTTP status: the guest was asked, and has not let go yet.
_ACCEPTED = 202


@click.command("detach", cls=Command)
@click.argument("vm")
@click.argument("nic")
@changing.wait_option(f"Seconds for the guest to let it go, then exit code 3. Not given: {_PATIENCE}.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask. Without a terminal there is nobody to ask: give it.")
@click.option("--dry-run", is_flag=True, help="Say what would go, and change nothing.")
@command_options
@click.pass_obj
def command(session: Session, vm: str, nic: str, wait: int | None, yes: bool, dry_run: bool) -> None:
    """Detaches NIC from VM, after saying which one that is and what goes with it.

    A guest name must be certain at that moment: the guest is asked again. Nothing is done if the NIC is not any more
    what was shown.
    """
    session.about("detach", vm, nic)
    seen = session.client.look("vms", vm, "interfaces", nic)
    found = seen.document
    if dry_run:
        _show_dry_run(session, found)
        return
    if not yes:
        _ask(session, found)
    again = failure.line("detach", vm, found["mac"], options=("--yes",) if yes else ())
    session.hint = again if nic == found["name"] else None
    patience = _PATIENCE if wait is None else wait
    name = _name(found)
    with changing.under_way(f"detaching {name}: waiting for the guest to let it go") as progress:
        answer = session.client.change("DELETE", "vms", vm, "interfaces", nic, wait=patience, etag=seen.etag)
    gone = answer.status != _ACCEPTED
    if session.json:
        session.print_json({"gone": gone, "seconds": round(progress.seconds, 3), "nic": found})
    if not gone:
        session.hint = failure.line(
            "wait", vm, f"alias:{found['alias']}" if found["alias"] else nic, options=("--for", "gone")
        )
        raise failure.NotYet(
            f"the guest has not let {name} go within {patience} s; it is asked to, and may do so later"
        )
    if not session.json:
        session.print(f"{words.text(found['vm'])}: {name} is detached, after {progress.seconds:.1f} s")


def _show_dry_run(session: Session, nic: Any) -> None:
    if session.json:
        session.print_json({"gone": False, "seconds": None, "nic": nic})
    else:
        session.print(_goes(nic))
        session.note("nothing was changed (--dry-run)")


def _ask(session: Session, nic: Any) -> None:
    """Says what goes and asks for leave. Raises `UsageError` where there is nobody to ask, `Declined` after a no."""
    if not sys.stdin.isatty():
        raise click.UsageError(
            f"{_name(nic)} of {words.text(nic['vm'])} would be detached, and there is no terminal to ask; give --yes"
        )
    everything = session.client.get("vms", nic["vm_uuid"], "interfaces")["items"]
    others = [one for one in everything if (one["id"], one["mac"]) != (nic["id"], nic["mac"])]
    sys.stderr.write(_goes(nic, others))
    sys.stderr.flush()
    if not click.confirm("Detach it?", err=True):
        raise failure.Declined("nothing was changed")


def _name(nic: Any) -> str:
    mac = words.text(nic["mac"])
    return f"{words.text(nic['name'])} ({mac})" if nic["name"] else mac


def _goes(nic: Any, others: Sequence[Any] | None = None) -> str:
    """What goes, for people. `others`: the VM's other NICs, None if they were not looked at."""
    place = [words.text(nic["network"] or nic["source"] or nic["type"])]
    place += [
        f"{label} {words.text(nic[key])}" for label, key in (("device", "target"), ("alias", "alias")) if nic[key]
    ]
    name = words.text(nic["name"]) if nic["name"] else "its name is not known"
    remarks = []
    if nic["name_state"] != "fresh" and nic["name"]:
        remarks.append(
            f"the guest confirmed this name {words.ago(nic['age'])}; it is asked again before anything is done"
        )
    if others is not None and not others:
        remarks.append("it is the VM's only NIC")
    elif others and nic["addresses"] and not any(one["addresses"] for one in others):
        remarks.append("no other NIC of the VM has an address")
    return f"{words.text(nic['vm'])} loses this NIC:\n" + table.sheet(
        [
            ("name", name),
            ("MAC", words.text(nic["mac"])),
            ("network", ", ".join(place)),
            ("in the guest", tree.draw(nic) or "no address is known"),
            ("seen", words.ago(nic["age"])),
            ("note", [printable(one) for one in remarks]),
        ]
    )
