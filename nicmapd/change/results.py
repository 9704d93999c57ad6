"""What an operation came to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from nicmapd.model import NicEntry, VmEntry
from nicmapd.ports import Scope


class DetachVerdict(StrEnum):
    """How a detach ended, short of a failure."""

    GONE = "gone"
    PENDING = "pending"


@dataclass(frozen=True, slots=True)
class Changed:
    """A NIC that was attached or changed: the VM with it. `named`: the guest shows it, under a name that stayed."""

    vm: VmEntry
    nic: NicEntry
    scopes: Sequence[Scope]
    named: bool = False


@dataclass(frozen=True, slots=True)
class Detached:
    """What a detach came to."""

    verdict: DetachVerdict
    vm: VmEntry
    nic: NicEntry
