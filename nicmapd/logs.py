"""How the daemon logs: to stderr, for a terminal, a file or a collector of JSON lines, or to the journal itself.

A record may say what it is about, by `extra=`: the words of `FIELDS`, each a text or a sequence of texts. They become
fields of the journal (`journalctl NICMAP_VM=web1`) and of JSON lines.
"""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import socket
import struct
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from nicmapd.config import LogConfig
from nicmapd.model import Change, VmRef
from nicmapd.text import printable

#: Word of `extra=` -> field of the journal. `vm` is the VM's name, `kind` a kind of the change feed.
FIELDS = {
    "vm": "NICMAP_VM",
    "uuid": "NICMAP_UUID",
    "mac": "NICMAP_MAC",
    "kind": "NICMAP_KIND",
    "message_id": "MESSAGE_ID",
    "who": "NICMAP_WHO",
    "asked": "NICMAP_ASKED",
    "outcome": "NICMAP_OUTCOME",
}
#: `message_id` of lines that tell what a pass changed in the map: `journalctl MESSAGE_ID=...` shows all of them.
MAP_CHANGED = "e3b29ca8f4c64f5183fff2e2b888c7aa"
#: `message_id` of the lines that tell who asked the API for a change: `who`, `asked` and `outcome` say it in parts.
AUDIT = "5d1f0cb6e4a94b0f9c1e7a52d80c63be"

JOURNAL = Path("/run/systemd/journal/socket")
#: Seconds for one entry. A journal that takes none for so long has lost it: the work goes on.
_JOURNAL_SECONDS = 1.0

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_COLOURS = {logging.WARNING: "\x1b[33m", logging.ERROR: "\x1b[31m", logging.CRITICAL: "\x1b[31m"}
#: syslog(3) priorities, as systemd reads them from the beginning of a line of stderr (sd-daemon(3)).
_PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}


def about(vm: VmRef, changes: Sequence[Change] = ()) -> dict[str, object]:
    """The `extra=` of a line about a VM, and about what changed there."""
    found: dict[str, object] = {"vm": printable(vm.name), "uuid": vm.uuid}
    if changes:
        found["kind"] = sorted({change.kind.value for change in changes})
        found["mac"] = sorted({change.mac for change in changes if change.mac})
        found["message_id"] = MAP_CHANGED
    return found


def _time(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class _Plain(logging.Formatter):
    def __init__(self, *, colours: bool) -> None:
        super().__init__("%(message)s")
        self._colours = colours

    def format(self, record: logging.LogRecord) -> str:
        line = f"{_time(record)} {record.levelname.lower():<7} {super().format(record)}"
        colour = _COLOURS.get(record.levelno, "")
        return f"{colour}{line}\x1b[0m" if self._colours and colour else line


class _Prefixed(logging.Formatter):
    """For the journal through stderr: each line with its priority, so that a traceback is one severity."""

    def format(self, record: logging.LogRecord) -> str:
        prefix = f"<{_PRIORITIES.get(record.levelno, 6)}>"
        return "\n".join(prefix + line for line in super().format(record).splitlines())


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, object] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        entry |= {word: getattr(record, word) for word in FIELDS if hasattr(record, word)}
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry)


class JournalHandler(logging.Handler):
    """The journal's native protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL). Where it is deaf, `instead` takes the record.

    Each value goes with its length: no text in it, a guest's least of all, can begin another field.
    """

    def __init__(self, instead: logging.Handler, address: Path = JOURNAL) -> None:
        super().__init__()
        self._instead = instead
        self._address = str(address)
        self._channel = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._channel.settimeout(_JOURNAL_SECONDS)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._send(b"".join(_entry(record, self.format(record))))
        except TimeoutError:
            pass  # it hangs, and so does the stderr that it reads
        except OSError:
            self._instead.handle(record)
        except Exception:  # noqa: BLE001  as logging's own handlers: a record that cannot be written ends nothing
            self.handleError(record)

    def close(self) -> None:
        self._channel.close()
        super().close()

    def _send(self, entry: bytes) -> None:
        try:
            self._channel.sendto(entry, self._address)
        except OSError as error:
            if error.errno not in (errno.EMSGSIZE, errno.ENOBUFS):
                raise
            # Too long for a datagram: the journal takes a sealed file in memory instead.
            descriptor = os.memfd_create("nicmapd-log", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
            with os.fdopen(descriptor, "wb") as file:
                file.write(entry)
                file.flush()
                seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL
                fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
                rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", descriptor))]
                self._channel.sendmsg([], rights, 0, self._address)


def _entry(record: logging.LogRecord, text: str) -> Iterator[bytes]:
    yield _field("MESSAGE", text)
    yield _field("PRIORITY", str(_PRIORITIES.get(record.levelno, 6)))
    yield _field("SYSLOG_IDENTIFIER", "nicmapd")
    yield _field("LOGGER", record.name)
    yield _field("CODE_FILE", record.pathname)
    yield _field("CODE_LINE", str(record.lineno))
    yield _field("CODE_FUNC", record.funcName)
    for word, name in FIELDS.items():
        value = getattr(record, word, None)
        for one in (value,) if isinstance(value, str) else value or ():
            yield _field(name, one)


def _field(name: str, value: str) -> bytes:
    content = value.encode(errors="backslashreplace")
    return b"%b\n%b%b\n" % (name.encode(), struct.pack("<Q", len(content)), content)


def _under_journal(stream: TextIO) -> bool:
    """Whether `stream` is the journal's (systemd.exec(5), JOURNAL_STREAM)."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def start_logging(settings: LogConfig, stream: TextIO | None = None, journal: Path = JOURNAL) -> None:
    """Sends all log records of the process to `stream` (stderr) or the journal behind it, as `settings` says."""
    root = logging.getLogger()
    before = list(root.handlers)
    root.handlers[:] = [_handler(settings.format, stream or sys.stderr, journal)]
    root.setLevel(_LEVELS[settings.level])
    for old in before:
        if isinstance(old, JournalHandler):
            old.close()
    # Their INFO lines (each migration looked at, each job run, each request) tell an operator nothing.
    for noisy in ("alembic", "apscheduler", "asyncio", "sqlalchemy", "tzlocal", "uvicorn"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, root.level))


def _handler(form: str, stream: TextIO, journal: Path) -> logging.Handler:
    handler: logging.Handler = logging.StreamHandler(stream)
    if form == "json":
        handler.setFormatter(_Json())
    elif form == "auto" and _under_journal(stream):
        handler.setFormatter(_Prefixed())
        if journal.is_socket():
            handler = JournalHandler(handler, journal)
    else:
        colours = form == "auto" and stream.isatty() and not os.environ.get("NO_COLOR")
        handler.setFormatter(_Plain(colours=colours))
    return handler
