"""`nicmapctl networks`: libvirt's networks, and who is on them."""

from __future__ import annotations

from typing import Any

import click

from nicmapd.cli import nics, table, words
from nicmapd.cli.calling import Command
from nicmapd.cli.session import Session, command_options
from nicmapd.cli.table import Cell

_INDENT = "  "


@click.command("networks", cls=Command)
@click.argument("network", required=False)
@command_options
@click.pass_obj
def command(session: Session, network: str | None) -> None:
    """libvirt's networks, or NETWORK, each with the NICs on it by VM and guest name."""
    session.about("networks")
    if network is None:
        found = session.client.get("networks")
        items = found["items"]
    else:
        found = session.client.get("networks", network)
        items = [found]
    if session.json:
        session.print_json(found)
        return
    session.print("\n".join(_text(one) for one in items))
    if not items:
        session.note("libvirt has no networks")


def _text(network: Any) -> str:
    colour = table.colourful()
    head = table.paint(words.text(network["name"]), "strong", on=colour)
    return f"{head}  {_facts(network)}\n{_members(network['interfaces'])}"


def _facts(network: Any) -> str:
    facts = ["active" if network["active"] else "not active"]
    facts.append(words.text(network["forward"]) if network["forward"] else "isolated")
    if network["bridge"]:
        facts.append(f"bridge {words.text(network['bridge'])}")
    if network["autostart"]:
        facts.append("autostart")
    if not network["persistent"]:
        facts.append("transient")
    return ", ".join(facts)


def _note(nic: Any) -> str:
    return nics.next_boot(nic) or ("link down" if nic["link"] == "down" else "")


def _members(interfaces: Any) -> str:
    if not interfaces:
        return f"{_INDENT}no NICs\n"
    rows = []
    for nic in interfaces:
        addresses = tuple(words.address(one) for one in nic["addresses"])
        rows.append(
            [
                Cell(f"{_INDENT}{words.text(nic['vm'])}"),
                Cell(words.text(nic["name"]), "strong"),
                Cell(words.text(nic["mac"])),
                Cell(words.text(nic["target"])),
                Cell(words.text(nic["name_state"]), nics.COLOURS.get(nic["name_state"], "")),
                Cell(" ".join(addresses) or "-", parts=addresses),
                Cell(_note(nic), "dim"),
            ]
        )
    headers = (f"{_INDENT}VM", "NIC", "MAC", "HOST-IF", "STATE", "ADDRESSES", "")
    return table.render(headers, rows, limit=table.terminal_width(), colour=table.colourful())
