"""Who may do what on the Unix socket: by what the kernel says of the peer, not by what the socket's mode let in."""

from __future__ import annotations

import grp
import json
import logging
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response

from nicmapd.api import create_app
from nicmapd.api.door.access import Access, Rules, rules_of
from nicmapd.api.door.audit import REFUSED_EACH, REFUSED_SECONDS, REFUSED_TOTAL, Audit
from nicmapd.api.door.edge import Edge
from nicmapd.api.door.limits import EventStreams
from nicmapd.api.door.peer import Peer, of_socket
from nicmapd.api.door.server import Limits
from nicmapd.api.door.sockets import listen_unix
from nicmapd.config import ApiConfig
from nicmapd.errors import Unavailable
from nicmapd.logs import AUDIT
from tests.fakes.asgi import ask
from tests.fakes.serving import serving
from tests.fakes.world import World, make_world

READERS, CHANGERS, OWN = 7001, 7002, 7003
RULES = Rules(readers=READERS, changers=CHANGERS, own=OWN, read_group="watchers", write_group="movers")


def user(uid: int, *groups: int, gid: int = 7999) -> Peer:
    return Peer("unix", pid=4711, uid=uid, gid=gid, groups=groups)


@pytest.fixture
def world() -> World:
    return make_world()


@pytest.fixture
def app(world: World) -> Any:
    return create_app(world.board, world.store, world.service, world.clock, access=Access(RULES))


# -- the rules


@pytest.mark.parametrize(
    ("peer", "read", "change"),
    [
        (user(0), True, True),
        (user(OWN), True, True),
        (user(1000), False, False),
        (user(1000, READERS), True, False),
        (user(1000, gid=READERS), True, False),
        (user(1000, 5, CHANGERS, 6), True, True),
        (user(1000, gid=CHANGERS), True, True),
        (user(65534, gid=65534), False, False),
    ],
)
def test_each_may_what_its_groups_may(app: Any, world: World, peer: Peer, read: bool, change: bool) -> None:
    assert (ask(app, "/vms", peer=peer).status == 200) is read
    assert (ask(app, "/vms/web1/refresh", method="POST", peer=peer).status == 200) is change
    assert bool(world.service.refreshed) is change


def test_without_its_group_a_right_is_nobodys(world: World) -> None:
    app = create_app(world.board, world.store, world.service, world.clock, access=Access(Rules(own=OWN)))
    assert ask(app, "/vms", peer=Peer("unix", pid=1, uid=1000, gid=1000)).status == 403
    assert ask(app, "/vms", peer=Peer("unix", pid=1, uid=0, gid=0)).status == 200


def test_a_refusal_says_what_to_do(app: Any) -> None:
    answer = ask(app, "/vms/web1/refresh", method="POST", peer=user(1000, READERS))
    assert (answer.status, answer.json["code"]) == (403, "forbidden")
    assert "uid 1000 (pid 4711) may not change" in answer.json["detail"]
    assert "the group movers" in answer.json["detail"]
    assert "the group watchers" in ask(app, "/vms", peer=user(1000)).json["detail"]


@pytest.mark.parametrize(
    "path", ["/vms", "/nothing", "/vms/web1", "/openapi.json", "/status", "/metrics", "/events", "/vms/"]
)
def test_who_may_not_read_learns_nothing_of_what_there_is(app: Any, path: str) -> None:
    for method in ("GET", "HEAD", "OPTIONS", "POST", "DELETE", "BREW"):
        assert ask(app, path, method=method, peer=user(1000)).status == 403


@pytest.mark.parametrize("path", ["/healthz", "/", "/docs", "/static/app.js"])
def test_anybody_may_have_what_tells_nothing_of_this_host(app: Any, path: str) -> None:
    assert ask(app, path, peer=user(1000)).status == 200
    assert ask(app, path, method="POST", peer=user(1000)).status == 403


def test_the_groups_are_those_of_the_host() -> None:
    group = grp.getgrall()[0]
    rules = rules_of(ApiConfig(read_group=group.gr_name, write_group=""))
    assert (rules.readers, rules.changers, rules.own) == (group.gr_gid, None, os.geteuid())


def test_a_group_that_is_not_there_is_said(caplog: Any) -> None:
    assert rules_of(ApiConfig(write_group="no-such-group")).changers is None
    assert "api.write_group: this host has no group no-such-group" in caplog.text


# -- what the kernel says


def test_the_kernel_says_all_groups_of_a_peer() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        peer = of_socket(ours)
    assert (peer.pid, peer.uid, peer.gid) == (os.getpid(), os.getuid(), os.getgid())
    assert set(peer.groups) == set(os.getgroups())
    assert peer.who == f"uid {os.getuid()} (pid {os.getpid()})"


#: Asks with the rights of whoever runs it; prints the status.
_ASK = """
import socket, sys
client = socket.socket(socket.AF_UNIX)
client.settimeout(10)
client.connect(sys.argv[1])
client.sendall(f"{sys.argv[2]} HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n".encode())
print(client.makefile("rb").readline().split()[1].decode())
"""


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """A directory that everybody may reach, which those of pytest are not."""
    directory = Path(tempfile.mkdtemp(prefix="nicmapd-", dir="/tmp"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


def status_for(path: Path, line: str, *, uid: int, groups: list[int]) -> str:
    """The status that another user gets; "refused" if the socket's mode keeps him out."""
    # A Python in somebody's home is not for other users.
    python = shutil.which("python3", path="/usr/bin:/usr/local/bin") or sys.executable
    command = [python, "-I", "-S", "-c", _ASK, str(path), line]
    done = subprocess.run(
        command, user=uid, group=uid, extra_groups=groups, cwd="/", capture_output=True, text=True, timeout=30
    )
    return done.stdout.strip() if done.returncode == 0 else "refused" if "PermissionError" in done.stderr else "failed"


needs_root = pytest.mark.skipif(os.getuid() != 0, reason="needs root, to become other users")


@needs_root
def test_other_users_on_a_socket_that_is_open_to_all(world: World, open_directory: Path) -> None:
    """A socket unit with a wrong SocketMode, or a careless chmod, opens nothing."""
    app = create_app(world.board, world.store, world.service, world.clock, access=Access(RULES))
    sockets = [listen_unix(open_directory / "api.sock", mode=0o666)]
    with serving(world, open_directory, app=app, sockets=sockets) as running:

        def status(line: str, *groups: int) -> str:
            return status_for(running.path, line, uid=65534, groups=list(groups))

        assert status("GET /vms") == "403"
        assert status("GET /healthz") == "200"
        assert status("GET /vms", 3, READERS) == "200"
        assert status("POST /vms/web1/refresh", 3, READERS) == "403"
        assert world.service.refreshed == []
        assert status("POST /vms/web1/refresh", 3, CHANGERS) == "200"


@needs_root
def test_the_mode_of_the_socket_keeps_others_out(world: World, open_directory: Path) -> None:
    with serving(world, open_directory) as running:
        os.chown(running.path, -1, READERS)
        assert status_for(running.path, "GET /healthz", uid=65534, groups=[]) == "refused"
        assert status_for(running.path, "GET /healthz", uid=65534, groups=[READERS]) == "200"


@needs_root
def test_one_user_s_connections_leave_room_for_others(world: World, open_directory: Path) -> None:
    app = create_app(world.board, world.store, world.service, world.clock, access=Access(RULES))
    sockets = [listen_unix(open_directory / "api.sock", mode=0o666)]
    limits = Limits(connections=8, each=4)
    with serving(world, open_directory, app=app, sockets=sockets, limits=limits) as running, ExitStack() as stack:
        for _ in range(limits.each):
            stack.enter_context(socket.socket(socket.AF_UNIX)).connect(str(running.path))
        # Refused at once: it is luck whether the answer is there before the request breaks off.
        assert status_for(running.path, "GET /vms", uid=0, groups=[]) in ("503", "failed")
        assert status_for(running.path, "GET /vms", uid=65534, groups=[READERS]) == "200"


# -- the audit


def audited(caplog: Any) -> list[logging.LogRecord]:
    return [record for record in caplog.records if getattr(record, "message_id", "") == AUDIT]


async def reads_its_body(scope: Any, receive: Any, send: Any) -> None:
    await Request(scope, receive).body()
    await Response(b"")(scope, receive, send)


READING = Edge(reads_its_body, Access(RULES))


def test_a_change_is_told_with_who_what_and_outcome(caplog: Any) -> None:
    ask(READING, "/vms/web1/refresh", method="POST", body=b'{"a":1}', peer=user(1000, CHANGERS))
    (record,) = audited(caplog)
    assert record.levelno == logging.INFO
    assert record.getMessage().startswith('uid 1000 (pid 4711): POST /vms/web1/refresh {"a":1}: 200 (')
    assert (record.__dict__["who"], record.__dict__["outcome"]) == ("uid 1000 (pid 4711)", "200")


@pytest.mark.parametrize(
    ("method", "target", "outcome"),
    [
        ("POST", "/vms/web1/refresh", "403 uid 1000 (pid 4711) may not change"),
        ("DELETE", "/vms/web1", "403 "),
        ("POST", "/nothing", "403 "),
    ],
)
def test_a_refused_change_is_told_too(app: Any, caplog: Any, method: str, target: str, outcome: str) -> None:
    ask(app, target, method=method, peer=user(1000, READERS))
    (record,) = audited(caplog)
    assert f"{method} {target}: {outcome}" in record.getMessage()


def test_a_change_that_fails_is_told_with_why(app: Any, world: World, caplog: Any) -> None:
    world.service.failure = Unavailable("libvirt is away")
    ask(app, "/vms/web1/refresh", method="POST", peer=user(0))
    assert audited(caplog)[0].__dict__["outcome"] == "503 libvirt is away"


def test_a_defect_is_told_without_its_details(app: Any, world: World, caplog: Any) -> None:
    world.service.failure = RuntimeError("secret")
    ask(app, "/vms/web1/refresh", method="POST", peer=user(0))
    assert audited(caplog)[0].__dict__["outcome"] == "500"


def test_questions_are_not_audited(app: Any, caplog: Any) -> None:
    for method in ("GET", "HEAD"):
        ask(app, "/vms", method=method, peer=user(0))
    assert audited(caplog) == []


def test_what_a_client_sends_cannot_forge_a_line(caplog: Any) -> None:
    ask(READING, "/vms/%0a\x1b[2J/refresh", method="POST", body=b"\n\xff\x1b]0;x\x07 uid 0", peer=user(0))
    (record,) = audited(caplog)
    assert record.getMessage().isprintable()
    assert "\n" not in json.dumps([record.__dict__["asked"], record.getMessage()])


def test_a_large_body_is_told_in_part(caplog: Any) -> None:
    ask(READING, "/vms/web1/refresh", method="POST", body=b"x" * 60_000, peer=user(0))
    assert len(audited(caplog)[0].getMessage()) < 1200


def test_who_is_refused_all_the_time_does_not_fill_the_log(caplog: Any) -> None:
    now = [100.0]
    book = Audit(lambda: now[0])

    def write(uid: int, status: int) -> None:
        book.write(user(uid), method="POST", path="/vms/a/refresh", body=b"", status=status, seconds=0)

    for _ in range(5000):
        write(1000, 403)
    assert len(caplog.records) == REFUSED_EACH
    write(1001, 403)
    for _ in range(50):
        write(1000, 200)  # what is done is told, always
    assert len(caplog.records) == REFUSED_EACH + 51
    for uid in range(2000, 9000):
        write(uid, 401)
    assert len(caplog.records) == REFUSED_TOTAL + 50
    now[0] += REFUSED_SECONDS
    write(1000, 403)
    untold = 5000 + 1 + 7000 - REFUSED_TOTAL
    assert caplog.records[-2].getMessage().startswith(f"{untold} more requests for a change were refused")
    assert caplog.records[-1].getMessage().startswith("uid 1000 ")


# -- event streams


def test_event_streams_are_counted_in_all_and_for_each_user() -> None:
    streams = EventStreams(total=3, each=2)
    with streams.open(user(1)), streams.open(user(1)):
        with pytest.raises(Unavailable, match="too many event streams"), streams.open(user(1)):
            pass
        with streams.open(user(2)):
            assert len(streams) == 3
            with pytest.raises(Unavailable), streams.open(user(3)):
                pass
        with streams.open(Peer("tcp", address="192.0.2.1:5")):
            pass
    assert len(streams) == 0
