"""uvicorn in our own loop, on sockets that we bound, without its signal handlers, with limits of our own.

A connection has a fixed time to send a request head; too many connections, too large heads and what is not HTTP are
answered with problem documents as everything else.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from nicmapd.api import problems
from nicmapd.api.door import edge, peer
from nicmapd.api.door.gate import Gate
from nicmapd.api.door.limits import Slots, owner
from nicmapd.api.door.sockets import close_sockets, open_sockets

__all__ = ["Limits", "Server", "open_sockets"]

#: uvicorn warns of each request that it cannot read: a client must not fill the log. Defects stay visible.
_wire_log = logging.getLogger(f"{__name__}.wire")
_wire_log.setLevel(logging.ERROR)


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one server. Seconds, bytes, counts."""

    #: Request line and headers together, as far as they come in piece by piece; edge.py looks at the whole.
    head: int = edge.MAX_HEAD
    #: A client that has connected must have sent its request head by then; the TLS handshake has as long again.
    head_seconds: float = 10.0
    #: An idle connection is kept so long: nicmapctl and pages ask again within it.
    idle_seconds: int = 30
    #: Each connection costs a descriptor and some memory; nobody needs so many. On Unix sockets, and as many over TCP:
    #: what comes over the network must not keep out who sits on the host.
    connections: int = 512
    #: Of them for one user of this host, or for one address.
    each: int = 256
    #: What still runs at the stop is cut off after that.
    stop_seconds: int = 1


class Server:
    """Serves `app` on `sockets`, which it closes at the end; with `tls` that is spoken on those of TCP."""

    def __init__(
        self,
        app: ASGIApp,
        sockets: Sequence[socket.socket],
        *,
        limits: Limits | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._limits = limits or Limits()
        self._sockets = list(sockets)
        # What it tells at its start and stop, the daemon tells in its own words.
        logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
        protocol = _protocol(self._limits)
        self._server = _QuietServer(
            uvicorn.Config(
                app,
                loop="none",
                http=protocol,
                ws="none",
                lifespan="off",
                interface="asgi3",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                h11_max_incomplete_event_size=self._limits.head,
                timeout_keep_alive=self._limits.idle_seconds,
            ),
            protocol,
            self._limits,
            tls,
        )

    @property
    def started(self) -> bool:
        """Whether it takes connections."""
        return self._server.started

    async def run(self) -> None:
        """Serves until `stop`."""
        try:
            await self._server.serve(sockets=self._sockets)
        finally:
            close_sockets(self._sockets)

    def stop(self) -> None:
        """Lets `run` return within about `stop_seconds`. May be called from the loop only."""
        self._server.should_exit = True

    def hang_up(self, *, unless: Callable[[peer.Peer], bool]) -> None:
        """Closes the connections of all other peers, also with an answer or a stream under way. From the loop only."""
        for connection in list(self._server.server_state.connections):
            if isinstance(connection, _Protocol) and not unless(connection.app_state["peer"]):
                connection.transport.close()


class _QuietServer(uvicorn.Server):
    """uvicorn without its signal handlers, for the daemon has its own, and with TLS on TCP only."""

    def __init__(
        self, config: uvicorn.Config, protocol: type[_Protocol], limits: Limits, tls: ssl.SSLContext | None
    ) -> None:
        super().__init__(config)
        self._protocol = protocol
        self._limits = limits
        self._tls = tls

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        secured = [one for one in sockets or [] if self._tls is not None and one.family != socket.AF_UNIX]
        await super().startup(sockets=[one for one in sockets or [] if one not in secured])
        for one in secured:
            self.servers.append(await asyncio.get_running_loop().create_server(self._gate, sock=one))

    def _gate(self) -> Gate:
        kind = self._protocol
        assert self._tls is not None

        def make() -> _Protocol:
            return kind(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)

        return Gate(make, self._tls, kind.tcp_slots, self.server_state.tasks, self._limits.head_seconds)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """uvicorn says goodbye to the connections that it knows. One that the listener took in the same turn of the
        loop is not among them: it finds out by itself. What is cut off is hung up, too, and not left to the garbage
        collector, or its client would wait for an answer for as long as this process lives."""
        self._protocol.stopping = True
        try:
            # Not uvicorn's own time-out: it would call an error in the log what is nobody's.
            async with asyncio.timeout(self._limits.stop_seconds):
                await super().shutdown(sockets=sockets)
        except TimeoutError:
            cut_off = set(self.server_state.tasks)
            for task in cut_off:
                task.cancel()
            if cut_off:
                await asyncio.wait(cut_off, timeout=self._limits.stop_seconds)  # for their last words
        for connection in list(self.server_state.connections):
            connection.transport.abort()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _protocol(limits: Limits) -> type[_Protocol]:
    class Protocol(_Protocol):
        _limits = limits
        stopping = False
        unix_slots = Slots(total=limits.connections, each=limits.each)
        tcp_slots = Slots(total=limits.connections, each=limits.each)

    return Protocol


class _Protocol(H11Protocol):
    """One connection, with time-outs that uvicorn has not: for the head, for the rest of a body that nobody wants, and
    for a client that does not read."""

    _limits: Limits
    #: Of the server, as the two below.
    stopping: bool
    unix_slots: Slots
    tcp_slots: Slots
    #: The place that the connection has, and under whose name.
    _place: tuple[Slots, Hashable] | None = None
    _timer: asyncio.TimerHandle | None = None
    _unwanted = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.logger = _wire_log
        other = peer.of_socket(transport.get_extra_info("socket"))
        self.app_state = {
            **self.app_state,
            "peer": other,
            # Lets a stream say why it ends to a client that does not read: what is sent next waits for nothing.
            "last_words": self.flow.resume_writing,
        }
        if self._place is None:
            slots = self.unix_slots if other.transport == "unix" else self.tcp_slots
            if not slots.take(owner(other)):
                self._refuse(503, "too many connections at once; try again soon")
                return
            self._place = (slots, owner(other))
        if self.stopping:
            self._refuse(503, "nicmapd is stopping")
            return
        self._start_timer()

    def take_over(self, transport: asyncio.Transport, data: bytes, place: tuple[Slots, Hashable]) -> None:
        """As `connection_made` and `data_received`, for a connection that has its place already."""
        self._place = place
        self.connection_made(transport)
        if data:
            self.data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        self._unset_keepalive_if_required()
        if self._place is not None:
            slots, who = self._place
            slots.give_back(who)
            self._place = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        if self.conn.their_state is h11.IDLE:
            self._start_timer()  # idle is over with the first byte: from now the head has its own time
        elif self._answered_early():
            self._unwanted += len(data)
            if self._unwanted > edge.MAX_BODY:
                self.transport.close()
                return
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE and not self._answered_early():
            self._stop_timer()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._answered_early():
            self._unwanted = 0
            self._start_timer()

    def _answered_early(self) -> bool:
        """The answer is out and the body of its request is still coming in."""
        return self.cycle is not None and self.cycle.response_complete and self.conn.their_state is h11.SEND_BODY

    def timeout_keep_alive_handler(self) -> None:
        if self.transport.get_write_buffer_size() > 0:
            self.transport.abort()  # it has not read its answer for all that time
            return
        super().timeout_keep_alive_handler()

    def _start_timer(self) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(self._limits.head_seconds, self._too_late)

    def _too_late(self) -> None:
        self._timer = None
        if not self.transport.is_closing():
            self.transport.close()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  uvicorn's signature
        """What h11 could not read: answered, and the connection is over."""
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):  # an answer is under way already
            self.transport.close()
            return
        self._refuse(400, f"this is not an HTTP request that nicmapd can read (head up to {self._limits.head} bytes)")

    def _refuse(self, status: int, detail: str) -> None:
        self._stop_timer()
        code = problems.CODE_OF_STATUS[status]
        body = problems.body(problems.document(code, detail, status=status))
        headers = [
            ("content-type", problems.MEDIA_TYPE),
            ("content-length", str(len(body))),
            ("cache-control", "no-store"),
            ("connection", "close"),
        ]
        events: list[Any] = [h11.Response(status_code=status, headers=headers), h11.Data(data=body), h11.EndOfMessage()]
        for event in events:
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()
