"""Which NIC of the configuration is which of the running VM, and what the next boot changes of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nicmapd.model import AgentStatus, DomainState, HostNic, Naming, NicEntry, VmEntry, VmRef
from nicmapd.pending import PendingKind, counterparts, pending
from tests.fakes.clock import FakeClock

LIVE = HostNic(
    "52:54:00:00:00:01", "network", "net0", "0000:01:00.0", "default", "default", "virbr0", "virtio", "vnet0"
)
PLANNED = replace(LIVE, alias=None, target=None, bridge=None)


def of(live: HostNic, planned: HostNic | None) -> PendingKind | dict[str, str | None] | None:
    entry = NicEntry("1", live, Naming(), FakeClock().now(), planned=planned)
    vm = VmEntry(VmRef("u", "web1"), "host1", DomainState.RUNNING, True, AgentStatus(), (entry,), coming=())
    found = pending(vm, entry)
    return None if found is None else dict(found.differs) or found.kind


@pytest.mark.parametrize(
    ("live", "planned", "expected"),
    [
        (LIVE, PLANNED, None),
        (LIVE, None, PendingKind.DETACH),
        (LIVE, replace(PLANNED, link="down"), {"link": "down"}),
        (LIVE, replace(PLANNED, model="e1000"), {"model": "e1000"}),
        (LIVE, replace(PLANNED, model=None), None),  # libvirt's choice, which the running VM shows
        (
            LIVE,
            replace(PLANNED, type="bridge", network=None, source="br0"),
            {"type": "bridge", "network": None, "source": "br0"},
        ),
        # A network of devices: what was handed out is no change.
        (replace(LIVE, type="hostdev", network=None, source="0000:03:10.1"), PLANNED, None),
        (LIVE, replace(PLANNED, pci="0000:07:00.0"), None),  # the place of a hot-plugged one
    ],
)
def test_what_is_pending(
    live: HostNic, planned: HostNic | None, expected: PendingKind | dict[str, str | None] | None
) -> None:
    assert of(live, planned) == expected


def test_of_a_teaming_pair_the_place_decides_which_is_which() -> None:
    second = replace(LIVE, pci="0000:02:00.0", type="hostdev")
    planned = [replace(second, alias=None), PLANNED]
    assert counterparts([LIVE, second], planned) == ([PLANNED, planned[0]], [])


def test_what_is_left_comes_with_the_next_boot() -> None:
    other = replace(PLANNED, mac="52:54:00:00:00:02")
    assert counterparts([LIVE], [other, PLANNED]) == ([PLANNED], [other])
