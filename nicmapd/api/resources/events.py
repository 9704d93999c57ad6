"""`GET /events`: the change log as server-sent events (WHATWG HTML, section 9.2)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from nicmapd.api import problems, query
from nicmapd.api.context import Context
from nicmapd.api.door.limits import EventStreams
from nicmapd.api.feed import FeedLimits, OutOfReach, Reader
from nicmapd.api.forms import rendering
from nicmapd.api.resources import history
from nicmapd.errors import Invalid, Unavailable
from nicmapd.text import clean

_log = logging.getLogger(__name__)

#: Numbers of the log have 63 bits.
_LARGEST = 2**63 - 1


def _number(value: str) -> int:
    # isascii: int() takes the digits of every script.
    if not (value.isascii() and value.isdigit() and len(value) < 20 and int(value) <= _LARGEST):
        raise ValueError("the number of an event")
    return int(value)


VM_KEY = query.Key(
    "vm", "only changes of this VM, by name or UUID, and what concerns the whole host", query.text, example="web1"
)
AFTER = query.Key(
    "after",
    "only events after this number, for clients that cannot set `Last-Event-ID`, which wins; 0 is all that is kept",
    _number,
    {"type": "integer", "minimum": 0, "maximum": _LARGEST},
    42,
)
EVENT_KEYS = (VM_KEY, AFTER)
LAST_EVENT_ID = {
    "name": "Last-Event-ID",
    "in": "header",
    "required": False,
    "description": "Number of the last event that the client had: the stream goes on after it",
    "schema": {"type": "integer", "minimum": 0, "maximum": _LARGEST},
}


class Events:
    """The handler."""

    def __init__(self, context: Context) -> None:
        self._context = context
        limits = context.feed.limits
        self._streams = EventStreams(total=limits.streams, each=limits.streams_each)

    async def stream(self, request: Request) -> Response:
        values = query.read(request, EVENT_KEYS)
        last = _last_event_id(request)
        after = values["after"] if last is None else last
        uuid = None if values["vm"] is None else await history.known_uuid(self._context, values["vm"])
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._streams.open(getattr(request.state, "peer", None)))
            try:
                reader = await self._context.feed.open(after, uuid, whole=last is None and after == 0)
            except OutOfReach as error:
                instance = request.scope["path"]
                return problems.response("stale", error.message, status=410, instance=instance, details=error.details)
            stack.callback(reader.close)
            return EventStream(reader, self._context.feed.limits, note=self._note, held=stack.pop_all())

    def _note(self) -> str:
        """What to say in a silence."""
        if self._context.service.status().store.ok:
            return "nothing new"
        return "the store cannot be written now: changes are told once it can"


def _last_event_id(request: Request) -> int | None:
    given = request.headers.get("last-event-id")
    if not given:
        return None
    try:
        return _number(given.strip())
    except ValueError as error:
        raise Invalid(f'Last-Event-ID: "{clean(given)}": must be {error}', key="Last-Event-ID") from None


class EventStream(StreamingResponse):
    """The events of `reader`, until the client or the daemon ends it. `note` gives a remark for silent times; `held`
    is given back at the end."""

    def __init__(
        self, reader: Reader, limits: FeedLimits, *, note: Callable[[], str], held: contextlib.ExitStack
    ) -> None:
        # A proxy that collects answers (nginx) would hold events back.
        super().__init__((), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})
        self._reader = reader
        self._limits = limits
        self._note = note
        self._held = held
        self._told = -1

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        watching = asyncio.create_task(_hang_up(receive, self._reader))
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            if "nicmapd.head" not in scope:
                await self._talk(_Line(send, scope, self._limits.patience))
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            self._held.close()
            watching.cancel()

    async def _talk(self, line: _Line) -> None:
        reader = self._reader
        try:
            await line.say(b"retry: %d\n" % (self._limits.retry * 1000) + self._place())
            while not reader.ended:
                reader.stirred.clear()
                events = await self._next(line)
                if events:
                    self._told = reader.position
                    await line.say(events)
                elif not reader.ended:
                    await self._wait(line)
        except TimeoutError:
            seconds = self._limits.patience
            _log.warning("a reader of the events (%s) took nothing for %g s and is dropped", line.peer, seconds)
            reader.end(f"this reader took nothing for {seconds:g} s")
            line.give_up()
        except OutOfReach as error:
            reader.end(error.message)
        with contextlib.suppress(TimeoutError):
            await line.say(b"event: end\ndata: %s\n\n" % rendering.encode({"reason": reader.ended}))

    async def _next(self, line: _Line) -> bytes:
        try:
            return await self._reader.next()
        except Unavailable:
            # The daemon's log says what is wrong; the reader keeps its place until the store is back.
            await self._wait(line, seconds=min(self._limits.store_retry, self._limits.keep_alive))
            return b""

    async def _wait(self, line: _Line, *, seconds: float | None = None) -> None:
        """For something to do; says something if that takes long."""
        try:
            await asyncio.wait_for(self._reader.stirred.wait(), seconds or self._limits.keep_alive)
        except TimeoutError:
            await line.say(f": {self._note()}\n".encode() + self._place())

    def _place(self) -> bytes:
        """Moves the client's Last-Event-ID on where nothing of what was read is for it: it may not fall behind."""
        if self._told == self._reader.position:
            return b"\n"
        self._told = self._reader.position
        return b"id: %d\n\n" % self._told


class _Line:
    """`send`, for a client that may not read. `say` raises `TimeoutError` if it takes nothing for `patience` s."""

    def __init__(self, send: Send, scope: Scope, patience: float) -> None:
        self._send = send
        self._patience = patience
        self._state: dict[str, Any] = scope.get("state", {})

    @property
    def peer(self) -> str:
        peer = self._state.get("peer")
        return "unknown" if peer is None else f"pid {peer.pid}" if peer.pid is not None else str(peer.transport)

    async def say(self, data: bytes) -> None:
        message: Message = {"type": "http.response.body", "body": data, "more_body": True}
        await asyncio.wait_for(self._send(message), self._patience)

    def give_up(self) -> None:
        """What is said from now on waits in memory for the client, or for the end of the connection."""
        self._state.get("last_words", lambda: None)()


async def _hang_up(receive: Receive, reader: Reader) -> None:
    """Ends the stream when the client has gone."""
    with contextlib.suppress(Exception):  # such as a body without end: nobody reads it, the stream is over
        while (await receive())["type"] != "http.disconnect":
            pass
    reader.end("the client has gone")
