"""An agent of this process instead of the guest's qemu-ga: speaks its wire protocol and answers what a test says.

libvirt talks to the guest's agent channel as ever; in the guest a relay passes all bytes on to a second channel, and
this class sits at the host's end of that one. So libvirt and QEMU are real, only the words are not.
"""

from __future__ import annotations

import base64
import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.lab.waiting import eventually

Request = dict[str, Any]
# Bytes to send one after the other. The answering thread waits wherever the iterator waits.
Reply = Callable[[Request], Iterator[bytes]]

SENTINEL = b"\xff"
VERSION = "7.2.22"


class AgentError(Exception):
    """Sent as an `error` object; the text is its `desc`."""

    def __init__(self, text: str, *, kind: str = "GenericError") -> None:
        super().__init__(text)
        self.kind = kind


class FakeAgent:
    """Serves the host's end of a guest's relay channel; use as a context manager, see Guest.fake_agent().

    Answers guest-sync, guest-sync-delimited, guest-ping, guest-info, guest-network-get-interfaces (from `interfaces`),
    guest-file-open, -read, -close (from `files`) and guest-fsfreeze-status; every command, the syncs too, can be
    answered otherwise with answer*() and silence(). A change holds from the next request on.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.interfaces: Any = []
        self.files: dict[str, bytes] = {}
        self.disabled: set[str] = set()
        self.requests: list[Request] = []
        self._replies: dict[str, Reply] = {}
        self._open_files: dict[int, list[bytes]] = {}
        self._ending = threading.Event()
        self._socket = socket.socket(socket.AF_UNIX)
        self._thread = threading.Thread(target=self._serve, name=f"fake agent {path.name}", daemon=True)

    def __enter__(self) -> FakeAgent:
        self._socket.connect(str(self.path))
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ending.set()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(timeout=5)
        self._socket.close()

    # --- what to answer ---

    def answer(self, command: str, value: Any) -> None:
        """Answer with {"return": value}."""
        self.answer_raw(command, json.dumps({"return": value}).encode() + b"\n")

    def answer_error(self, command: str, text: str, *, kind: str = "GenericError") -> None:
        """Answer with an error of that class and description."""
        self.answer_raw(command, _error(AgentError(text, kind=kind)))

    def answer_raw(self, command: str, data: bytes, *, chunk: int = 0, pause: float = 0.0) -> None:
        """Answer with these very bytes (a reply ends with a newline); `chunk` bytes each `pause` seconds if given."""

        def reply(_: Request) -> Iterator[bytes]:
            step = chunk or max(1, len(data))
            for start in range(0, len(data), step):
                yield data[start : start + step]
                if pause and self._ending.wait(pause):
                    return

        self._replies[command] = reply

    def answer_with(self, command: str, value: Callable[[Request], Any]) -> None:
        """Answer with {"return": value(request)}; `value` may raise AgentError, or block to be slow."""
        self._replies[command] = lambda request: iter([self._result(value, request)])

    def silence(self, *commands: str) -> None:
        """Read these commands and never answer them."""
        for command in commands:
            self._replies[command] = lambda _: iter(())

    def behave(self, *commands: str) -> None:
        """Answer these commands (default all) as a good agent again."""
        for command in commands or tuple(self._replies):
            self._replies.pop(command, None)

    def send(self, data: bytes) -> None:
        """Send bytes that nobody asked for."""
        self._socket.sendall(data)

    def add_nic(self, name: Any, mac: str, *, pci: str = "", addresses: tuple[str, ...] = ()) -> None:
        """Add an interface ("192.0.2.5/24" as address) and, with `pci`, the sysfs files that show it as a device."""
        entry: dict[str, Any] = {"name": name, "hardware-address": mac, "ip-addresses": []}
        for address in addresses:
            ip, _, prefix = address.partition("/")
            kind = "ipv6" if ":" in ip else "ipv4"
            entry["ip-addresses"].append({"ip-address": ip, "ip-address-type": kind, "prefix": int(prefix)})
        self.interfaces.append(entry)
        folder = f"/sys/class/net/{name}"
        self.files[f"{folder}/address"] = f"{mac}\n".encode()
        if pci:
            uevent = f"DRIVER=virtio-pci\nPCI_CLASS=20000\nPCI_SLOT_NAME={pci}\n".encode()
            self.files[f"{folder}/device/../uevent"] = uevent
            self.files[f"{folder}/device/uevent"] = b"DRIVER=virtio_net\nMODALIAS=virtio:d00000001v00001AF4\n"

    # --- what was asked ---

    def wait_request(self, command: str, *, count: int = 1, within: float = 5.0) -> Request:
        """Wait until `command` was received `count` times; that request."""

        def received() -> list[Request]:
            found = [request for request in list(self.requests) if request.get("execute") == command]
            return found[count - 1 :]

        return eventually(received, within=within, what=f"{command} at the fake agent")[0]

    # --- private ---

    def _serve(self) -> None:
        received = b""
        with contextlib.suppress(OSError):
            while data := self._socket.recv(65536):
                *lines, received = (received + data).split(b"\n")
                for line in lines:
                    self._handle(line.strip(SENTINEL + b" \r\t"))

    def _handle(self, line: bytes) -> None:
        try:
            request = json.loads(line)
            command = str(request["execute"])
        except (ValueError, TypeError, KeyError):
            # The rest of a line whose start went to the agent before this one.
            return
        self.requests.append(request)
        reply = self._replies.get(command)
        for data in reply(request) if reply else iter([self._good_reply(command, request)]):
            self._socket.sendall(data)

    def _good_reply(self, command: str, request: Request) -> bytes:
        known = self._commands()
        if command not in known:
            return _error(AgentError(f"The command {command} has not been found", kind="CommandNotFound"))
        if command in self.disabled:
            text = f"Command {command} has been disabled: the command is not allowed"
            return _error(AgentError(text, kind="CommandNotFound"))
        data = self._result(known[command], request)
        return SENTINEL + data if command == "guest-sync-delimited" else data

    def _commands(self) -> dict[str, Callable[[Request], Any]]:
        return {
            "guest-sync": _sync,
            "guest-sync-delimited": _sync,
            "guest-ping": lambda _: {},
            "guest-info": self._info,
            "guest-network-get-interfaces": lambda _: self.interfaces,
            "guest-fsfreeze-status": lambda _: "thawed",
            "guest-file-open": self._file_open,
            "guest-file-read": self._file_read,
            "guest-file-close": self._file_close,
        }

    def _result(self, value: Callable[[Request], Any], request: Request) -> bytes:
        try:
            return json.dumps({"return": value(request)}).encode() + b"\n"
        except AgentError as error:
            return _error(error)

    def _info(self, _: Request) -> Any:
        names = sorted(self._commands())
        commands = [{"name": n, "enabled": n not in self.disabled, "success-response": True} for n in names]
        return {"version": VERSION, "supported_commands": commands}

    def _file_open(self, request: Request) -> int:
        path = request["arguments"]["path"]
        if path not in self.files:
            raise AgentError(f"failed to open file '{path}' (mode: 'r'): No such file or directory")
        # As qemu-ga does: numbers that are never used twice.
        handle = 1000 + sum(1 for asked in self.requests if asked["execute"] == "guest-file-open")
        self._open_files[handle] = [self.files[path]]
        return handle

    def _file_read(self, request: Request) -> Any:
        rest = self._handle_of(request)
        count = int(request["arguments"].get("count", 4096))
        part, rest[0] = rest[0][:count], rest[0][count:]
        return {"count": len(part), "buf-b64": base64.b64encode(part).decode(), "eof": len(part) < count}

    def _file_close(self, request: Request) -> Any:
        self._handle_of(request)
        del self._open_files[request["arguments"]["handle"]]
        return {}

    def _handle_of(self, request: Request) -> list[bytes]:
        handle = request["arguments"]["handle"]
        if handle not in self._open_files:
            raise AgentError(f"handle '{handle}' has not been found")
        return self._open_files[handle]


def _sync(request: Request) -> Any:
    return request["arguments"]["id"]


def _error(error: AgentError) -> bytes:
    return json.dumps({"error": {"class": error.kind, "desc": str(error)}}).encode() + b"\n"
