"""The change log as many readers follow it at once: the store's log is the only truth, read once for all of them.

A wake-up says "read on", never what there is: items are numbered and stored under one lock and told afterwards, so
they may be told in any order, but the log is always read in its own. What was read last is kept in memory, bounded;
a reader is only a place in the log, so that a slow one costs nothing but its place.
"""

from __future__ import annotations

import asyncio
import bisect
import contextlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from nicmapd.api.door.limits import EventStreams
from nicmapd.api.forms import rendering
from nicmapd.api.past import Past
from nicmapd.errors import Stale, Unavailable
from nicmapd.model import FeedItem
from nicmapd.ports import NicStore

_log = logging.getLogger(__name__)

#: Items of one question to the store.
_BATCH = 200
#: Bytes that a reader takes at once; one item may be larger.
_CHUNK = 128 * 1024


@dataclass(frozen=True, slots=True)
class FeedLimits:
    """Bounds of the feed. Counts, bytes, seconds."""

    #: Open at once, over all and by one user.
    streams: int = EventStreams.TOTAL
    streams_each: int = EventStreams.EACH
    #: Items kept in memory: some minutes of a busy host, so that a reader that stumbles costs no question.
    kept: int = 2000
    kept_bytes: int = 4 * 1024 * 1024
    #: Shorter than what proxies and NAT allow a silent connection (30 s and more).
    keep_alive: float = 15.0
    #: A reader that takes nothing for so long is dropped: it may come back to where it was.
    patience: float = 30.0
    #: What a client is told to wait before it connects again.
    retry: float = 2.0
    #: Between attempts while the store cannot be read.
    store_retry: float = 2.0


class OutOfReach(Stale):
    """The log does not hold what follows the place that a reader wants to go on from."""


@dataclass(frozen=True, slots=True)
class Told:
    """A feed item, and what goes over the wire, made once for all readers."""

    id: int
    uuid: str
    wire: bytes


def tell(item: FeedItem) -> Told:
    """`item` as a server-sent event. The JSON is ASCII in one line, so that no text in it can end the event."""
    data = rendering.encode(rendering.feed_item(item))
    wire = b"id: %d\nevent: %s\ndata: %s\n\n" % (item.id, item.change.kind.value.encode("ascii"), data)
    return Told(item.id, item.vm.uuid, wire)


class _Tail:
    """The newest items: all that follow number `base`."""

    def __init__(self, limits: FeedLimits) -> None:
        self._limits = limits
        self.base = 0
        self._ids: list[int] = []
        self._items: list[Told] = []
        self.size = 0

    def __len__(self) -> int:
        return len(self._items)

    @property
    def newest(self) -> int:
        return self._ids[-1] if self._ids else self.base

    def restart(self, base: int) -> None:
        """Holds nothing, and what follows `base` is to come."""
        self.base, self.size = base, 0
        self._ids, self._items = [], []

    def add(self, items: Sequence[Told]) -> None:
        self._ids += [item.id for item in items]
        self._items += items
        self.size += sum(len(item.wire) for item in items)
        while len(self._items) > self._limits.kept or self.size > self._limits.kept_bytes:
            # A quarter at a time: dropping single items from the front of a list would copy it each time.
            count = max(1, len(self._items) // 4)
            self.size -= sum(len(item.wire) for item in self._items[:count])
            self.base = self._ids[count - 1]
            del self._ids[:count], self._items[:count]

    def after(self, position: int) -> list[Told]:
        """What follows `position` (not below `base`), at most a chunk of it."""
        start = bisect.bisect_right(self._ids, position)
        return _chunk(self._items[start : start + _BATCH])


def _chunk(items: Sequence[Told]) -> list[Told]:
    size, found = 0, []
    for item in items:
        found.append(item)
        size += len(item.wire)
        if size >= _CHUNK:
            break
    return found


class Reader:
    """One reader's place in the log. `stirred` is set when there may be something to do: more to read, or the end.

    `ended` says why the stream ends, or is empty.
    """

    def __init__(self, feed: Feed, position: int, uuid: str | None) -> None:
        self._feed = feed
        self._uuid = uuid
        self.position = position
        self.stirred = asyncio.Event()
        self.ended = ""

    async def next(self) -> bytes:
        """The next events as they go over the wire; empty when there are none now.

        Raises `OutOfReach` if the log was pruned past this reader, `Unavailable` if the store cannot be read.
        """
        while items := await self._feed.after(self.position):
            self.position = items[-1].id
            # What concerns the host concerns every VM.
            wanted = [item.wire for item in items if self._uuid is None or item.uuid in (self._uuid, "")]
            if wanted:
                return b"".join(wanted)
        return b""

    def end(self, reason: str) -> None:
        self.ended = self.ended or reason
        self.stirred.set()

    def close(self) -> None:
        self._feed.leave(self)


class Feed:
    """The log of `store` and its readers. Used in one event loop, but for `announce`, which any thread may call."""

    def __init__(self, store: NicStore, limits: FeedLimits | None = None) -> None:
        self.limits = limits or FeedLimits()
        self._store = store
        self._past = Past(threads=1)  # one question at a time: readers that are far behind take turns
        self._tail = _Tail(self.limits)
        self._readers: set[Reader] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._following: asyncio.Task[None] | None = None
        self._behind = False
        self._faulty = False
        self._ended = ""

    @property
    def streams(self) -> int:
        """How many there are."""
        return len(self._readers)

    @property
    def kept(self) -> tuple[int, int]:
        """(items, bytes) that are held in memory."""
        return len(self._tail), self._tail.size

    def announce(self, _items: object = None) -> None:
        """Something was added to the log."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # after the end of the loop there is nobody to tell
                self._loop.call_soon_threadsafe(self._wake)

    async def open(self, after: int | None, uuid: str | None, *, whole: bool = False) -> Reader:
        """A reader of what follows number `after` (None: of what comes from now on), of one VM or of all. `whole`: of
        all that is kept, and nothing before that is missed.

        Raises `OutOfReach`, `Unavailable` (the store cannot be read, or the feed has ended).
        """
        if self._ended:
            raise Unavailable(self._ended)
        oldest, newest = await self._past.ask(self._store.feed_bounds)
        if whole:
            after = max(0, oldest - 1)
        elif after is not None:
            _check(after, oldest, newest)
        if not self._readers:
            self._tail.restart(newest)
        self._loop = asyncio.get_running_loop()
        reader = Reader(self, newest if after is None else after, uuid)
        reader.ended = self._ended
        self._readers.add(reader)
        self._wake()  # what was announced since the question found no reader
        return reader

    def leave(self, reader: Reader) -> None:
        self._readers.discard(reader)
        if not self._readers:
            self._tail.restart(self._tail.newest)

    def end(self, reason: str) -> None:
        """Ends all streams, now and to come."""
        self._ended = reason
        for reader in self._readers:
            reader.end(reason)

    async def after(self, position: int) -> Sequence[Told]:
        """What follows `position`, at most a chunk of it; from memory if it is there. Raises as `Reader.next`."""
        if position >= self._tail.base:
            return self._tail.after(position)
        return await self._past.ask(lambda: self._read(position))

    def _read(self, position: int) -> list[Told]:
        """A chunk of the store's log. Blocks."""
        items = self._store.feed(after=position, limit=_BATCH)
        # Asked after the items: what was pruned in between is found, too.
        oldest, newest = self._store.feed_bounds()
        _check(position, oldest, max(newest, position))
        return _chunk([tell(item) for item in items])

    def _wake(self) -> None:
        self._behind = True
        if self._following is None and self._readers and not self._ended:
            self._following = asyncio.get_running_loop().create_task(self._follow())

    async def _follow(self) -> None:
        """Reads on where the tail ends until nothing is left, and stirs the readers."""
        try:
            while self._behind and self._readers:
                self._behind = False
                position = self._tail.newest
                try:
                    found = await self._past.ask(lambda: self._read(position))  # noqa: B023  awaited at once
                except OutOfReach:
                    _, newest = await self._past.ask(self._store.feed_bounds)
                    self._tail.restart(newest)  # readers find out by themselves what they missed
                    found = []
                else:
                    if found and position == self._tail.newest:
                        self._tail.add(found)
                        self._behind = True
                self._faulty = False
                for reader in self._readers:
                    reader.stirred.set()
        except Unavailable as error:
            if not self._faulty:
                _log.warning("the log of changes cannot be read, its readers wait: %s", error.message)
            self._faulty = True
            asyncio.get_running_loop().call_later(self.limits.store_retry, self._wake)
        finally:
            self._following = None


def _check(after: int, oldest: int, newest: int) -> None:
    """Raises `OutOfReach` unless all that follows `after` is in a log with these bounds."""
    if after > newest:
        raise OutOfReach(
            f"the log of changes has not come to number {after} yet (the newest is {newest}): it is another store than "
            "the one that gave that number. Read the map, then follow the events without a number",
            oldest=oldest,
            newest=newest,
        )
    if after < oldest - 1:
        raise OutOfReach(
            f"what came after number {after} is not kept any more (the oldest is {oldest}). Read the map, then follow "
            "the events without a number",
            oldest=oldest,
            newest=newest,
        )
