"""The real daemon as a process of its own, on a lab's libvirt, and the real command line against it."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.lab.waiting import Deadline, LabTimeout, eventually

#: The programs of the environment that the tests run in.
BIN = Path(sys.executable).parent


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path, *, timeout: float = 15.0) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = str(path)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer of the daemon; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Nicmapd:
    """A nicmapd in a folder of its own under `parent`. Settings are `section.key` -> text for its environment."""

    def __init__(self, uri: str, *, parent: Path | None = None, settings: Mapping[str, str] | None = None) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="nicmapd-", dir=parent)
        self.folder = Path(self._folder.name)
        self.socket = self.folder / "api.sock"
        self.store = self.folder / "map.db"
        self.log = self.folder / "log"
        self.settings = {
            "libvirt.uri": uri,
            "store.url": f"sqlite:///{self.store}",
            "api.socket": str(self.socket),
            "poll.interval": "2",
            "log.level": "debug",
            **(settings or {}),
        }
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Nicmapd:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.process is not None:
            ended = self.process.poll()
            if error is not None or ended not in (None, 0, -signal.SIGKILL):
                # A fixture does not learn of the failure of its test, so a crash is always told.
                print(f"nicmapd {'runs' if ended is None else f'ended with {ended}'}; its last words:", file=sys.stderr)
                print("\n".join(self.words().splitlines()[-60:]), file=sys.stderr)
            if ended is None:
                self.kill()
        self._folder.cleanup()

    # -- life

    def environment(self) -> dict[str, str]:
        own = {f"NICMAPD_{key.upper().replace('.', '__')}": value for key, value in self.settings.items()}
        return {**os.environ, **own, "NICMAPD_SOCKET": str(self.socket)}

    def start(self, *, within: float = 15.0) -> Nicmapd:
        """Starts it and waits until it serves."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [str(BIN / "nicmapd")], env=self.environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        try:
            eventually(self._serves, within=within, what="the daemon serves")
        except BaseException:
            self.kill()
            print(self.words(), file=sys.stderr)
            raise
        return self

    def _serves(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise RuntimeError(f"nicmapd ended with {self.process.returncode}:\n{self.words()}")
        try:
            return self.get("/healthz")[0] == 200
        except OSError:
            return False

    def stop(self, *, number: int = signal.SIGTERM, within: float = 10.0) -> tuple[int, float]:
        """Ends it by a signal; its exit code and how many seconds it took."""
        assert self.process is not None
        deadline = Deadline(within)
        self.process.send_signal(number)
        try:
            code = self.process.wait(timeout=within)
        except subprocess.TimeoutExpired as error:
            raise LabTimeout(f"nicmapd did not stop within {within} s:\n{self.words()}") from error
        return code, within - deadline.left

    def kill(self) -> None:
        """SIGKILL: what a crash or a power loss leaves."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def words(self) -> str:
        """What it has logged."""
        return self.log.read_text(errors="backslashreplace")

    # -- asking it

    def get(self, path: str, *, method: str = "GET", headers: Mapping[str, str] | None = None) -> tuple[int, Any]:
        """Status and JSON of a request; the path's segments as given, so percent-encode them."""
        connection = UnixConnection(self.socket)
        try:
            connection.request(method, path, headers=dict(headers or {}))
            answer = connection.getresponse()
            body = answer.read()
        finally:
            connection.close()
        return answer.status, json.loads(body) if body.strip().startswith((b"{", b"[")) else body.decode()

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: Mapping[str, str] | None = None,
        within: float = 60.0,
    ) -> Reply:
        """Any request, with `body` as its JSON if there is one; may wait as long as a guest does."""
        head = {**({"Content-Type": "application/json"} if body is not None else {}), **(headers or {})}
        return self.pass_on(method, path, head, b"" if body is None else json.dumps(body).encode(), within=within)

    def pass_on(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes, *, within: float = 60.0
    ) -> Reply:
        """A request that somebody else has made up."""
        connection = UnixConnection(self.socket, timeout=within)
        try:
            connection.request(method, path, body=body or None, headers=dict(headers))
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        return Reply(answer.status, {name.lower(): value for name, value in answer.getheaders()}, content)

    def nics(self, vm: str) -> list[dict[str, Any]]:
        """The interfaces of a VM, in the order of its XML; an AssertionError if it has none yet."""
        status, body = self.get(f"/vms/{urllib.parse.quote(vm, safe='')}/interfaces")
        assert status == 200, body
        return list(body["items"])

    def names(self, vm: str) -> dict[str, str | None]:
        """MAC -> guest name, only of what is fresh."""
        return {
            nic["mac"]: nic["name"] for nic in self.nics(vm) if nic["name_state"] in ("fresh", "unseen", "ambiguous")
        }

    def vm(self, vm: str) -> dict[str, Any]:
        status, body = self.get(f"/vms/{urllib.parse.quote(vm, safe='')}")
        assert status == 200, body
        return dict(body)

    def ctl(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs nicmapctl against it."""
        return subprocess.run(
            [str(BIN / "nicmapctl"), *arguments], env=self.environment(), capture_output=True, text=True, check=False
        )
