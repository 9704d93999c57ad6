"""`nicmapctl attach`: a NIC more, and what the guest calls it."""

from __future__ import annotations

from typing import Any

import click

from nicmapd.cli import changing, failure, words
from nicmapd.cli.calling import Command
from nicmapd.cli.session import Session, command_options
from nicmapd.text import normal_mac

#: Seconds given to the guest if none are asked for. A healthy one has named a new NIC within one.
_PATIENCE = 5

#: Option that says where it is plugged in -> libvirt's type, and the API's member for the place.
_PLACES = {
    "network": ("network", "network"),
    "bridge": ("bridge", "source"),
    "direct": ("direct", "source"),
    "user": ("user", ""),
}


@click.command("attach", cls=Command)
@click.argument("vm")
@click.option("--network", metavar="NAME", help="On this libvirt network.")
@click.option("--bridge", metavar="DEV", help="On this bridge of the host.")
@click.option("--direct", metavar="DEV", help="On this network device of the host (macvtap).")
@click.option("--user", is_flag=True, help="On QEMU's own network, without privileges.")
@click.option("--mode", metavar="MODE", help="Of --direct: bridge, vepa, private, passthrough.")
@click.option("--model", metavar="MODEL", help="virtio, e1000e, ...  [default: the best that the machine type offers]")
@click.option("--mac", metavar="MAC", help="Its MAC  [default: a free one of 52:54:00]")
@click.option(
    "--scope",
    type=click.Choice(["live", "config", "both"]),
    help="The running VM, its configuration or both  [default: all that there is]",
)
@click.option("--link", type=click.Choice(["up", "down"]), help="down: with the cable pulled.")
@changing.wait_option(
    f"Seconds for the guest to show its name, then exit code 3. Not given: {_PATIENCE}, and no failure."
)
@command_options
@click.pass_obj
def command(session: Session, /, vm: str, wait: int | None, **wishes: Any) -> None:
    """Attaches a NIC to VM, and prints what its guest calls it."""
    session.about("attach", vm)
    patience = _PATIENCE if wait is None else wait
    body = _body(wishes)
    with changing.under_way(f"attaching a NIC to {words.text(vm)}, and waiting for its guest to name it"):
        nic = session.client.change("POST", "vms", vm, "interfaces", body=body, wait=patience).document
    if session.json:
        session.print_json(nic)
    else:
        session.print(_text(nic))
    if nic["name"] is None and nic["agent_state"] != "off" and patience and not _comes_later(nic):
        _not_shown(session, vm, nic, patience, failed=wait is not None)


def _body(wishes: dict[str, Any]) -> dict[str, Any]:
    """What is wished for, as the api takes it. Raises `UsageError` unless it says where to plug it in, once."""
    places = [name for name in _PLACES if wishes[name]]
    if len(places) != 1:
        allowed = ", ".join(f"--{name}" for name in _PLACES)
        raise click.UsageError(f"{'one' if not places else 'only one'} of {allowed} must be given")
    kind, member = _PLACES[places[0]]
    wanted = {"type": kind} | {key: wishes[key] for key in ("mode", "model", "mac", "scope", "link")}
    if member:
        wanted[member] = wishes[places[0]]
    if wanted["mac"] is not None:  # as people copy it, from Windows too; what is none is for the api to refuse
        wanted["mac"] = normal_mac(wanted["mac"]) or wanted["mac"]
    return {key: value for key, value in wanted.items() if value is not None}


def _not_shown(session: Session, vm: str, nic: Any, patience: int, *, failed: bool) -> None:
    """Says that the guest has not named it. Raises `NotYet` if that was waited for."""
    session.hint = failure.line("wait", vm, nic["mac"], options=("--for", "present"))
    late = f"the guest has not shown it within {patience} s: {words.text(nic['reason'])}"
    if failed:
        raise failure.NotYet(late)
    session.note(f"{late}\nTry: {session.hint}")


def _text(nic: Any) -> str:
    place = nic["network"] or nic["source"] or f"{nic['type']} network"
    devices = ", ".join(words.text(nic[key]) for key in ("alias", "target") if nic[key])
    found = f"{words.text(nic['vm'])}: attached {words.text(nic['mac'])} to {words.text(place)}"
    found += f" as {devices}" if devices else ""
    if nic["name"] is not None:
        addresses = "".join(f", {words.address(one)}" for one in nic["addresses"])
        found += f"; its guest calls it {words.text(nic['name'])}{addresses}"
    elif nic["agent_state"] == "off":
        found += "; it is there when the VM is started"
    elif _comes_later(nic):
        found += "; it is there from the VM's next boot on"
    return found


def _comes_later(nic: Any) -> bool:
    """Whether only the configuration of a running VM has it."""
    return nic["pending"] is not None and nic["pending"]["kind"] == "attach"
