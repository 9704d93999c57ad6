"""A terminal for a program that draws: a pty, and pyte, which shows what a person would see of it."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Sequence

import pyte


class Terminal:
    """Runs `command` on a terminal of that size. `show` reads what the program has drawn."""

    def __init__(self, command: Sequence[str], *, columns: int = 100, lines: int = 24, **environment: str) -> None:
        self._leader, follower = pty.openpty()
        self._screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self._screen)
        self.raw = b""
        self._set_size(columns, lines)
        settings = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "LINES", "NO_COLOR")}
        self.process = subprocess.Popen(
            command,
            stdin=follower,
            stdout=follower,
            stderr=follower,
            env={**settings, "TERM": "linux", "LC_ALL": "C.UTF-8", **environment},
            start_new_session=True,
        )
        os.close(follower)

    def _set_size(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self._leader, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def resize(self, columns: int, lines: int) -> None:
        self._screen.resize(lines, columns)
        self._set_size(columns, lines)
        self.process.send_signal(signal.SIGWINCH)  # it has no controlling terminal that would

    def press(self, keys: str) -> None:
        os.write(self._leader, keys.encode())

    def _read(self, seconds: float) -> bool:
        ready, _, _ = select.select([self._leader], [], [], seconds)
        if not ready:
            return False
        try:
            piece = os.read(self._leader, 65536)
        except OSError:  # EIO: the program has ended
            return False
        self.raw += piece
        self._stream.feed(piece)
        return bool(piece)

    @property
    def lines(self) -> list[str]:
        """The lines of the screen, without blanks at their ends."""
        return [line.rstrip() for line in self._screen.display]

    def styles(self, line: int) -> list[tuple[str, str, bool, bool]]:
        """(character, colour, bold, reverse) of each column of a line."""
        row = self._screen.buffer[line]
        return [
            (row[column].data, row[column].fg, row[column].bold, row[column].reverse)
            for column in range(self._screen.columns)
        ]

    def until(self, check: Callable[[list[str]], object], *, within: float = 10.0) -> list[str]:
        """The screen as soon as `check` holds for its lines."""
        end = time.monotonic() + within
        while not check(self.lines):
            if not self._read(min(0.2, max(0.0, end - time.monotonic()))) and time.monotonic() > end:
                raise AssertionError("not on the screen in time:\n" + "\n".join(self.lines))
        return self.lines

    def end(self, *, within: float = 10.0) -> int:
        """Reads on until the program has ended; its exit code."""
        end = time.monotonic() + within
        while self.process.poll() is None and time.monotonic() < end:
            self._read(0.05)
        while self._read(0.0):
            pass
        return self.process.wait(0.1)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._leader)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
