"""MACs for NICs to come: free on this host, and kept free from each other while libvirt is being told."""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Iterator, Mapping

from nicmapd.board import Board
from nicmapd.errors import Conflict, Invalid
from nicmapd.ports import HypervisorChanges
from nicmapd.text import clean

#: What of a MAC is QEMU's own (its OUI), and how often the rest is drawn.
_PREFIX = "52:54:00"
_DRAWS = 1000

#: libvirt gives the host's end of a tap the guest's MAC with this first octet, and so refuses it for a guest.
_RESERVED = "fe:"


class Macs:
    """Call it in threads: it asks libvirt."""

    def __init__(self, hypervisor: HypervisorChanges, board: Board) -> None:
        self._hypervisor = hypervisor
        self._board = board
        self._lock = threading.Lock()
        self._in_flight: dict[str, str] = {}

    @contextlib.contextmanager
    def reserve(self, wanted: str | None, vm: str) -> Iterator[str]:
        """`wanted`, or a random MAC, for a NIC of `vm`; nobody else gets it while the block lasts.

        Raises `Conflict` if a NIC of this host has it, `Invalid` if no NIC can have it.
        """
        with self._lock:
            mac = pick(wanted, {**self._on_board(), **self._in_flight})
            self._in_flight[mac] = vm
        try:
            if wanted is not None:
                # The map may be older than the last change of another tool. Asked only now that the MAC is held: what
                # another request did with it meanwhile would not be in a list that was begun before.
                pick(wanted, self._hypervisor.macs())
            yield mac
        finally:
            with self._lock:
                del self._in_flight[mac]

    def _on_board(self) -> dict[str, str]:
        return {one.nic.mac: entry.vm.name for entry in self._board.entries() for one in entry.all_nics}


def pick(wanted: str | None, taken: Mapping[str, str]) -> str:
    """The MAC that is wanted, or a random one of QEMU's range. `taken`: MAC -> name of the VM that has it."""
    if wanted is not None:
        if wanted.startswith(_RESERVED):
            raise Invalid(f"mac: {wanted}: libvirt keeps MACs that begin with fe: for the host's end", key="mac")
        if wanted in taken:
            raise Conflict(
                f'{wanted} is the MAC of a NIC of "{clean(taken[wanted])}"; two of one MAC disturb each other'
            )
        return wanted
    for _ in range(_DRAWS):
        mac = ":".join([_PREFIX, *(f"{random.randrange(256):02x}" for _ in range(3))])
        if mac not in taken:
            return mac
    raise Conflict(f"no free MAC was found in {_PREFIX}")
