"""How the daemon logs: to stderr, for a terminal, a file, the journal or a collector of JSON lines."""

from __future__ import annotations

import json
import logging
import os
import sys
from datetime import UTC, datetime
from typing import TextIO

from nicmapd.config import LogConfig

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_COLOURS = {logging.WARNING: "\x1b[33m", logging.ERROR: "\x1b[31m", logging.CRITICAL: "\x1b[31m"}
#: syslog(3) priorities, as systemd reads them from the beginning of a line of stderr (sd-daemon(3)).
_PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}


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
        entry = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry)


def _under_journal(stream: TextIO) -> bool:
    """Whether `stream` is the journal's (systemd.exec(5), JOURNAL_STREAM)."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def start_logging(settings: LogConfig, stream: TextIO | None = None) -> None:
    """Sends all log records of the process to `stream` (stderr), as `settings` says."""
    stream = stream or sys.stderr
    formatter: logging.Formatter
    if settings.format == "json":
        formatter = _Json()
    elif settings.format == "auto" and _under_journal(stream):
        formatter = _Prefixed()
    else:
        colours = settings.format == "auto" and stream.isatty() and not os.environ.get("NO_COLOR")
        formatter = _Plain(colours=colours)
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(_LEVELS[settings.level])
    # Their INFO lines (each migration looked at, each job run, each request) tell an operator nothing.
    for noisy in ("alembic", "apscheduler", "asyncio", "sqlalchemy", "tzlocal", "uvicorn"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, root.level))
