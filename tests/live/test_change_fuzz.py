"""schemathesis on the changing routes of the real daemon, with real guests: never a defect, and all well afterwards.

A few cases usually; `make fuzz` sends two thousand.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from nicmapd.api import create_app
from tests.fakes.asgi import LOCAL, with_peer
from tests.fakes.fuzzing import USUAL, Aim, cases, changing_routes
from tests.fakes.world import empty_world
from tests.lab import Guest, LabHost, Nic, eventually
from tests.lab.nicmapd import Nicmapd
from tests.live.conftest import FreshGuest

#: The daemon that runs now: schemathesis knows its application before the test begins.
_daemons: list[Nicmapd] = []
#: NICs that a guest may have before some are taken away again: a machine has so many slots.
_CROWDED = 6


async def _daemon(scope: Any, receive: Any, send: Any) -> None:
    """The daemon as an ASGI application; its document is that of this tree."""
    if scope["path"] == "/openapi.json":
        world = empty_world()
        app = create_app(world.board, world.store, world.service, world.clock)
        await with_peer(app, LOCAL)(scope, receive, send)
        return
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    target = scope["raw_path"].decode("latin-1")
    if scope["query_string"]:
        target += "?" + scope["query_string"].decode("latin-1")
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    answer = await asyncio.to_thread(_daemons[-1].pass_on, scope["method"], target, headers, body)
    head = [(name.encode(), value.encode()) for name, value in answer.headers.items()]
    await send({"type": "http.response.start", "status": answer.status, "headers": head})
    await send({"type": "http.response.body", "body": answer.body})


schema = changing_routes(_daemon)


@pytest.fixture
def guests(lab: LabHost, fresh_guest: FreshGuest) -> Iterator[list[Guest]]:
    """One that runs, one that is off, and a daemon that knows them."""
    two = [Nic(type="network"), Nic(type="network")]
    made = [fresh_guest("fuzzed", nics=two, spare_ports=10), fresh_guest("cold", nics=two, boot=False)]
    with Nicmapd(lab.uri, settings={"log.level": "info"}) as daemon:
        _daemons.append(daemon)
        eventually(lambda: all(daemon.nics(guest.name) for guest in made), what="the guests in the map")
        yield made
        _daemons.remove(daemon)


def _nics(vm: str) -> list[str]:
    """The MACs and names of a VM's NICs, in turn; always some, and never too many."""
    daemon = _daemons[-1]
    found = daemon.nics(vm)
    path = f"/vms/{vm}/interfaces"
    if len(found) > _CROWDED:
        for nic in found[2:]:
            daemon.ask("DELETE", f"{path}/{nic['mac']}")
    if not found:
        daemon.ask("POST", path, {"type": "network", "network": "default"})
    return [one for nic in daemon.nics(vm) for one in (nic["mac"], nic["name"]) if one is not None]


_aim = Aim(["fuzzed", "cold"], _nics)


@schema.parametrize()
@settings(max_examples=cases(25), derandomize=USUAL, deadline=None, suppress_health_check=list(HealthCheck))
def test_whatever_is_sent_the_answer_is_declared(guests: list[Guest], case: Any) -> None:
    del guests  # they are in place
    _aim.send(case)
    words = _daemons[-1].words()
    assert "defect of nicmapd" not in words
    assert "Traceback" not in words


def test_afterwards_the_map_is_true(guests: list[Guest]) -> None:
    guest = guests[0]
    daemon = _daemons[-1]
    eventually(lambda: set(daemon.names(guest.name)) == set(guest.live_macs()), within=10, what="the map is true")
    assert {201, 204, 400, 404, 409} <= _aim.statuses
