"""schemathesis on the changing routes: whatever it finds to send, the answer is a declared one, never a defect."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, settings

from nicmapd.model import DomainState
from tests.fakes.asgi import LOCAL, with_peer
from tests.fakes.changeable import ChangeableHost
from tests.fakes.fuzzing import USUAL, Aim, cases, changing_routes
from tests.fakes.libvirt import Release

_host = ChangeableHost()
_running = _host.add("web1", nics=3)
_host.add("cold", nics=3, state=DomainState.OFF)
_host.add("brief", nics=2, persistent=False)
_stubborn = _host.add("stubborn", nics=3)
_host.libvirt.release[_stubborn.uuid] = Release.IGNORES
_refusing = _host.add("refusing", nics=2)
_host.libvirt.release[_refusing.uuid] = Release.REFUSES


def _nics(vm: str) -> list[str]:
    entry = _host.board.find(vm)
    return [one for nic in entry.all_nics for one in (nic.nic.mac, nic.naming.name) if one is not None]


_aim = Aim(["web1", "cold", "brief", "stubborn", "refusing"], _nics)
schema = changing_routes(with_peer(_host.app, LOCAL))


@schema.parametrize()
@settings(max_examples=cases(40), derandomize=USUAL, deadline=None, suppress_health_check=list(HealthCheck))
def test_whatever_is_sent_the_answer_is_declared(case: Any) -> None:
    _aim.send(case)


def test_what_was_sent_was_not_all_refused() -> None:
    """Runs after the others: nearly each declared answer was met."""
    assert {200, 201, 202, 204, 400, 404, 409} <= _aim.statuses
