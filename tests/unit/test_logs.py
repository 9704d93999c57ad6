"""What the daemon's log lines look like, and that no text in them can forge a field of the journal."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import socket
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nicmapd import logs
from nicmapd.api.door import audit
from nicmapd.api.door.peer import Peer
from nicmapd.config import LogConfig

_log = logging.getLogger("nicmapd.watch")


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    """pytest's own handlers come back after a test that set up logging."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    for one in root.handlers:
        if isinstance(one, logs.JournalHandler):
            one.close()
    root.handlers[:] = handlers
    root.setLevel(level)


class FakeJournal:
    """journald's end of the native protocol, as its document describes it: each entry as a list of fields."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.settimeout(5)

    def close(self) -> None:
        self._socket.close()

    def entry(self) -> list[tuple[str, str]]:
        data, descriptors, _, _ = socket.recv_fds(self._socket, 1 << 20, 1)
        if descriptors:
            assert data == b""
            with os.fdopen(descriptors[0], "rb") as file:
                file.seek(0)
                data = file.read()
        return parse(data)


def parse(data: bytes) -> list[tuple[str, str]]:
    found = []
    while data:
        line, _, rest = data.partition(b"\n")
        if b"=" in line:
            name, _, value = line.partition(b"=")
            data = rest
        else:
            (size,) = struct.unpack("<Q", rest[:8])
            name, value, end, data = line, rest[8 : 8 + size], rest[8 + size : 9 + size], rest[9 + size :]
            assert end == b"\n"
        found.append((name.decode(), value.decode()))
    return found


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[FakeJournal]:
    fake = FakeJournal(tmp_path / "socket")
    yield fake
    fake.close()


@pytest.fixture
def stream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[io.TextIOWrapper]:
    """A stderr that is the journal's, as systemd tells a service."""
    with (tmp_path / "stderr").open("w+") as file:
        status = os.fstat(file.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
        yield file


def written(stream: io.TextIOWrapper) -> str:
    stream.flush()
    stream.seek(0)
    return stream.read()


# -- the journal


def test_the_journal_gets_what_a_line_is_about(journal: FakeJournal, stream: io.TextIOWrapper) -> None:
    logs.start_logging(LogConfig(), stream, journal.path)
    about = {"vm": "web1", "mac": ["52:54:00:00:00:01", "52:54:00:00:00:02"], "kind": ("nic.renamed",)}
    _log.warning("%s: eth0 is %s now", "web1", "lan0", extra={**about, "message_id": logs.MAP_CHANGED})
    entry = journal.entry()
    assert [name for name, _ in entry if name == "NICMAP_MAC"] == ["NICMAP_MAC", "NICMAP_MAC"]
    fields = dict(entry)
    assert fields["MESSAGE"] == "web1: eth0 is lan0 now"
    assert fields["PRIORITY"] == "4"
    assert fields["SYSLOG_IDENTIFIER"] == "nicmapd"
    assert fields["LOGGER"] == "nicmapd.watch"
    assert fields["NICMAP_VM"] == "web1"
    assert fields["NICMAP_KIND"] == "nic.renamed"
    assert fields["MESSAGE_ID"] == logs.MAP_CHANGED
    assert "NICMAP_UUID" not in fields
    assert written(stream) == ""


@settings(deadline=None)
@given(text=st.text(), vm=st.text(st.characters(codec="utf-8")))
def test_no_text_forges_a_field(text: str, vm: str) -> None:
    record = logging.LogRecord("nicmapd", logging.INFO, __file__, 1, "%s", (text,), None, "run")
    record.vm = vm
    entry = parse(b"".join(logs._entry(record, record.getMessage())))
    names = ["MESSAGE", "PRIORITY", "SYSLOG_IDENTIFIER", "LOGGER", "CODE_FILE", "CODE_LINE", "CODE_FUNC", "NICMAP_VM"]
    assert [name for name, _ in entry] == names
    assert dict(entry)["MESSAGE"] == text.encode(errors="backslashreplace").decode()
    assert dict(entry)["NICMAP_VM"] == vm


def test_a_message_with_lines_like_fields_stays_one_message(journal: FakeJournal, stream: io.TextIOWrapper) -> None:
    logs.start_logging(LogConfig(), stream, journal.path)
    evil = "x\nPRIORITY=0\nNICMAP_VM=web2\n\nNICMAP_VM\n\x04\0\0\0\0\0\0\0web2\n"
    _log.info("%s", evil, extra={"vm": "web1"})
    entry = journal.entry()
    assert [value for name, value in entry if name == "NICMAP_VM"] == ["web1"]
    assert dict(entry)["MESSAGE"] == evil


def test_an_entry_too_long_for_a_datagram_arrives_whole(journal: FakeJournal, stream: io.TextIOWrapper) -> None:
    logs.start_logging(LogConfig(), stream, journal.path)
    _log.info("%s", "a" * 4_000_000)
    assert dict(journal.entry())["MESSAGE"] == "a" * 4_000_000


def test_a_traceback_is_in_the_same_entry(journal: FakeJournal, stream: io.TextIOWrapper) -> None:
    logs.start_logging(LogConfig(), stream, journal.path)
    try:
        raise ValueError("no")
    except ValueError:
        _log.exception("it failed")
    message = dict(journal.entry())["MESSAGE"]
    assert message.startswith("it failed\nTraceback")
    assert message.endswith("ValueError: no")


def test_where_the_journal_is_deaf_stderr_gets_the_line(journal: FakeJournal, stream: io.TextIOWrapper) -> None:
    logs.start_logging(LogConfig(), stream, journal.path)
    journal.close()
    _log.error("still here\nand here")
    assert written(stream) == "<3>still here\n<3>and here\n"


def test_a_journal_that_hangs_holds_nobody_up(journal: FakeJournal, stream: io.TextIOWrapper) -> None:
    handler = logs.JournalHandler(logging.StreamHandler(stream), journal.path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other, contextlib.suppress(BlockingIOError):
        other.setblocking(False)
        while True:  # until its queue is full
            other.sendto(b"x", str(journal.path))
    handler._channel.settimeout(0.01)
    handler.handle(logging.LogRecord("nicmapd", logging.INFO, __file__, 1, "x", (), None, "run"))
    handler.close()
    assert written(stream) == ""


def test_without_a_native_socket_stderr_carries_the_priority(stream: io.TextIOWrapper, tmp_path: Path) -> None:
    logs.start_logging(LogConfig(), stream, tmp_path / "none")
    _log.warning("hm")
    assert written(stream) == "<4>hm\n"


def test_the_journal_is_used_only_where_stderr_is_its_own(journal: FakeJournal) -> None:
    plain = io.StringIO()
    logs.start_logging(LogConfig(), plain, journal.path)
    _log.info("hello")
    assert plain.getvalue().endswith(" info    hello\n")


def test_a_new_start_closes_the_old_channel(journal: FakeJournal, stream: io.TextIOWrapper) -> None:
    logs.start_logging(LogConfig(), stream, journal.path)
    (old,) = logging.getLogger().handlers
    assert isinstance(old, logs.JournalHandler)
    logs.start_logging(LogConfig(level="warning"), stream, journal.path)
    assert old._channel.fileno() == -1
    _log.info("not any more")
    _log.warning("this")
    assert dict(journal.entry())["MESSAGE"] == "this"


# -- other forms


def test_json_lines_say_what_they_are_about() -> None:
    stream = io.StringIO()
    logs.start_logging(LogConfig(format="json"), stream)
    _log.info("two\nlines", extra={"vm": "web1", "mac": ["52:54:00:00:00:01"]})
    (line,) = stream.getvalue().splitlines()
    entry = json.loads(line)
    assert {key: entry[key] for key in ("level", "message", "vm", "mac")} == {
        "level": "info",
        "message": "two\nlines",
        "vm": "web1",
        "mac": ["52:54:00:00:00:01"],
    }
    assert "kind" not in entry


def test_the_daemon_logs_to_stderr_by_default() -> None:
    logs.start_logging(LogConfig(format="plain"))
    (handler,) = logging.getLogger().handlers
    assert isinstance(handler, logging.StreamHandler)
    assert handler.stream is sys.stderr


def test_the_audit_is_told_whatever_the_level() -> None:
    stream = io.StringIO()
    logs.start_logging(LogConfig(level="error", format="plain"), stream)
    peer = Peer("unix", pid=7, uid=1000)
    audit.Audit().write(peer, method="POST", path="/vms/a/refresh", body=b"", status=200, seconds=1)
    _log.info("not told")
    assert stream.getvalue().endswith("info    uid 1000 (pid 7): POST /vms/a/refresh: 200 (1.00 s)\n")
    assert "not told" not in stream.getvalue()
