"""`nicmapctl attach`: a NIC more, and what the guest calls it."""

from __future__ import annotations

from typing import Any

import click

from nicmapd.cli import changing, failure, nics, words
from nicmapd.cli.session import Session, command_options

#: Seconds given to the guest if none are asked for. A healthy one has named a new NIC within one.
_PATIENCE = 5


@click.command("attach", short_help="A NIC more; prints what the guest calls it.")
@click.argument("vm")
@click.option("--network", metavar="NAME", required=True, help="The libvirt network to be on.")
@click.option("--model", metavar="MODEL", help="virtio, e1000e, ...  [default: the best that the machine type offers]")
@click.option("--mac", metavar="MAC", help="Its MAC  [default: a free one of 52:54:00]")
@click.option(
    "--scope",
    type=click.Choice(["live", "config", "both"]),
    help="The running VM, its configuration or both  [default: all that there is]",
)
@changing.wait_option(
    f"Seconds for the guest to show its name, then exit code 3. Not given: {_PATIENCE}, and no failure."
)
@command_options
@click.pass_obj
def command(
    session: Session, vm: str, network: str, model: str | None, mac: str | None, scope: str | None, wait: int | None
) -> None:
    """Attaches a NIC to VM, and prints what its guest calls it."""
    session.about("attach", vm)
    wanted = {"type": "network", "network": network, "model": model, "mac": mac, "scope": scope}
    body = {key: value for key, value in wanted.items() if value is not None}
    patience = _PATIENCE if wait is None else wait
    with changing.under_way(f"attaching a NIC to {words.text(vm)}, and waiting for its guest to name it"):
        nic = session.client.change("POST", "vms", vm, "interfaces", body=body, wait=patience).document
    if session.json:
        session.print_json(nic)
    else:
        session.print(_text(nic))
    if nic["name"] is None and nic["agent_state"] != "off" and patience:
        session.about("wait", vm, nic["mac"])
        late = f"the guest has not shown it within {patience} s: {words.text(nic['reason'])}"
        session.hint = failure.line("wait", vm, nic["mac"], "--for", "present")
        if wait is not None:
            raise failure.NotYet(late)
        session.note(f"{late}\nTry: {session.hint}")


def _text(nic: Any) -> str:
    place = nic["network"] or nic["source"] or nic["type"]
    devices = ", ".join(words.text(nic[key]) for key in ("alias", "target") if nic[key])
    found = f"{words.text(nic['vm'])}: attached {words.text(nic['mac'])} to {words.text(place)}"
    found += f" as {devices}" if devices else ""
    if nic["name"] is not None:
        addresses = "".join(f", {nics.address_text(one)}" for one in nic["addresses"])
        found += f"; its guest calls it {words.text(nic['name'])}{addresses}"
    elif nic["agent_state"] == "off":
        found += "; it is there when the VM is started"
    return found
