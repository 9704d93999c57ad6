"""The lab's own way into a guest: a root shell behind a virtio-serial channel, which leaves the guest agent alone."""

from __future__ import annotations

import base64
import itertools
import socket
import threading
from pathlib import Path

from tests.lab.waiting import Deadline, LabTimeout


class GuestGone(RuntimeError):
    """The guest's QEMU is not running, or went away during a command."""


class LabShell:
    """Runs commands in the guest, one at a time; any thread may call.

    The guest reads a line "ID SECONDS BASE64(script)" and writes "ID STATUS BASE64(output)". One process at a time can
    use a guest's shell: QEMU serves one connection of a channel and lets others wait.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._received = b""
        self._ids = itertools.count(1)

    def run(self, script: str, *, within: float = 10.0) -> tuple[int, str]:
        """(exit status, output and errors) of a shell script. A child that it leaves in the background lives on.

        The guest kills the script after `within` seconds (status 137); LabTimeout when the guest itself does not
        answer in time, GuestGone when it has no QEMU.
        """
        deadline = Deadline(within + 1.0)
        with self._lock:
            connection = self._connect()
            number = next(self._ids)
            text = base64.b64encode(script.encode()).decode()
            try:
                connection.settimeout(deadline.left)
                connection.sendall(f"{number} {max(1, round(within))} {text}\n".encode())
                while True:
                    answer = self._read_line(connection, deadline).split(" ")
                    # Others are late answers to commands that were given up.
                    if answer[0] == str(number) and len(answer) == 3:
                        return int(answer[1]), base64.b64decode(answer[2]).decode(errors="replace")
            except TimeoutError:
                raise LabTimeout(f"guest shell {self.path.name}: no answer within {within:g} s to: {script}") from None
            except OSError as error:
                self._close()
                raise GuestGone(f"guest shell {self.path.name}: {error}") from error

    def close(self) -> None:
        """Disconnect; the next command connects again."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self._received = b""

    def _connect(self) -> socket.socket:
        if self._socket is not None and self._lost(self._socket):
            self._close()
        if self._socket is None:
            connection = socket.socket(socket.AF_UNIX)
            try:
                connection.connect(str(self.path))
                # Ends what a connection before this one may have left of a line.
                connection.sendall(b"\n")
            except OSError as error:
                connection.close()
                raise GuestGone(f"guest shell {self.path.name}: {error}") from error
            self._socket = connection
        return self._socket

    def _lost(self, connection: socket.socket) -> bool:
        """True if QEMU has closed the connection since the last command; takes in late answers."""
        connection.setblocking(False)
        try:
            data = connection.recv(65536)
        except BlockingIOError:
            return False
        except OSError:
            return True
        self._received += data
        return not data

    def _read_line(self, connection: socket.socket, deadline: Deadline) -> str:
        while b"\n" not in self._received:
            if deadline.over:
                raise TimeoutError
            connection.settimeout(deadline.left)
            data = connection.recv(65536)
            if not data:
                raise ConnectionResetError("the guest's QEMU is gone")
            self._received += data
        line, _, self._received = self._received.partition(b"\n")
        return line.decode(errors="replace")
