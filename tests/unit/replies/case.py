"""One row of the table of replies, and short ways to write an agent's entries. All addresses are invented."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

LOOPBACK = "00:00:00:00:00:00"
MAC = "52:54:00:12:34:56"
OTHER_MAC = "52:54:00:65:43:21"

Shown = tuple[str, str | None, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Case:
    """A reply, and the interfaces read from it: (name, MAC, addresses as "IP/PREFIX" or "IP"), sorted by name and MAC.

    `reply` is JSON text as it is, or what stands under `return`. Where it is refused as a whole, `state` is the
    agent's state and `says` a piece of the message. `faults` are pieces of what is told, one each, in order.
    """

    id: str
    reply: Any
    shown: Sequence[Shown] = ()
    dropped: int = 0
    faults: list[str] = field(default_factory=list)
    keep: frozenset[str] = frozenset({MAC})
    state: str = ""
    says: str = ""

    @property
    def text(self) -> str:
        return self.reply if isinstance(self.reply, str) else json.dumps({"return": self.reply})


def entry(name: object, mac: object = MAC, addresses: object = (), **more: object) -> dict[str, object]:
    """An entry as qemu-ga writes it; `addresses` as "IP/PREFIX", or what shall stand there instead."""
    listed = [address(text) for text in addresses] if isinstance(addresses, list | tuple) else addresses
    return {"name": name, "hardware-address": mac, "ip-addresses": listed, **more}


def address(text: object) -> object:
    if not isinstance(text, str):
        return text
    ip, _, prefix = text.partition("/")
    family = "ipv6" if ":" in ip else "ipv4"
    made: dict[str, object] = {"ip-address-type": family, "ip-address": ip}
    return {**made, "prefix": int(prefix)} if prefix else made


def lo() -> dict[str, object]:
    return entry("lo", LOOPBACK, ["127.0.0.1/8", "::1/128"])


LO: Shown = ("lo", None, ("127.0.0.1/8", "::1/128"))
