"""The server on real sockets: how they are made, what a rude client gets, how it stops."""

from __future__ import annotations

import asyncio
import contextlib
import grp
import http.client
import json
import logging
import os
import socket
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response

from nicmapd.api import create_app
from nicmapd.api.door.access import Access
from nicmapd.api.door.edge import Edge
from nicmapd.api.door.server import Limits, Server, open_sockets
from nicmapd.api.door.sockets import close_sockets, listen_tcp, listen_unix
from nicmapd.config import ApiConfig
from nicmapd.errors import Unavailable
from tests.fakes.serving import Serving, serving
from tests.fakes.world import World, make_world

# -- sockets


def test_the_socket_has_its_mode_whatever_the_umask(tmp_path: Path) -> None:
    for umask in (0, 0o777):
        before = os.umask(umask)
        try:
            listener = listen_unix(tmp_path / "api.sock")
        finally:
            os.umask(before)
        mode = (tmp_path / "api.sock").stat().st_mode
        assert stat.S_ISSOCK(mode)
        assert stat.S_IMODE(mode) == 0o660
        close_sockets([listener])
        assert list(tmp_path.iterdir()) == []


def test_the_socket_is_given_to_the_group(tmp_path: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("only root may give files away")
    group = next(one for one in grp.getgrall() if one.gr_gid != 0)
    listener = listen_unix(tmp_path / "api.sock", group=group.gr_name)
    assert (tmp_path / "api.sock").stat().st_gid == group.gr_gid
    close_sockets([listener])


def test_a_socket_of_a_dead_daemon_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    listener = listen_unix(path)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    close_sockets([listener])


def test_a_socket_with_a_listener_is_refused_and_stays(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    first = listen_unix(path)
    with pytest.raises(Unavailable, match="listens on"):
        listen_unix(path)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    close_sockets([first])


@pytest.mark.parametrize("kind", ["file", "directory", "link"])
def test_what_is_not_a_socket_is_not_replaced(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "api.sock"
    if kind == "file":
        path.write_text("precious")
    elif kind == "directory":
        path.mkdir()
    else:
        path.symlink_to("/nowhere")
    with pytest.raises(Unavailable, match="not a socket"):
        listen_unix(path)
    assert path.is_symlink() or path.exists()


def test_a_missing_directory_is_said(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="its directory must exist"):
        listen_unix(tmp_path / "no" / "api.sock")


def test_a_new_daemon_s_socket_survives_the_old_one_s_end(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    old = listen_unix(path)
    path.unlink()
    new = listen_unix(path)
    close_sockets([old])
    assert path.exists()
    close_sockets([new])


def test_tcp_that_is_taken_is_said() -> None:
    (first,) = listen_tcp("127.0.0.1:0")
    port = first.getsockname()[1]
    with pytest.raises(Unavailable, match="in use"):
        listen_tcp(f"127.0.0.1:{port}")
    close_sockets([first])


@pytest.mark.parametrize("address", ["no.such.host.invalid:1", "127.0.0.1:99999", "192.0.2.1:8420"])
def test_tcp_that_cannot_be_is_said(address: str) -> None:
    with pytest.raises(Unavailable, match=r"api\.listen"):
        listen_tcp(address)


def test_one_socket_that_fails_closes_the_other(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    with pytest.raises(Unavailable):
        open_sockets(ApiConfig(socket=str(path), listen="192.0.2.1:8420"))
    assert not path.exists()


def test_an_inherited_socket_takes_the_place_of_its_path_and_keeps_its_file(tmp_path: Path) -> None:
    handed, own = tmp_path / "api.sock", tmp_path / "own.sock"
    with socket.socket(socket.AF_UNIX) as manager:
        manager.bind(str(handed))
        manager.listen()
        inherited = socket.socket(fileno=os.dup(manager.fileno()))
        assert open_sockets(ApiConfig(socket=str(handed)), [inherited]) == [inherited]
        close_sockets([inherited])
        assert handed.exists()
        inherited = socket.socket(fileno=os.dup(manager.fileno()))
        both = open_sockets(ApiConfig(socket=str(own)), [inherited])
        assert [one.getsockname() for one in both] == [str(handed), str(own)]
        close_sockets(both)


def test_no_sockets_at_all_are_fine() -> None:
    assert open_sockets(ApiConfig(socket="", listen="")) == []


# -- the server

QUICK = Limits(head_seconds=0.6, idle_seconds=10, connections=8)


@pytest.fixture
def world() -> World:
    return make_world()


@pytest.fixture
def server(world: World, tmp_path: Path) -> Iterator[Serving]:
    with serving(world, tmp_path, limits=QUICK) as running:
        yield running


def connect(running: Serving) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(5)
    client.connect(str(running.path))
    return client


def sent_before_hang_up(client: socket.socket, pieces: list[bytes], *, pause: float = 0.0) -> int:
    """How many of `pieces` the server took."""
    for number, piece in enumerate(pieces):
        try:
            client.sendall(piece)
        except (BrokenPipeError, ConnectionResetError):
            return number
        time.sleep(pause)
    return len(pieces)


def talk(running: Serving, data: bytes) -> tuple[int, dict[str, str], bytes]:
    """Sends `data` and gives the first answer: status, headers, body."""
    with connect(running) as client:
        with contextlib.suppress(BrokenPipeError):  # refused before it was sent
            client.sendall(data)
        answer = http.client.HTTPResponse(client)
        answer.begin()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()


def test_it_answers_without_naming_itself(server: Serving) -> None:
    status, headers, body = talk(server, b"GET /vms/web1 HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (status, json.loads(body)["name"]) == (200, "web1")
    assert "server" not in headers


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\r\n\r\n",
        b"GET /vms\xff HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /vms HTTP/1.1\r\n\r\n",
        b"GET /vms HTTP/1.1\r\nHost: x\r\nBad Header: 1\r\n\r\n",
        b"GET /vms HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 20_000,
        b"GET /" + b"a" * 40_000,
        b"POST /vms/web1/refresh HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    ],
)
def test_what_is_not_http_gets_a_problem(server: Serving, data: bytes) -> None:
    status, headers, body = talk(server, data)
    assert (status, headers["content-type"]) == (400, "application/problem+json")
    assert json.loads(body)["code"] == "invalid"


def test_a_body_announced_too_large_is_refused_at_once(server: Serving) -> None:
    head = b"POST /vms/web1/refresh HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999\r\n\r\n"
    status, _, body = talk(server, head)
    assert (status, json.loads(body)["status"]) == (413, 413)


def test_an_endless_body_ends(server: Serving) -> None:
    with connect(server) as client:
        client.sendall(b"GET /vms HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        assert sent_before_hang_up(client, [b"1000\r\n" + b"x" * 4096 + b"\r\n"] * 10_000) < 1000


async def reads_its_body(scope: Any, receive: Any, send: Any) -> None:
    await Response(await Request(scope, receive).body())(scope, receive, send)


@pytest.mark.parametrize("sent", [b"", b"12345"])
@pytest.mark.parametrize("pause", [0.0, 0.05])
def test_a_body_that_does_not_come_is_not_waited_for(world: World, tmp_path: Path, sent: bytes, pause: float) -> None:
    """Neither one that stops nor one that comes byte by byte."""
    app = Edge(reads_its_body, Access(), body_seconds=0.4)
    begun = time.monotonic()
    with serving(world, tmp_path, app=app) as running, connect(running) as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n" + sent)
        if pause:
            sent_before_hang_up(client, [b"x"] * 20, pause=pause)
        answer = http.client.HTTPResponse(client)
        answer.begin()
        assert (answer.status, json.loads(answer.read())["code"]) == (408, "unavailable")
        with contextlib.suppress(ConnectionResetError):
            assert client.recv(1) == b""
    assert time.monotonic() - begun < 5


def test_a_body_in_time_is_taken(world: World, tmp_path: Path) -> None:
    app = Edge(reads_its_body, Access(), body_seconds=5)
    with serving(world, tmp_path, app=app) as running, connect(running) as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12345")
        time.sleep(0.1)
        client.sendall(b"67890")
        answer = http.client.HTTPResponse(client)
        answer.begin()
        assert (answer.status, answer.read()) == (200, b"1234567890")


def test_a_client_that_never_asks_is_hung_up_on(server: Serving) -> None:
    with connect(server) as client:
        begun = time.monotonic()
        assert client.recv(1) == b""
        assert time.monotonic() - begun < 2


def test_a_client_that_asks_too_slowly_is_hung_up_on(server: Serving) -> None:
    head = b"GET /vms HTTP/1.1\r\nHost: x\r\nX-Slow: " + b"a" * 200
    with connect(server) as client:
        assert sent_before_hang_up(client, [bytes([byte]) for byte in head], pause=0.02) < len(head)


def test_an_idle_connection_is_kept_longer_than_a_head_may_take(server: Serving) -> None:
    with connect(server) as client:
        for _ in range(2):
            client.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            answer = http.client.HTTPResponse(client)
            answer.begin()
            assert (answer.status, answer.read()) == (200, b'{"status":"alive"}')
            time.sleep(1.0)


def test_too_many_connections_are_refused_in_words(server: Serving) -> None:
    clients = [connect(server) for _ in range(QUICK.connections)]
    status, _, body = talk(server, b"")
    assert (status, json.loads(body)["code"]) == (503, "unavailable")
    for client in clients:
        client.close()


def test_pipelined_requests_are_answered_in_order(server: Serving) -> None:
    with connect(server) as client:
        client.sendall(
            b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        )
        whole = b""
        while data := client.recv(4096):
            whole += data
    assert whole.index(b"alive") < whole.index(b"ready")


def test_a_peer_is_known_by_pid_uid_and_gid(world: World, tmp_path: Path) -> None:
    seen: list[Any] = []
    inner = create_app(world.board, world.store, world.service, world.clock)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["state"]["peer"])
        await inner(scope, receive, send)

    (tcp,) = listen_tcp("127.0.0.1:0")
    sockets = [listen_unix(tmp_path / "api.sock"), tcp]
    port = tcp.getsockname()[1]
    with serving(world, tmp_path, app=app, sockets=sockets) as running:
        talk(running, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        connection.request("POST", "/vms/web1/refresh")
        assert connection.getresponse().status == 403
        connection.close()
    assert (seen[0].transport, seen[0].pid, seen[0].uid) == ("unix", os.getpid(), os.getuid())
    assert (seen[1].transport, seen[1].pid) == ("tcp", None)


def test_it_stops_quickly_with_idle_connections_open(server: Serving) -> None:
    clients = [connect(server) for _ in range(3)]
    for client in clients:
        client.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        client.recv(4096)
    assert server.stop() < 1.0
    assert not server.path.exists()
    for client in clients:
        client.close()


def test_it_stops_quickly_while_a_guest_hangs(server: Serving, world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.service.delay = 60.0
    answers: list[tuple[int, dict[str, str], bytes]] = []
    request = b"POST /vms/web1/refresh HTTP/1.1\r\nHost: x\r\n\r\n"
    waiting = threading.Thread(target=lambda: answers.append(talk(server, request)))
    waiting.start()
    while not world.service.refreshed:
        time.sleep(0.01)
    assert server.stop() < 2.0
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    waiting.join(5)
    assert answers[0][0] == 503
    assert json.loads(answers[0][2])["detail"] == "nicmapd is stopping"


def test_a_head_that_comes_at_once_may_be_no_larger_than_one_in_pieces(server: Serving) -> None:
    """h11 counts only what it has to wait for."""
    for size, expected in ((15_000, 200), (17_000, 400), (60_000, 400)):
        status, _, body = talk(server, b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: %s\r\n\r\n" % (b"x" * size))
        assert status == expected, size
        assert len(body) < 500
    status, _, body = talk(server, b"GET /vms/%s HTTP/1.1\r\nHost: x\r\n\r\n" % (b"x" * 17_000))
    assert (status, json.loads(body)["code"]) == (400, "invalid")


def last_words(client: socket.socket) -> bytes:
    """What the server sent until it hung up."""
    with client, contextlib.suppress(ConnectionResetError), client.makefile("rb") as stream:
        return stream.read()
    return b""


def test_who_connects_at_the_very_moment_of_the_stop_is_sent_away(
    world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The listener has taken the connection, and the server does not know of it yet when it says goodbye to all."""
    path = tmp_path / "api.sock"
    server = Server(create_app(world.board, world.store, world.service, world.clock), [listen_unix(path)])
    clients: list[socket.socket] = []

    def connect_in_each_turn(loop: asyncio.AbstractEventLoop) -> None:
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(5)
        try:
            client.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):  # nobody listens any more
            client.close()
            return
        clients.append(client)
        while len(clients) > 100:  # a user may have no more than 256
            clients.pop(0).close()
        # A timer comes after what the loop takes from sockets, so that the next turn finds a connection to take.
        loop.call_later(0, connect_in_each_turn, loop)

    async def run() -> None:
        running = asyncio.ensure_future(server.run())
        while not server.started:
            await asyncio.sleep(0.001)
        server.stop()
        connect_in_each_turn(asyncio.get_running_loop())
        await running

    with asyncio.Runner() as runner:
        runner.run(run())
        answers = [last_words(client) for client in clients]
    assert "graceful shutdown exceeded" not in caplog.text
    assert any(b"HTTP/1.1 503 " in answer and b"nicmapd is stopping" in answer for answer in answers)
