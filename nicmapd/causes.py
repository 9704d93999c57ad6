"""Who asked for which change: so that the pass that finds a change can say whose it was.

Libvirt is changed in one place and the map in another, which only sees that something is different. What was asked
for is noted here before libvirt is called, and claimed by the pass that finds it.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from nicmapd.model import Change, ChangeKind

#: Changes of one VM that were asked for and not found yet. A guest that never lets go of a NIC leaves one for each.
MAX_PER_VM = 64


@dataclass(frozen=True, slots=True, eq=False)
class Cause:
    """A change of one of these kinds, of the NIC with this MAC, is what `who` asked for."""

    mac: str
    kinds: frozenset[ChangeKind]
    who: str


class Causes:
    """Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._expected: dict[str, list[Cause]] = {}

    def expect(self, uuid: str, mac: str, kinds: Collection[ChangeKind], who: str) -> Cause:
        """Notes who asks for a change, before it is made."""
        cause = Cause(mac, frozenset(kinds), who)
        with self._lock:
            expected = self._expected.setdefault(uuid, [])
            expected.append(cause)
            del expected[:-MAX_PER_VM]
        return cause

    def withdraw(self, uuid: str, cause: Cause) -> None:
        """It was not made, or has been found. No error if it is not there."""
        with self._lock:
            self._remove(uuid, [cause])

    def name(self, uuid: str, changes: Sequence[Change]) -> tuple[Change, ...]:
        """`changes` of a VM, those that were asked for with `by` among their details."""
        with self._lock:
            expected = self._expected.get(uuid)
            if not expected:
                return tuple(changes)
            named, found = [], []
            for change in changes:
                cause = next((one for one in expected if one.mac == change.mac and change.kind in one.kinds), None)
                if cause is not None:
                    found.append(cause)
                    change = replace(change, details={**change.details, "by": cause.who})
                named.append(change)
            self._remove(uuid, found)  # used up: the next change of that NIC may be somebody else's
            return tuple(named)

    def forget(self, uuid: str) -> None:
        """The VM is gone."""
        with self._lock:
            self._expected.pop(uuid, None)

    def _remove(self, uuid: str, causes: Collection[Cause]) -> None:
        left = [one for one in self._expected.get(uuid, ()) if one not in causes]
        if left:
            self._expected[uuid] = left
        else:
            self._expected.pop(uuid, None)
