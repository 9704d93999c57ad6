"""`nicmapctl show`: everything that is known, with the reasons."""

from __future__ import annotations

from typing import Any

import click

from nicmapd.cli import nics, table, words
from nicmapd.cli.calling import Command
from nicmapd.cli.session import Session, command_options


@click.command("show", cls=Command)
@click.argument("vm")
@click.argument("nic", required=False)
@command_options
@click.pass_obj
def command(session: Session, vm: str, nic: str | None) -> None:
    """Everything known of VM, or of its NIC, with the reasons and the evidence."""
    session.about("show", vm, nic)
    if nic is not None:
        found = session.client.get("vms", vm, "interfaces", nic)
        if session.json:
            session.print_json(found)
        else:
            session.print(nics.sheet(found))
        return
    document = session.client.get("vms", vm)
    interfaces = session.client.get("vms", document["uuid"], "interfaces")["items"]
    if session.json:
        session.print_json({**document, "interfaces": interfaces})
        return
    session.print("\n".join([_vm(document), *(nics.sheet(one) for one in interfaces)]))


def _vm(vm: Any) -> str:
    colour = table.colourful()
    agent = vm["agent"]
    state = words.text(vm["state"])
    version = f", version {words.text(agent['version'])}" if agent["version"] else ""
    head = table.paint(words.text(vm["name"]), "strong", on=colour)
    return f"{head}\n" + table.sheet(
        [
            ("UUID", words.text(vm["uuid"])),
            ("state", f"{state}, {'persistent' if vm['persistent'] else 'transient'}, on {words.text(vm['host'])}"),
            ("agent", f"{words.text(agent['state'])}: {words.text(agent['message'])}{version}"),
            ("", f"so since {words.since(agent['since'])}" if agent["since"] else ""),
            ("names", _freshness(vm)),
            ("NICs", str(vm["nic_count"])),
        ],
        colour=colour,
    )


def _freshness(vm: Any) -> str:
    if vm["age"] is None:
        return "never: the guest has not answered yet"
    return f"{words.text(vm['freshness'])}, the guest answered {words.ago(vm['age'])}"
