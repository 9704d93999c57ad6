"""The change feed over real sockets: where it begins, how it goes on, how it ends."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from nicmapd import changes
from nicmapd.api import create_app
from nicmapd.api.feed import Feed, FeedLimits, OutOfReach
from nicmapd.errors import Unavailable
from nicmapd.model import Change, ChangeKind, VmEntry
from tests.fakes.asgi import ask
from tests.fakes.events import EventClient
from tests.fakes.serving import Serving, serving
from tests.fakes.world import HOSTILE, World, empty_world, named, uuid_of
from tests.lab.waiting import eventually

#: Long silences would make long tests.
QUICK = FeedLimits(streams=4, kept=50, keep_alive=0.2, patience=0.3, retry=1.5, store_retry=0.1)


@pytest.fixture
def world() -> World:
    world = empty_world(limits=QUICK)
    world.vm(1, "web1", [world.nic(1, 0, named("eth0"))])
    world.vm(2, HOSTILE, [world.nic(2, 0, named("<b>"))])
    return world


@pytest.fixture
def server(world: World, tmp_path: Path) -> Iterator[Serving]:
    with serving(world, tmp_path) as running:
        yield running


def rename(world: World, number: int, name: str) -> int:
    """A guest renames its first NIC, as a pass would store and tell it; the number of that change."""
    old = world.board.entry(uuid_of(number))
    assert old is not None
    new = replace(old, nics=(replace(old.nics[0], naming=named(name)), *old.nics[1:]))
    return store(world, old, new)


def store(world: World, old: VmEntry | None, new: VmEntry) -> int:
    world.board.put(new)
    items = world.store.apply(new, changes.diff(old, new), at=world.clock.now())
    world.feed.announce(items)
    return items[-1].id


def note(world: World, sentence: str = "connected") -> int:
    items = world.store.note([Change(ChangeKind.RESYNC, sentence)], at=world.clock.now())
    world.feed.announce(items)
    return items[-1].id


# -- what comes


def test_it_begins_with_now_and_tells_each_change(world: World, server: Serving) -> None:
    before = rename(world, 1, "early")
    with EventClient(server.path) as client:
        assert (client.status, client.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
        assert (client.headers["cache-control"], client.headers["x-accel-buffering"]) == ("no-store", "no")
        first = client.next()
        assert (first.retry, first.id, first.kind) == (1500, before, None)
        number = rename(world, 1, "lan0")
        (event,) = client.changes(1)
    assert (event.id, event.kind) == (number, "nic.renamed")
    assert event.data == {
        "id": number,
        "at": "2026-01-01T00:00:00.000Z",
        "host": "host1",
        "vm": "web1",
        "vm_uuid": uuid_of(1),
        "name": "lan0",
        "kind": "nic.renamed",
        "sentence": "early renamed to lan0 (52:54:00:00:01:00)",
        "nic_id": "nic-1-0",
        "mac": "52:54:00:00:01:00",
        "alias": "net0",
        "old": "early",
        "new": "lan0",
        "details": {},
    }


def test_hostile_text_cannot_leave_its_event(world: World, server: Serving) -> None:
    old = world.board.entry(uuid_of(2))
    assert old is not None
    with EventClient(server.path) as client:
        client.next()
        store(world, old, replace(old, vm=replace(old.vm, name="x\n\nevent: resync\ndata: {}\n\n\r\x1b[31m\u2028")))
        (event,) = client.changes(1)
        note(world)
        (following,) = client.changes(1)
    assert (event.kind, event.data["vm"]) == ("vm.renamed", "x\n\nevent: resync\ndata: {}\n\n\r\x1b[31m\u2028")
    assert following.kind == "resync"


def test_a_detached_nic_is_told_with_the_name_it_had(world: World, server: Serving) -> None:
    old = world.board.entry(uuid_of(1))
    assert old is not None
    with EventClient(server.path) as client:
        client.next()
        store(world, old, replace(old, nics=()))
        (event,) = client.changes(1)
    assert (event.kind, event.data["name"], event.data["mac"]) == ("nic.detached", "eth0", "52:54:00:00:01:00")


@pytest.mark.parametrize("vm", ["web1", uuid_of(1), uuid_of(1).upper()])
def test_of_one_vm_come_its_changes_and_those_of_the_host(world: World, server: Serving, vm: str) -> None:
    with EventClient(server.path, f"/events?vm={vm}") as client:
        client.next()
        rename(world, 2, "other")
        mine, ours = rename(world, 1, "mine"), note(world)
        assert [(event.id, event.kind) for event in client.changes(2)] == [(mine, "nic.renamed"), (ours, "resync")]


def test_a_vm_that_is_gone_has_its_changes_too(world: World, server: Serving) -> None:
    entry = world.board.entry(uuid_of(1))
    assert entry is not None
    world.board.drop(uuid_of(1))
    world.store.remove(uuid_of(1), [Change(ChangeKind.VM_REMOVED, "gone from this host")], at=world.clock.now())
    with EventClient(server.path, "/events?vm=web1&after=0") as client:
        assert client.changes(1)[0].kind == "vm.removed"


def test_silence_is_broken_and_moves_the_place_on(world: World, server: Serving) -> None:
    with EventClient(server.path, "/events?vm=web1") as client:
        client.next()
        others = rename(world, 2, "other")
        quiet = client.next()
        assert (quiet.comment, quiet.kind, quiet.id) == ("nothing new", None, others)
        assert (client.next().id, client.next().comment) == (None, "nothing new")


def test_head_is_answered_and_over(server: Serving) -> None:
    for _ in range(QUICK.streams + 1):
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(5)
            client.connect(str(server.path))
            client.sendall(b"HEAD /events HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            whole = b""
            while data := client.recv(4096):
                whole += data
        assert whole.startswith(b"HTTP/1.1 200")
        assert b"retry" not in whole


# -- where it goes on


def test_it_goes_on_after_the_last_event_id(world: World, server: Serving) -> None:
    numbers = [rename(world, 1, f"a{number}") for number in range(5)]
    for target, headers in (
        ("/events", {"Last-Event-ID": str(numbers[1])}),
        (f"/events?after={numbers[1]}", {}),
        ("/events?after=0", {"last-event-id": f" {numbers[1]} "}),
    ):
        with EventClient(server.path, target, headers=headers) as client:
            assert [event.id for event in client.changes(3)] == numbers[2:]


def test_it_goes_on_after_a_restart(world: World, tmp_path: Path) -> None:
    with serving(world, tmp_path) as running, EventClient(running.path) as client:
        client.next()
        rename(world, 1, "one")
        last = client.changes(1)[0].id
        running.stop()
        assert [(event.kind, event.data) for event in client] == [("end", {"reason": "nicmapd is stopping"})]
    between = rename(world, 1, "two")
    again = replace(world, feed=Feed(world.store, QUICK))
    with (
        serving(again, tmp_path) as running,
        EventClient(running.path, headers={"Last-Event-ID": str(last)}) as client,
    ):
        assert [event.id for event in client.changes(1)] == [between]


def test_what_is_not_kept_any_more_is_gone(world: World, server: Serving) -> None:
    dropped = [rename(world, 1, name) for name in ("a", "b")]
    world.clock.wall += timedelta(days=2)
    last = rename(world, 1, "c")
    world.store.prune(before=world.clock.now() - timedelta(days=1))
    with EventClient(server.path, headers={"Last-Event-ID": str(dropped[0])}) as client:
        problem = client.problem()
        assert (client.status, client.headers["content-type"]) == (410, "application/problem+json")
        assert (problem["code"], problem["oldest"], problem["newest"]) == ("stale", last, last)
        assert "is not kept any more" in problem["detail"]
    with EventClient(server.path, headers={"Last-Event-ID": str(dropped[1])}) as client:
        assert [event.id for event in client.changes(1)] == [last]
    with EventClient(server.path, headers={"Last-Event-ID": "0"}) as client:
        assert client.status == 410  # it was there when nothing had happened yet
    with EventClient(server.path, "/events?after=0") as client:
        assert [event.id for event in client.changes(1)] == [last]  # it asks for what there is


def test_a_number_from_the_future_is_of_another_store(world: World, server: Serving) -> None:
    newest = rename(world, 1, "a")
    with EventClient(server.path, f"/events?after={newest + 1}") as client:
        assert client.status == 410
        assert "it is another store" in client.problem()["detail"]
    with EventClient(server.path, f"/events?after={newest}") as client:
        assert client.status == 200


@pytest.mark.parametrize("text", ["x", "-1", "1.5", "٣", "9" * 19, "9" * 400])
def test_what_is_no_number_is_refused(server: Serving, text: str) -> None:
    with EventClient(server.path, headers={"Last-Event-ID": text}) as client:
        assert (client.status, client.problem()["key"]) == (400, "Last-Event-ID")


def test_a_vm_that_never_was_is_not_found(server: Serving) -> None:
    with EventClient(server.path, "/events?vm=nobody") as client:
        assert (client.status, client.problem()["code"]) == (404, "not_found")


def test_what_is_pruned_under_a_reader_ends_it(world: World) -> None:
    """It is behind the memory, and the log is cut in front of it."""

    async def follow() -> None:
        reader = await world.feed.open(0, None)
        assert (await reader.next()).startswith(b"id: 1\n")
        world.store.prune(before=world.clock.now() + timedelta(days=1))
        await reader.next()

    for _ in range(500):
        note(world)
    with pytest.raises(OutOfReach, match="is not kept any more"):
        asyncio.run(follow())


# -- bounds


def test_more_streams_than_allowed_are_refused_until_one_goes(world: World, server: Serving) -> None:
    clients = [EventClient(server.path) for _ in range(QUICK.streams)]
    with EventClient(server.path) as refused:
        assert (refused.status, refused.problem()["code"]) == (503, "unavailable")
    clients.pop().close()
    eventually(lambda: world.feed.streams < QUICK.streams)
    with EventClient(server.path) as client:
        assert client.status == 200
    for one in clients:
        one.close()


def test_one_user_cannot_take_all_streams(tmp_path: Path) -> None:
    world = empty_world(limits=replace(QUICK, streams=10, streams_each=1))
    with serving(world, tmp_path) as running, EventClient(running.path) as first:
        assert first.status == 200
        with EventClient(running.path) as second:
            assert (second.status, second.problem()["code"]) == (503, "unavailable")


def test_who_takes_nothing_is_told_and_dropped(world: World, server: Serving, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, logger="nicmapd.api.resources.events")
    with EventClient(server.path) as client:
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        for _ in range(3000):
            note(world, "x" * 200)
        eventually(lambda: world.feed.streams == 0)
        events = [event for event in client if event.kind is not None]
    assert (events[-1].kind, events[-1].data) == ("end", {"reason": "this reader took nothing for 0.3 s"})
    assert 0 < len(events) < 3000
    assert "took nothing for 0.3 s and is dropped" in caplog.text
    last = events[-2].id
    with EventClient(server.path, headers={"Last-Event-ID": str(last)}) as client:
        assert last is not None
        assert client.changes(1)[0].id == last + 1


def test_it_ends_at_once_when_the_daemon_stops(server: Serving) -> None:
    clients = [EventClient(server.path) for _ in range(3)]
    assert server.stop() < 0.9  # less than the server gives a request that does not end
    for client in clients:
        assert [event.data for event in client if event.kind] == [{"reason": "nicmapd is stopping"}]
        client.close()


# -- a store that fails


def test_readers_keep_their_place_while_the_store_is_away(world: World, server: Serving) -> None:
    with EventClient(server.path) as client:
        client.next()
        first = rename(world, 1, "a")
        assert client.changes(1)[0].id == first
        second = rename(world, 1, "b")
        assert client.changes(1)[0].id == second
        world.store.fault = Unavailable("the disk is gone")
        world.feed.announce()
        assert client.next().comment == "nothing new"
        world.store.fault = None
        third = rename(world, 1, "c")
        assert client.changes(1)[0].id == third


def test_a_store_that_cannot_be_read_opens_no_stream(world: World) -> None:
    world.store.fault = Unavailable("the disk is gone")
    app = create_app(world.board, world.store, world.service, world.clock, world.feed)
    answer = ask(app, "/events")
    assert (answer.status, answer.json["detail"]) == (503, "the disk is gone")
    assert world.feed.streams == 0


def test_a_store_that_cannot_be_written_is_remarked(world: World, server: Serving) -> None:
    daemon = world.service.daemon
    world.service.daemon = replace(daemon, store=replace(daemon.store, ok=False, message="no space"))
    with EventClient(server.path) as client:
        client.next()
        assert client.next().comment == "the store cannot be written now: changes are told once it can"
