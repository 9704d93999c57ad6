"""The stream of changes from the client's side: it comes back to where it was, and says what it cannot have."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from itertools import islice
from pathlib import Path

import pytest

from nicmapd import follow
from nicmapd.api.feed import Feed, FeedLimits
from nicmapd.client import Client
from nicmapd.errors import NotFound, Stale, Unavailable, Unreachable
from nicmapd.follow import Connected, Event, Follower, Lost, Missed
from nicmapd.model import Change, ChangeKind
from tests.fakes.serving import serving
from tests.fakes.world import World, make_world, uuid_of

QUICK = FeedLimits(keep_alive=0.2, retry=0.5)


@pytest.fixture
def world() -> World:
    world = make_world()
    world.feed = Feed(world.store, QUICK)
    return world


def note(world: World, sentence: str) -> int:
    items = world.store.note([Change(ChangeKind.RESYNC, sentence)], at=world.clock.now())
    world.feed.announce(items)
    return items[-1].id


def follower(path: Path, **options: object) -> Follower:
    return Follower(Client(socket_path=str(path / "api.sock")), **options)  # type: ignore[arg-type]


@contextmanager
def answering(path: Path, *answers: bytes) -> Iterator[list[bytes]]:
    """A server that gives each connection one of `answers` and hangs up; what it was asked."""
    asked: list[bytes] = []
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path / "api.sock"))
    listener.listen()

    def serve() -> None:
        for answer in answers:
            connection, _ = listener.accept()
            with connection:
                asked.append(connection.recv(65536))
                connection.sendall(answer)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    with listener:
        yield asked
        thread.join(5)


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"


# -- what a block is


@pytest.mark.parametrize(
    ("wire", "found"),
    [
        (b"id: 1\nevent: x\ndata: {}\n\n", [("1", "x", "{}", "")]),
        (b"id:1\r\ndata:a\r\ndata: b\r\n\r\n", [("1", "", "a\nb", "")]),
        (b": a comment\n\nretry: 5\n\n", [("", "", "", ""), ("", "", "", "5")]),
        (b"unknown: 1\nid\n\n", [("", "", "", "")]),
        (b"id: 1\ndata: cut", []),
        (b"id: 1\ndata: whole\n", []),
    ],
)
def test_blocks(wire: bytes, found: list[tuple[str, ...]]) -> None:
    lines = iter(wire.splitlines(keepends=True))
    assert [(one.id, one.event, one.data, one.retry) for one in follow.blocks(lines)] == found


# -- with the daemon


def test_it_begins_with_now(world: World, tmp_path: Path) -> None:
    note(world, "early")
    with serving(world, tmp_path):
        items = iter(follower(tmp_path))
        assert next(items) == Connected()
        number = note(world, "late")
        event = next(items)
    assert isinstance(event, Event)
    assert (event.id, event.kind, event.data["sentence"]) == (number, "resync", "late")


def test_it_goes_on_where_it_was_after_a_restart(world: World, tmp_path: Path) -> None:
    pauses: list[float] = []

    def rest(seconds: float) -> None:
        """The daemon is away for three attempts, and things change meanwhile."""
        pauses.append(seconds)
        note(world, f"while away {len(pauses)}")
        if len(pauses) == 3:
            again.enter()

    again = Restart(world, tmp_path)
    with serving(world, tmp_path) as running:
        items = iter(follower(tmp_path, after=0, rest=rest))
        assert next(items) == Connected()
        note(world, "before")
        assert sentence(next(items)) == "before"
        running.stop()
    with again:
        assert [next(items) for _ in range(3)] == [
            Lost("nicmapd is stopping", 0.25),
            Lost(f"nicmapd does not answer at {tmp_path}/api.sock: No such file or directory", 0.5),
            Lost(f"nicmapd does not answer at {tmp_path}/api.sock: No such file or directory", 0.5),
        ]
        assert next(items) == Connected()
        assert [sentence(next(items)) for _ in range(3)] == ["while away 1", "while away 2", "while away 3"]
    assert pauses == [0.25, 0.5, 0.5]


class Restart:
    """The daemon anew, from `enter` to the end of the block."""

    def __init__(self, world: World, path: Path) -> None:
        self.world = replace(world, feed=Feed(world.store, QUICK))
        self._path = path

    def enter(self) -> None:
        self._serving = serving(self.world, self._path)
        self._serving.__enter__()

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        self._serving.__exit__(None, None, None)


def sentence(item: object) -> str:
    assert isinstance(item, Event)
    return str(item.data["sentence"])


def test_what_is_lost_for_good_is_said_once_it_is_connected_again(world: World, tmp_path: Path) -> None:
    def rest(_seconds: float) -> None:
        """While the daemon is away somebody drops the past."""
        note(world, "dropped")
        world.store.prune(before=world.clock.now() + timedelta(days=1))
        again.enter()

    again = Restart(world, tmp_path)
    with serving(world, tmp_path) as running:
        items = iter(follower(tmp_path, rest=rest))
        assert next(items) == Connected()
        note(world, "first")
        assert sentence(next(items)) == "first"
        running.stop()
    with again:
        assert [type(next(items)) for _ in range(2)] == [Lost, Connected]
        missed = next(items)
        note(again.world, "new")
        assert sentence(next(items)) == "new"
    assert isinstance(missed, Missed)
    assert "is not kept any more" in missed.reason


def test_a_place_that_is_given_must_be_there(world: World, tmp_path: Path) -> None:
    with serving(world, tmp_path), pytest.raises(Stale, match="it is another store"):
        next(iter(follower(tmp_path, after=99)))


def test_from_the_beginning_is_from_what_is_kept(world: World, tmp_path: Path) -> None:
    note(world, "dropped")
    world.clock.wall += timedelta(days=2)
    note(world, "kept")
    world.store.prune(before=world.clock.now() - timedelta(days=1))
    with serving(world, tmp_path):
        items = iter(follower(tmp_path, after=0))
        assert next(items) == Connected()
        assert sentence(next(items)) == "kept"


def test_of_one_vm(world: World, tmp_path: Path) -> None:
    with serving(world, tmp_path):
        assert next(iter(follower(tmp_path, uuid=uuid_of(1)))) == Connected()
        with pytest.raises(NotFound):
            next(iter(follower(tmp_path, uuid="nobody")))


def test_silence_moves_the_place_on(world: World, tmp_path: Path) -> None:
    """Changes of others must not let the place of a quiet VM's follower grow too old."""
    entry = world.board.entry(uuid_of(2))
    assert entry is not None
    with serving(world, tmp_path):
        follow_web1 = follower(tmp_path, uuid=uuid_of(1))
        items = iter(follow_web1)
        next(items)
        other = world.store.apply(entry, [Change(ChangeKind.VM_STATE, "x")], at=world.clock.now())[-1].id
        world.feed.announce()
        threading.Timer(0.5, note, (world, "wakes it")).start()
        event = next(items)
        assert isinstance(event, Event)
        assert follow_web1.last == other


# -- in trouble


def test_the_first_connection_must_succeed(tmp_path: Path) -> None:
    with pytest.raises(Unreachable):
        next(iter(follower(tmp_path)))


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}", "is not nicmapd"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", "is not nicmapd"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nhi", "is not nicmapd"),
        (b"SSH-2.0\r\n", "does not answer"),
        (b"", "does not answer"),
        (HEAD, "ended the stream"),
    ],
)
def test_what_is_no_stream_is_said_at_once(tmp_path: Path, answer: bytes, words: str) -> None:
    with answering(tmp_path, answer), pytest.raises(Unreachable, match=words):
        next(iter(follower(tmp_path)))


@pytest.mark.parametrize("block", [b"id: x\n\n", b"id: 1\ndata: []\n\n", b"id: 1\ndata: {\n\n", b"data: \xff\n\n"])
def test_what_makes_no_sense_breaks_the_stream(tmp_path: Path, block: bytes) -> None:
    with answering(tmp_path, HEAD + b"retry: 1\n\n" + block):
        connected, lost = islice(follower(tmp_path), 2)
    assert connected == Connected()
    assert isinstance(lost, Lost)
    assert "is not nicmapd" in lost.reason


def test_an_event_that_was_cut_off_comes_again(tmp_path: Path) -> None:
    event = b'id: 7\nevent: resync\ndata: {"id": 7}\n\n'
    with answering(tmp_path, HEAD + b"id: 6\n\n" + event[:20], HEAD + event) as asked:
        items = list(islice(follower(tmp_path, rest=lambda _seconds: None), 4))
    assert [type(item) for item in items] == [Connected, Lost, Connected, Event]
    assert b"Last-Event-ID: 6\r\n" in asked[1]


def test_a_daemon_that_is_not_well_is_tried_again(world: World, tmp_path: Path) -> None:
    """Once it was there: a refusal (too many streams, a store that is away) is no reason to give up."""

    def rest(seconds: float) -> None:
        if seconds > 0.25:
            world.store.fault = None

    def break_off() -> None:
        for reader in world.feed._readers:
            reader.end("enough")

    with serving(world, tmp_path) as running:
        items = iter(follower(tmp_path, rest=rest))
        assert next(items) == Connected()
        world.store.fault = Unavailable("the disk is gone")
        running.loop.call_soon_threadsafe(break_off)
        assert [next(items) for _ in range(3)] == [Lost("enough", 0.25), Lost("the disk is gone", 0.5), Connected()]
