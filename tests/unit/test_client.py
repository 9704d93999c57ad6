"""The client: what it sends, how it fails, that it keeps its connection."""

from __future__ import annotations

import contextlib
import os
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nicmapd import client as module
from nicmapd.api.door.server import Limits
from nicmapd.api.door.sockets import listen_tcp
from nicmapd.client import Client, error_of
from nicmapd.errors import (
    Ambiguous,
    Forbidden,
    Invalid,
    NicmapError,
    NotFound,
    NotPermitted,
    TimedOut,
    Unavailable,
    Unreachable,
)
from tests.fakes.serving import serving
from tests.fakes.world import World, make_world, uuid_of


@pytest.fixture
def world() -> World:
    return make_world()


def answering(path: Path, answers: list[bytes | None]) -> Callable[[], None]:
    """A server that gives one answer after another, a connection each; None: it hangs up. Ends with `stop`."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen(8)

    def serve() -> None:
        for answer in answers:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                if answer is not None:
                    connection.sendall(answer)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()

    def stop() -> None:
        thread.join(5)
        listener.close()

    return stop


def test_it_asks_over_one_connection(world: World, tmp_path: Path) -> None:
    with serving(world, tmp_path) as running:
        client = Client(socket_path=str(running.path))
        for _ in range(3):
            assert client.get("vms", "web1")["name"] == "web1"
        assert len(running.server._server.server_state.connections) == 1
        client.close()


def test_it_asks_page_after_page(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PAGE", 2)
    with serving(world, tmp_path) as running:
        client = Client(socket_path=str(running.path))
        assert len(list(client.items("interfaces"))) == 15
        assert len(list(client.items("interfaces", query={"name": "eth0", "network": None}))) == 2
        client.close()


def test_any_name_survives_the_way(world: World, tmp_path: Path) -> None:
    with serving(world, tmp_path) as running:
        client = Client(socket_path=str(running.path))
        for name in ("a/b", "%41", "..", "Ethernet 2 以太网", "<script>alert(1)</script>"):
            assert client.get("vms", uuid_of(3), "interfaces", name)["name"] == name
            assert client.get("vms", uuid_of(3), "interfaces", query={"name": name})["items"][0]["name"] == name
        client.close()


def test_a_problem_becomes_our_error(world: World, tmp_path: Path) -> None:
    with serving(world, tmp_path) as running:
        client = Client(socket_path=str(running.path))
        with pytest.raises(NotFound) as found:
            client.get("vms", "web1", "interfaces", "eth1")
        assert found.value.details["renamed_to"] == "ens7"
        with pytest.raises(Ambiguous) as ambiguous:
            client.get("vms", "pair", "interfaces", "52:54:00:aa:aa:aa")
        assert ambiguous.value.details["candidates"] == ["alias:net0", "alias:net1"]
        with pytest.raises(Invalid):
            client.get("vms", query={"nope": "1"})
        world.service.failure = Unavailable("libvirt is away")
        with pytest.raises(Unavailable, match="libvirt is away"):
            client.post("vms", "web1", "refresh")
        client.close()


def test_problems_may_hold_anything() -> None:
    error = error_of({"code": "new_code", "detail": "x", "message": "y", "self": 1, "more": [1]})
    assert (type(error), error.message, dict(error.details)) == (NicmapError, "x", {"more": [1]})
    assert error_of({}).message


def test_a_connection_that_the_daemon_closed_is_opened_again(world: World, tmp_path: Path) -> None:
    quick = Limits(idle_seconds=0)
    with serving(world, tmp_path, limits=quick) as running:
        client = Client(socket_path=str(running.path))
        for _ in range(3):
            client.get("healthz")
            _wait_until(lambda: not running.server._server.server_state.connections)
        client.close()


def test_tcp_works_and_may_only_read(world: World, tmp_path: Path) -> None:
    (listener,) = listen_tcp("127.0.0.1:0")
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with serving(world, tmp_path, sockets=[listener]):
        client = Client(url=url, token="secret")
        assert client.get("vms", "web1")["name"] == "web1"
        with pytest.raises(Forbidden):
            client.post("vms", "web1", "refresh")
        client.close()


@pytest.mark.parametrize("url", ["nonsense", "ftp://x", "http://", "http://x:99999", "/run/nicmapd/api.sock"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(Invalid):
        Client(url=url).get("status")


def test_nobody_there(tmp_path: Path) -> None:
    for path in (str(tmp_path / "no.sock"), str(tmp_path / ("x" * 200))):
        with pytest.raises(Unreachable):
            Client(socket_path=path).get("status")
    with pytest.raises(Unreachable):
        Client(url="http://127.0.0.1:1").get("status")


def test_somebody_else_there(tmp_path: Path) -> None:
    path = tmp_path / "s"
    stop = answering(
        path,
        [
            b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\nhi",
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\nhi",
            b"HTTP/1.1 502 Bad\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n[]",
            b"SSH-2.0-OpenSSH\r\n",
            None,
        ],
    )
    for _ in range(5):
        client = Client(socket_path=str(path))
        with pytest.raises(Unreachable):
            client.get("status")
        client.close()
    stop()


def test_a_change_needs_no_connection_that_was_kept(tmp_path: Path) -> None:
    """Somebody was asked for leave meanwhile, and the daemon has hung up."""
    good = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\nETag: "e"\r\n\r\n{}'
    stop = answering(tmp_path / "s", [good, b"HTTP/1.1 204 No Content\r\n\r\n"])
    client = Client(socket_path=str(tmp_path / "s"))
    assert client.look("vms", "web1", "interfaces", "eth0").etag == '"e"'
    assert client.change("DELETE", "vms", "web1", "interfaces", "eth0").status == 204
    client.close()
    stop()


def test_a_change_is_never_sent_twice(tmp_path: Path) -> None:
    stop = answering(tmp_path / "s", [None, b"HTTP/1.1 204 No Content\r\n\r\n"])
    client = Client(socket_path=str(tmp_path / "s"))
    with pytest.raises(Unreachable):
        client.change("DELETE", "vms", "web1", "interfaces", "eth0")
    assert client.change("DELETE", "vms", "web1", "interfaces", "eth1").status == 204
    client.close()
    stop()


def test_what_the_client_has_already_is_not_sent_again(world: World, tmp_path: Path) -> None:
    with serving(world, tmp_path) as running:
        client = Client(socket_path=str(running.path))
        first = client.look("vms", "web1", "interfaces", "eth0")
        again = client.look("vms", "web1", "interfaces", "eth0", etag=first.etag)
        assert (first.status, again.status, again.document) == (200, 304, None)
        client.close()


def test_an_answer_that_does_not_come_is_a_time_out(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen(0)
        clients = [Client(socket_path=str(tmp_path / "s")) for _ in range(3)]  # the last finds the queue full
        for one in clients:
            with pytest.raises(TimedOut):
                one.get("status", timeout=0.2)


@contextlib.contextmanager
def nobody() -> Iterator[None]:
    """As a user who is in no group that matters."""
    groups, group = os.getgroups(), os.getegid()
    os.setgroups([])
    os.setegid(65534)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(group)
        os.setgroups(groups)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_a_user_who_may_not_is_told_so(world: World) -> None:
    with tempfile.TemporaryDirectory() as directory, serving(world, Path(directory)) as running:
        Path(directory).chmod(0o755)  # it is the socket's own mode that refuses
        with nobody(), pytest.raises(NotPermitted):
            Client(socket_path=str(running.path)).get("status")


def _wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)
