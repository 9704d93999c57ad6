"""A PostgreSQL of our own for the tests: Debian's programs, a temporary folder, a Unix socket, no network."""

from __future__ import annotations

import ctypes
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

HOW_TO_INSTALL = "PostgreSQL is not installed: apt-get install postgresql (initdb and postgres are needed)"

_PR_SET_PDEATHSIG = 1

#: Of the folders in /tmp, before the number of the process that owns one. A Unix socket's path must be short.
_PREFIX = "nicmapd-pg-"


def find_programs() -> Path | None:
    """The folder with initdb and postgres: the newest of Debian's, or the one in PATH."""
    folders = sorted(
        (folder for folder in Path("/usr/lib/postgresql").glob("*/bin") if (folder / "initdb").exists()),
        key=lambda folder: float(folder.parent.name),
    )
    if folders:
        return folders[-1]
    found = shutil.which("initdb")
    return Path(found).resolve().parent if found else None


class PostgresServer:
    """A server for one test session. It dies with the process that started it."""

    def __init__(self, programs: Path) -> None:
        self._programs = programs
        _sweep()
        self._root = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir="/tmp"))
        self._numbers = itertools.count(1)
        # PostgreSQL refuses to run as root.
        self._user: Mapping[str, Any] = {}
        if os.geteuid() == 0:
            account = pwd.getpwnam("postgres")
            os.chown(self._root, account.pw_uid, account.pw_gid)
            self._user = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        self._initialise()
        self.process = self._start()

    def _initialise(self) -> None:
        command = [str(self._programs / "initdb"), "-D", str(self._root / "data"), "-A", "trust", "-U", "postgres"]
        command += ["--no-sync", "--no-locale", "-E", "UTF8"]
        done = subprocess.run(command, capture_output=True, text=True, cwd=self._root, check=False, **self._user)
        assert done.returncode == 0, done.stdout + done.stderr

    def _start(self) -> subprocess.Popen[bytes]:
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(self._root),
            "fsync": "off",
            "max_connections": "60",
            "shared_buffers": "16MB",
            "autovacuum": "off",
        }
        command = [str(self._programs / "postgres"), "-D", str(self._root / "data")]
        command += [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        with (self._root / "log").open("wb") as log:
            process = subprocess.Popen(
                command, stdout=log, stderr=log, cwd=self._root, preexec_fn=_die_with_parent, **self._user
            )
        self._wait_until_ready(process)
        return process

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + 30
        while True:
            try:
                self.execute("SELECT 1")
                return
            except psycopg.OperationalError:
                log = (self._root / "log").read_text()
                assert process.poll() is None, log
                assert time.monotonic() < deadline, log
                time.sleep(0.02)

    def url(self, database: str) -> str:
        return f"postgresql://postgres@/{database}?host={self._root}"

    def execute(self, statement: str, *arguments: object, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Runs one statement outside of a transaction."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(SQL(statement), arguments)
            return cursor.fetchall() if cursor.description else []

    def new_database(self, *, template: str = "template0") -> str:
        """An empty database, or a copy of one that nobody is connected to."""
        name = f"test{next(self._numbers)}"
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(SQL("CREATE DATABASE {} TEMPLATE {}").format(Identifier(name), Identifier(template)))
        return name

    def drop_database(self, name: str) -> None:
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(name)))

    def stop(self, *, how: signal.Signals = signal.SIGINT) -> None:
        """Ends the server; SIGINT is PostgreSQL's fast shutdown, SIGQUIT its crash."""
        self.process.send_signal(how)
        self.process.wait(timeout=30)

    def start(self) -> None:
        """Starts the server again, after `stop`."""
        self.process = self._start()

    def close(self) -> None:
        if self.process.poll() is None:
            self.stop(how=signal.SIGQUIT)
        shutil.rmtree(self._root, ignore_errors=True)


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGQUIT)


def _sweep() -> None:
    """Removes the folders of test sessions that were killed; their servers died with them."""
    for folder in Path("/tmp").glob(f"{_PREFIX}*-*"):
        owner = folder.name.removeprefix(_PREFIX).partition("-")[0]
        if owner.isdigit() and not Path("/proc", owner).exists():
            shutil.rmtree(folder, ignore_errors=True)


def start_server() -> PostgresServer:
    """Starts one; where PostgreSQL is missing the test fails in CI and is skipped elsewhere, both visibly."""
    programs = find_programs()
    if programs is None:
        if os.environ.get("CI"):
            pytest.fail(HOW_TO_INSTALL, pytrace=False)
        pytest.skip(HOW_TO_INSTALL)
    return PostgresServer(programs)
