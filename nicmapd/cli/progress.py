"""Something to look at while a guest or a person takes time: one line on a terminal's stderr, with elapsed seconds."""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
from types import TracebackType

from nicmapd.cli import table

#: Seconds before the line appears: what is quicker than this needs none, and would only flicker.
_APPEARS = 0.4


class Progress:
    """`with Progress("waiting for the guest"):` shows the line and how long it has been, and takes it away at the end.

    Nothing at all where stderr is no terminal. `text` must be escaped.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._begun = time.monotonic()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def seconds(self) -> float:
        """How long it has been."""
        return time.monotonic() - self._begun

    def __enter__(self) -> Progress:
        self._begun = time.monotonic()
        if sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
            self._thread = threading.Thread(target=self._tick, name="progress", daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._thread is not None:
            self._ended.set()
            self._thread.join()

    def _tick(self) -> None:
        shown = False
        pause = _APPEARS
        while not self._ended.wait(pause):
            sys.stderr.write(f"\r\x1b[K{self._line()}")
            sys.stderr.flush()
            shown = True
            # Until the next whole second, for that is what is shown.
            pause = 1.0 - self.seconds % 1.0
        if shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()

    def _line(self) -> str:
        """As much as fits: a line that wraps cannot be taken away again."""
        ending = f" ... {int(self.seconds)} s"
        room = shutil.get_terminal_size().columns - len(ending) - 1
        text = self._text
        while text and table.width(text) > room:
            text = text[:-1]
        return text + ending
