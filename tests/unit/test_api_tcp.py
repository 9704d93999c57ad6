"""TCP: tokens and the files that they are in, foreign web pages, what may be listened on, TLS."""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nicmapd.api import create_app
from nicmapd.api.door import origin, tokens
from nicmapd.api.door import tls as api_tls
from nicmapd.api.door.access import Access, Rules, rules_of
from nicmapd.api.door.peer import Peer
from nicmapd.api.door.server import Limits, open_sockets
from nicmapd.api.door.sockets import close_sockets, listen_tcp
from nicmapd.cli import program
from nicmapd.config import ApiConfig
from nicmapd.errors import ConfigError, Unavailable
from tests.fakes.asgi import Answer, ask
from tests.fakes.serving import serving
from tests.fakes.world import World, make_world

READ, WRITE = "r" * 32, "w" * 32
REMOTE = Peer("tcp", address="192.0.2.7:51234")


@pytest.fixture
def world() -> World:
    return make_world()


def app_with(world: World, **rules: Any) -> Any:
    return create_app(world.board, world.store, world.service, world.clock, access=Access(Rules(**rules)))


BOTH = {"read_token": tokens.digest(READ.encode()), "write_token": tokens.digest(WRITE.encode())}


def get(app: Any, token: str | None = None, **more: str) -> Answer:
    given = {"Authorization": f"Bearer {token}"} if token is not None else {}
    return ask(app, "/vms", headers={**given, **more}, peer=REMOTE)


def refresh(app: Any, token: str | None = None, **more: str) -> Answer:
    given = {"Authorization": f"Bearer {token}"} if token is not None else {}
    return ask(app, "/vms/web1/refresh", method="POST", headers={**given, **more}, peer=REMOTE)


# -- tokens


def test_each_token_opens_what_it_is_for(world: World) -> None:
    app = app_with(world, **BOTH)
    assert [get(app, token).status for token in (None, READ, WRITE)] == [401, 200, 200]
    assert [refresh(app, token).status for token in (None, READ)] == [401, 403]
    assert world.service.refreshed == []
    assert refresh(app, WRITE).status == 200


@pytest.mark.parametrize("token", ["", " ", READ[:-1], READ + "x", READ.upper(), "null", "Bearer", "\xe9" * 32])
def test_a_wrong_token_opens_nothing(world: World, token: str) -> None:
    app = app_with(world, **BOTH)
    for answer in (get(app, token), refresh(app, token)):
        assert (answer.status, answer.json["code"]) == (401, "forbidden")
        assert answer.headers["www-authenticate"] == 'Bearer realm="nicmapd", error="invalid_token"'
    assert READ not in answer.json["detail"]


@pytest.mark.parametrize(
    ("rules", "files"),
    [
        ({"read_token": READ, "write_token": WRITE}, "api.read_token_file or api.write_token_file"),
        ({"write_token": WRITE}, "api.write_token_file"),
        ({"read_token": READ}, "api.read_token_file"),
    ],
)
def test_where_the_right_token_is_is_said(world: World, rules: dict[str, str], files: str) -> None:
    app = app_with(world, **{name: tokens.digest(value.encode()) for name, value in rules.items()})
    assert f"in the file of {files} there" in get(app, "wrong").json["detail"]


def test_no_token_is_told_how_to_send_one(world: World) -> None:
    answer = get(app_with(world, **BOTH))
    assert (answer.status, answer.json["code"], answer.json["status"]) == (401, "forbidden", 401)
    assert answer.headers["www-authenticate"] == 'Bearer realm="nicmapd"'
    assert "api.read_token_file" in answer.json["detail"]


@pytest.mark.parametrize(
    "value", [f"Basic {READ}", READ, f"Token {READ}", f"Bearer{READ}", f"Bearer {READ} {READ}", f"Bearer {READ},{READ}"]
)
def test_a_token_counts_only_as_a_bearer_token(world: World, value: str) -> None:
    app = app_with(world, **BOTH)
    assert ask(app, "/vms", headers={"Authorization": value}, peer=REMOTE).status == 401


def test_a_token_counts_in_no_other_place(world: World) -> None:
    app = app_with(world, **BOTH)
    for target in (f"/vms?token={READ}", f"/vms?access_token={READ}"):
        assert ask(app, target, headers={"Cookie": f"token={READ}", "X-Token": READ}, peer=REMOTE).status == 401


def test_the_scheme_is_read_in_any_case(world: World) -> None:
    app = app_with(world, **BOTH)
    assert ask(app, "/vms", headers={"Authorization": f"bearer  {READ} "}, peer=REMOTE).status == 200


def test_without_a_write_token_tcp_only_reads(world: World) -> None:
    app = app_with(world, read_token=BOTH["read_token"])
    assert get(app, READ).status == 200
    answer = refresh(app, READ)
    assert (answer.status, answer.json["code"]) == (403, "forbidden")
    assert "api.write_token_file is not set" in answer.json["detail"]


def test_without_any_token_tcp_only_reads(world: World) -> None:
    app = app_with(world)
    assert (get(app).status, refresh(app).status) == (200, 403)
    assert (get(app, READ).status, refresh(app, WRITE).status) == (200, 403)  # where there are no tokens, none is wrong


def test_with_a_write_token_alone_reading_is_open(world: World) -> None:
    app = app_with(world, write_token=BOTH["write_token"])
    assert [get(app, token).status for token in (None, WRITE, READ)] == [200, 200, 401]
    assert [refresh(app, token).status for token in (None, WRITE)] == [401, 200]


def test_a_page_and_a_probe_need_no_token(world: World) -> None:
    app = app_with(world, **BOTH)
    for path in ("/healthz", "/", "/docs", "/static/app.js"):
        assert ask(app, path, peer=REMOTE).status == 200
        assert ask(app, path, method="POST", peer=REMOTE).status == 401
    for path in (
        "/readyz",
        "/metrics",
        "/openapi.json",
        "/events",
        "/static/../vms",
        "/static/%2e%2e/vms",
        "/healthz/",
    ):
        assert ask(app, path, peer=REMOTE).status in (401, 404), path


def test_the_audit_names_the_token_and_the_address(world: World, caplog: Any) -> None:
    app = app_with(world, **BOTH)
    for token in (WRITE, READ, "wrong" * 10, None):
        refresh(app, token)
    lines = [record.getMessage() for record in caplog.records if record.name == "nicmapd.api.door.audit"]
    whos = ["token write", "token read", "token unknown", "tcp"]
    assert [line.partition(":")[0] for line in lines] == [f"{who} from 192.0.2.7" for who in whos]
    assert all(secret not in line for secret in (READ, WRITE, "wrongwrong") for line in lines)


# -- files of tokens


def token_file(tmp_path: Path, content: bytes = READ.encode() + b"\n", mode: int = 0o600) -> Path:
    path = tmp_path / "token"
    path.write_bytes(content)
    path.chmod(mode)
    return path


def fault(**settings: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        rules_of(ApiConfig(**settings))
    (line,) = caught.value.faults
    assert "\n" not in line
    return line


@pytest.mark.parametrize("content", [READ.encode(), b"\n " + READ.encode() + b"\r\n", b"a-._~+/9aaaaaaaaa==\n"])
def test_a_token_is_read_from_its_file(tmp_path: Path, content: bytes) -> None:
    rules = rules_of(ApiConfig(read_token_file=str(token_file(tmp_path, content))))
    assert rules.read_token == tokens.digest(content.strip())
    assert rules.write_token is None


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "is empty"),
        (b" \n\n", "is empty"),
        (b"short", "5 characters can be guessed"),
        (b"two words of a token", "is not one token"),
        (b"x" * 20 + b"\n" + b"y" * 20, "is not one token"),
        (b"\xff" * 40, "is not one token"),
        (b"x" * 5000, "is not one token"),
    ],
)
def test_a_file_without_a_good_token_is_refused(tmp_path: Path, content: bytes, told: str) -> None:
    path = token_file(tmp_path, content)
    line = fault(read_token_file=str(path))
    assert line.startswith(f"api.read_token_file: {path}")
    assert told in line


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o644, 0o666])
def test_a_file_that_others_may_open_is_refused(tmp_path: Path, mode: int) -> None:
    path = token_file(tmp_path, mode=mode)
    line = fault(write_token_file=str(path))
    assert f"open to others (mode {mode:04o}): `chmod 600 {path}`" in line


@pytest.mark.parametrize("kind", ["missing", "directory", "fifo"])
def test_what_is_no_file_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "token"
    if kind == "directory":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path, 0o600)
    line = fault(read_token_file=str(path))
    assert str(path) in line
    assert "is not a file" in line or "No such file" in line


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to give a file away")
def test_a_file_of_another_user_is_refused(tmp_path: Path) -> None:
    path = token_file(tmp_path)
    os.chown(path, 65534, -1)
    assert "belongs to uid 65534" in fault(read_token_file=str(path))
    assert rules_of(ApiConfig(read_token_file=str(path)), strict=False).read_token is not None


def test_one_token_for_both_is_refused(tmp_path: Path) -> None:
    path = str(token_file(tmp_path))
    assert "the same token" in fault(read_token_file=path, write_token_file=path)


# -- foreign pages


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1:8420",
        "localhost",
        "LOCALHOST:8420",
        "[::1]:8420",
        "192.0.2.1",
        "kvm1.example.org:8420",
        "kvm1.example.org.",
    ],
)
def test_names_of_this_host_and_addresses_are_answered(world: World, host: str) -> None:
    app = app_with(world, hosts=frozenset({"kvm1.example.org"}))
    assert get(app, Host=host).status == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8420", "127.0.0.1.evil.example", "localhost.evil.example", "", "a@127.0.0.1",
     "127.0.0.1:8420:1", "0x7f.1", "kvm1.example.org.evil.example", "[::1", "evil.example/127.0.0.1"],
)  # fmt: skip
def test_a_rebound_name_is_refused(world: World, host: str) -> None:
    app = app_with(world, hosts=frozenset({"kvm1.example.org"}), **BOTH)
    for path in ("/vms", "/", "/healthz"):
        answer = ask(app, path, headers={"Host": host, "Authorization": f"Bearer {WRITE}"}, peer=REMOTE)
        assert (answer.status, answer.json["code"]) == (403, "forbidden")
    assert "api.hosts" in answer.json["detail"]


def test_the_host_s_own_names_are_known() -> None:
    found = origin.hosts_of(ApiConfig(listen="KVM1:8420", hosts=("Other.example",)))
    assert {socket.gethostname().lower(), "kvm1", "other.example"} <= found
    assert "" not in origin.hosts_of(ApiConfig())


OURS = "kvm1.example.org:8420"


@pytest.mark.parametrize("transport", ["unix", "tcp"])
@pytest.mark.parametrize(
    "foreign",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://kvm1.example.org"},
        {"Origin": "http://kvm1.example.org:84200"},
        {"Origin": "http://kvm1.example.org:8420.evil.example"},
        {"Origin": "http://kvm1.example.org:99999999"},
        {"Origin": "file://kvm1.example.org:8420"},
        {"Origin": "chrome-extension://abcdef"},
        {"Origin": ""},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"},
    ],
)
def test_a_foreign_page_gets_nothing(world: World, foreign: dict[str, str], transport: str) -> None:
    app = app_with(world, hosts=frozenset({"kvm1.example.org"}), **BOTH)
    peer = REMOTE if transport == "tcp" else Peer("unix", pid=1, uid=0, gid=0)
    headers = {"Host": OURS, "Authorization": f"Bearer {WRITE}", **foreign}
    for method, path in (("GET", "/vms"), ("POST", "/vms/web1/refresh"), ("OPTIONS", "/vms"), ("GET", "/")):
        answer = ask(app, path, method=method, headers=headers, peer=peer)
        assert (answer.status, answer.json["code"]) == (403, "forbidden")
        assert not [name for name in answer.headers if name.startswith("access-control-")]
    assert world.service.refreshed == []


@pytest.mark.parametrize(
    "own",
    [
        {"Origin": f"http://{OURS}"},
        {"Origin": f"http://{OURS.upper()}"},
        {"Origin": f"http://{OURS}", "Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
    ],
)
def test_our_own_page_is_answered(world: World, own: dict[str, str]) -> None:
    app = app_with(world, hosts=frozenset({"kvm1.example.org"}), **BOTH)
    assert get(app, READ, Host=OURS, **own).status == 200
    assert refresh(app, WRITE, Host=OURS, **own).status == 200


def test_our_own_page_is_answered_on_default_ports(world: World) -> None:
    app = app_with(world)
    assert get(app, Host="127.0.0.1", Origin="https://127.0.0.1").status == 200
    assert get(app, Host="127.0.0.1:443", Origin="https://127.0.0.1").status == 200
    assert get(app, Host="[::1]:80", Origin="http://[::1]").status == 200
    assert get(app, Host="127.0.0.1", Origin="https://127.0.0.2").status == 403


def test_a_link_from_another_page_may_be_followed_to_read(world: World) -> None:
    app = app_with(world)
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert ask(app, "/", headers=link, peer=REMOTE).status == 200
    form = ask(app, "/vms/web1/refresh", method="POST", headers=link, peer=Peer("unix", pid=1, uid=0, gid=0))
    assert form.status == 403


def test_no_answer_may_be_framed_embedded_or_read_elsewhere(world: World) -> None:
    app = app_with(world)
    for path in ("/vms", "/", "/docs", "/nothing"):
        for accept in ("application/json", "text/html"):
            headers = ask(
                app, path, headers={"Origin": "http://127.0.0.1", "Host": "127.0.0.1", "Accept": accept}
            ).headers
            assert "frame-ancestors 'none'" in headers["content-security-policy"]
            assert headers["cross-origin-resource-policy"] == "same-origin"
            assert not [name for name in headers if name.startswith("access-control-")]


# -- what may be listened on


OPEN = "0.0.0.0:0"


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({}, "api.read_token_file (else everybody there may read) and api.tls_certificate_file"),
        ({"read_token_file": "/t"}, "set api.tls_certificate_file and api.tls_key_file (else tokens can be overheard)"),
        ({"tls_certificate_file": "/c"}, "set api.read_token_file (else everybody there may read);"),
    ],
)
def test_beyond_loopback_needs_a_token_and_tls(settings: dict[str, str], told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        open_sockets(ApiConfig(socket="", listen=OPEN, **settings))  # type: ignore[arg-type]
    (line,) = caught.value.faults
    assert "api.listen: 0.0.0.0 is not loopback" in line
    assert told in line


@pytest.mark.parametrize(
    "settings",
    [
        {"listen": "127.0.0.1:0"},
        {"listen": "localhost:0"},
        {"listen": OPEN, "insecure": True},
        {"listen": OPEN, "read_token_file": "/t", "tls_certificate_file": "/c"},
    ],
)
def test_loopback_and_what_is_protected_is_listened_on(settings: dict[str, Any]) -> None:
    found = open_sockets(ApiConfig(socket="", **settings))
    assert found
    close_sockets(found)


def test_an_inherited_tcp_socket_is_looked_at_too() -> None:
    inherited = listen_tcp(OPEN)
    with pytest.raises(ConfigError, match="not loopback"):
        open_sockets(ApiConfig(socket=""), inherited)


# -- TLS


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate of 127.0.0.1 and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl (apt-get install openssl)")
    return make_certificate(tmp_path_factory.mktemp("tls"), "first")


def make_certificate(directory: Path, name: str) -> tuple[Path, Path]:
    files = directory / f"{name}.pem", directory / f"{name}.key"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
    ]
    names = ["-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*command, *names, "-out", files[0], "-keyout", files[1]], check=True, capture_output=True)
    files[1].chmod(0o600)
    return files


@pytest.fixture
def tls_settings(certificate: tuple[Path, Path]) -> ApiConfig:
    return ApiConfig(tls_certificate_file=str(certificate[0]), tls_key_file=str(certificate[1]))


QUICK = Limits(head_seconds=0.6, connections=8, each=8)


@pytest.fixture
def tls_port(world: World, tmp_path: Path, tls_settings: ApiConfig) -> Iterator[int]:
    (listener,) = listen_tcp("127.0.0.1:0")
    port: int = listener.getsockname()[1]
    context = api_tls.context_of(tls_settings)
    with serving(world, tmp_path, app=app_with(world), sockets=[listener], limits=QUICK, tls=context):
        yield port


def https(port: int, trusted: Path) -> http.client.HTTPSConnection:
    context = ssl.create_default_context(cafile=str(trusted))
    return http.client.HTTPSConnection("127.0.0.1", port, timeout=5, context=context)


def test_tls_is_spoken_and_verified(tls_port: int, certificate: tuple[Path, Path]) -> None:
    connection = https(tls_port, certificate[0])
    for _ in range(3):
        connection.request("GET", "/vms/web1")
        answer = connection.getresponse()
        assert (answer.status, b"web1" in answer.read()) == (200, True)
    assert connection.sock is not None
    connection.close()


def test_without_tls_nothing_is_answered(tls_port: int) -> None:
    with socket.create_connection(("127.0.0.1", tls_port), timeout=5) as client:
        client.sendall(b"GET /vms HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        got = b""
        with contextlib.suppress(ConnectionResetError):
            while data := client.recv(4096):
                got += data
    assert b"HTTP" not in got


def test_old_tls_is_refused(tls_port: int, certificate: tuple[Path, Path]) -> None:
    context = ssl.create_default_context(cafile=str(certificate[0]))
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    with socket.create_connection(("127.0.0.1", tls_port), timeout=5) as plain, pytest.raises((ssl.SSLError, OSError)):
        context.wrap_socket(plain, server_hostname="127.0.0.1")


def test_who_does_not_shake_hands_is_hung_up_on(tls_port: int, certificate: tuple[Path, Path]) -> None:
    """Also the places of connections in a handshake are counted, and given back."""
    silent = [socket.create_connection(("127.0.0.1", tls_port), timeout=5) for _ in range(QUICK.connections + 4)]
    begun = time.monotonic()
    for one in silent:
        with contextlib.suppress(ConnectionResetError):
            assert one.recv(1) == b""
        one.close()
    assert time.monotonic() - begun < 3
    for _ in range(2 * QUICK.connections):
        connection = https(tls_port, certificate[0])
        connection.request("GET", "/healthz", headers={"Connection": "close"})
        assert connection.getresponse().status == 200
        connection.close()


def test_a_handshake_that_is_cut_off_takes_no_place(tls_port: int, certificate: tuple[Path, Path]) -> None:
    for _ in range(3 * QUICK.connections):
        with socket.create_connection(("127.0.0.1", tls_port), timeout=5) as client, contextlib.suppress(OSError):
            client.sendall(b"\x16\x03\x01\x00\xff\x01")
            client.shutdown(socket.SHUT_WR)
            client.recv(1)  # until it is given up there
    connection = https(tls_port, certificate[0])
    connection.request("GET", "/healthz")
    assert connection.getresponse().status == 200
    connection.close()


def test_a_renewed_certificate_is_used_for_new_connections(
    world: World, tmp_path: Path, certificate: tuple[Path, Path], tls_settings: ApiConfig
) -> None:
    context = api_tls.context_of(tls_settings)
    assert context is not None
    (listener,) = listen_tcp("127.0.0.1:0")
    port = listener.getsockname()[1]
    renewed = make_certificate(tmp_path, "second")
    with serving(world, tmp_path, app=app_with(world), sockets=[listener], tls=context):
        before = https(port, certificate[0])
        before.request("GET", "/healthz")
        assert before.getresponse().read()
        api_tls.load(context, ApiConfig(tls_certificate_file=str(renewed[0]), tls_key_file=str(renewed[1])))
        after = https(port, renewed[0])
        after.request("GET", "/healthz")
        assert after.getresponse().status == 200
        before.request("GET", "/healthz")
        assert before.getresponse().status == 200
        before.close()
        after.close()


def test_tls_files_that_do_not_do_are_said(tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    good, key = map(str, certificate)
    other = make_certificate(tmp_path, "other")[1]
    empty = tmp_path / "empty.pem"
    empty.write_text("")
    exposed = tmp_path / "exposed.key"
    exposed.write_text(certificate[1].read_text())
    exposed.chmod(0o644)
    for settings, told in (
        ({"tls_certificate_file": good}, "api.tls_key_file: not set"),
        ({"tls_key_file": key}, "api.tls_certificate_file: not set"),
        ({"tls_certificate_file": "/none", "tls_key_file": key}, "No such file"),
        ({"tls_certificate_file": good, "tls_key_file": "/none"}, "cannot be read"),
        ({"tls_certificate_file": good, "tls_key_file": str(other)}, "belong together"),
        ({"tls_certificate_file": str(empty), "tls_key_file": key}, "must be PEM"),
        ({"tls_certificate_file": good, "tls_key_file": str(exposed)}, "chmod 640"),
    ):
        with pytest.raises(ConfigError) as caught:
            api_tls.context_of(ApiConfig(**settings))  # type: ignore[arg-type]
        assert len(caught.value.faults) == 1
        assert told in caught.value.faults[0]


# -- the socket's place


def test_a_folder_that_anybody_may_change_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(Unavailable, match=r"anybody may replace files in .*chmod o-w"):
        open_sockets(ApiConfig(socket=str(folder / "api.sock")))
    folder.chmod(0o1777)
    close_sockets(open_sockets(ApiConfig(socket=str(folder / "api.sock"))))


# -- nicmapctl's side


def test_nicmapctl_verifies_and_shows_its_token(
    world: World,
    tmp_path: Path,
    certificate: tuple[Path, Path],
    tls_settings: ApiConfig,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (listener,) = listen_tcp("127.0.0.1:0")
    url = f"https://127.0.0.1:{listener.getsockname()[1]}"
    context = api_tls.context_of(tls_settings)
    token = token_file(tmp_path, WRITE.encode())

    def nicmapctl(*arguments: str) -> tuple[int, str]:
        code = program.run([*arguments])
        found = capsys.readouterr()
        return code, found.out + found.err

    with serving(world, tmp_path, app=app_with(world, **BOTH), sockets=[listener], tls=context):
        code, text = nicmapctl("--url", url, "list")
        assert (code, "is not trusted" in text, "--ca-file" in text) == (8, True, True)
        monkeypatch.setenv("NICMAPD_CA_FILE", str(certificate[0]))
        code, text = nicmapctl("--url", url.replace("127.0.0.1", "localhost"), "list")
        assert (code, "is for another name" in text, "--url https://NAME:PORT" in text) == (8, True, True)
        code, text = nicmapctl("--url", url.replace("https", "http"), "list")
        assert (code, "its address: http or https? (" in text) == (8, True)
        code, text = nicmapctl("--url", url, "list")
        assert (code, "needs a token" in text) == (9, True)
        code, text = nicmapctl("--url", url, "--token-file", str(token), "refresh", "web1")
        assert code == 0, text
        monkeypatch.setenv("NICMAPD_TOKEN_FILE", str(token))
        assert nicmapctl("--url", url, "resolve", "web1", "eth0")[0] == 0


@pytest.mark.parametrize("content", [b"", b"two words", b"two\nlines", b"\x1b[31m"])
def test_nicmapctl_says_what_is_wrong_with_a_token_file(
    tmp_path: Path, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    token = token_file(tmp_path, content)
    assert program.run(["--url", "http://127.0.0.1:1", "--token-file", str(token), "list"]) == 2
    assert "it must hold one token" in capsys.readouterr().err


def test_nicmapctl_says_what_is_wrong_with_a_ca_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "ca").write_text("nothing")
    for name in ("ca", "none"):
        assert program.run(["--url", "https://127.0.0.1:1", "--ca-file", str(tmp_path / name), "list"]) == 2
        assert f"--ca-file {tmp_path}/{name}: " in capsys.readouterr().err
