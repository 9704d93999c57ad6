"""What stands on a NIC in the guest, drawn as a tree with the addresses of each interface.

The API gives the layers of a NIC and not what each of them stands on. A layer is drawn under what it is known to stand
on, directly or through others: by its name (`bond0.100`, `eth0:1`), or because nothing else is possible (with a bond on
the NIC, a bridge can have that only through the bond). What is not known stands under the NIC.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from nicmapd.cli import table, words


def draw(nic: Any) -> list[str]:
    """Lines: an interface each, with its first address; further addresses below that.

    Empty if nothing stands on the NIC and it has no address.
    """
    if not nic["stack"] and not nic["addresses"]:
        return []
    roots = [nic["name"]] if nic["name"] else list(nic["candidates"])
    layers = {layer["name"]: layer for layer in nic["stack"] if layer["name"] not in roots}
    children: defaultdict[str | None, list[str]] = defaultdict(list)
    known = {*roots, *layers}
    for name, layer in layers.items():
        children[_parent(name, layer["kind"], layers, roots, known)].append(name)
    addresses = defaultdict(list)
    for one in nic["addresses"]:
        addresses[one["interface"]].append(words.address(one))
    heads: list[tuple[str, str, str]] = []
    for root in [*roots, *children[None]]:
        _grow(root, "", "", nic, layers, children, heads)
    return _lines(heads, addresses)


def _parent(name: str, kind: str, layers: Mapping[str, Any], roots: Sequence[str], known: set[str]) -> str | None:
    """What `name` is known to stand on; None: on one of several NICs that this one may be."""
    by_name = name.rpartition(":" if kind == "alias" else ".")[0]
    if by_name in known and by_name != name:
        return by_name
    bonds = [one for one, layer in layers.items() if layer["kind"] == "bond"]
    if kind == "bridge" and len(bonds) == 1:
        return bonds[0]
    return roots[0] if len(roots) == 1 else None


def _grow(
    name: str,
    before: str,
    below: str,
    nic: Any,
    layers: Mapping[str, Any],
    children: Mapping[str | None, list[str]],
    heads: list[tuple[str, str, str]],
) -> None:
    """Adds `name` and what stands on it to `heads`: its line so far, what its further lines begin with, its name."""
    layer = layers.get(name)
    label = words.text(name)
    if layer is not None:
        label += f" ({words.text(layer['kind'])})"
        if layer["mac"] not in (None, nic["guest_mac"] or nic["mac"]):
            label += f" {words.text(layer['mac'])}"
    above = children.get(name, [])
    branch, bar, last = ("├─ ", "│  ", "└─ ") if table.unicode() else ("|- ", "|  ", "`- ")
    heads.append((before + label, below + (bar if above else ""), name))
    for number, one in enumerate(above):
        final = number == len(above) - 1
        _grow(one, below + (last if final else branch), below + ("   " if final else bar), nic, layers, children, heads)


def _lines(heads: Sequence[tuple[str, str, str]], addresses: Mapping[str, list[str]]) -> list[str]:
    space = max((table.width(head) for head, _, _ in heads), default=0)
    found = []
    for head, below, name in heads:
        first, *more = addresses.get(name) or [""]
        found.append(f"{_padded(head, space)}  {first}".rstrip())
        found += [f"{_padded(below, space)}  {one}" for one in more]
    return found


def _padded(text: str, space: int) -> str:
    return text + " " * (space - table.width(text))
