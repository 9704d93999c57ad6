"""The terminal of the live table: curses, as a place to draw lines of pieces and to read keys from."""

from __future__ import annotations

import contextlib
import curses
import locale
import os
import select
import signal
import sys
from collections.abc import Iterator, Sequence
from types import FrameType

from nicmapd.cli import table
from nicmapd.cli.layout import Line
from nicmapd.errors import Invalid
from nicmapd.text import printable

_COLOURS = {
    "good": curses.COLOR_GREEN,
    "old": curses.COLOR_YELLOW,
    "bad": curses.COLOR_RED,
    "lost": curses.COLOR_RED,
    "glow": curses.COLOR_YELLOW,
}
_ATTRIBUTES = {
    "strong": curses.A_BOLD,
    "title": curses.A_BOLD,
    "dim": curses.A_DIM,
    "glow": curses.A_REVERSE,
    "lost": curses.A_REVERSE | curses.A_BOLD,
}
_KEYS: dict[int | str, str] = {
    curses.KEY_UP: "up",
    curses.KEY_DOWN: "down",
    curses.KEY_LEFT: "left",
    curses.KEY_RIGHT: "right",
    curses.KEY_PPAGE: "pageup",
    curses.KEY_NPAGE: "pagedown",
    curses.KEY_HOME: "home",
    curses.KEY_END: "end",
    curses.KEY_BACKSPACE: "backspace",
    curses.KEY_ENTER: "enter",
    "\x7f": "backspace",
    "\b": "backspace",
    "\r": "enter",
    "\n": "enter",
    "\x1b": "escape",
}
#: Milliseconds after which an Escape is that key and not the beginning of another's code.
_ESCAPE = 50


class Screen:
    """Made by `opened`."""

    def __init__(self, window: curses.window, *, colours: bool) -> None:
        self._window = window
        self._styles = {name: _ATTRIBUTES.get(name, curses.A_NORMAL) for name in (*_COLOURS, *_ATTRIBUTES)}
        if colours:
            for number, (name, colour) in enumerate(_COLOURS.items(), 1):
                curses.init_pair(number, colour, -1)
                self._styles[name] |= curses.color_pair(number)
        self._reading, self._writing = os.pipe()
        for end in (self._reading, self._writing):
            os.set_blocking(end, False)

    @property
    def size(self) -> tuple[int, int]:
        """(columns, lines)."""
        height, width = self._window.getmaxyx()
        return width, height

    def wake(self) -> None:
        """Ends a `wait`; from any thread."""
        with contextlib.suppress(BlockingIOError):  # full: it will end anyway
            os.write(self._writing, b"w")

    def wait(self, seconds: float) -> None:
        """Until a key, a `wake`, another size of the terminal, or so long."""
        ready, _, _ = select.select([sys.stdin, self._reading], [], [], seconds)
        if self._reading in ready:
            with contextlib.suppress(BlockingIOError):
                while os.read(self._reading, 4096):
                    pass

    def pressed(self) -> Iterator[str]:
        """What was pressed since the last time: characters, and words for the others."""
        while True:
            try:
                key = self._window.get_wch()
            except curses.error:  # there is none
                return
            name = _KEYS.get(key) or (key if isinstance(key, str) else "")
            if name:
                yield name

    def draw(self, lines: Sequence[Line]) -> None:
        """Shows `lines` and nothing else; what is not different is not sent to the terminal."""
        self._window.erase()
        encoding = self._window.encoding
        for number, line in enumerate(lines):
            with contextlib.suppress(curses.error):  # the cursor cannot go past the last corner, which is drawn
                self._window.move(number, 0)
                for piece in line:
                    text = piece.text.encode(encoding, "backslashreplace").decode(encoding)
                    self._window.addstr(text, self._styles.get(piece.style, curses.A_NORMAL))
        self._window.refresh()

    def resized(self, _signal: int, _frame: FrameType | None) -> None:
        width, height = os.get_terminal_size(sys.stdout.fileno())
        curses.resizeterm(height, width)
        self.wake()

    def close(self) -> None:
        os.close(self._reading)
        os.close(self._writing)


def _end(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)  # unwinds, so that the terminal is what it was


@contextlib.contextmanager
def opened() -> Iterator[Screen]:
    """The terminal as a screen; as it was at the end, however that comes. Raises `Invalid` if it cannot be one."""
    locale.setlocale(locale.LC_ALL, "")
    os.environ.setdefault("ESCDELAY", str(_ESCAPE))
    try:
        curses.setupterm()
        if curses.tigetstr("cup") is None:
            raise curses.error("the cursor cannot be moved")
        window = curses.initscr()
    except curses.error as error:
        term = printable(os.environ.get("TERM", ""))
        raise Invalid(f'this terminal cannot be drawn on (TERM is "{term}"): {error}') from error
    screen = None
    try:
        curses.noecho()
        curses.cbreak()
        window.keypad(True)
        window.nodelay(True)
        with contextlib.suppress(curses.error):
            curses.curs_set(0)
        colours = table.colourful() and _with_colours()
        screen = Screen(window, colours=colours)
        signal.signal(signal.SIGWINCH, screen.resized)
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, _end)
        yield screen
    finally:
        window.keypad(False)
        curses.nocbreak()
        curses.echo()
        curses.endwin()
        if screen is not None:
            screen.close()


def _with_colours() -> bool:
    try:
        curses.start_color()
        curses.use_default_colors()
    except curses.error:
        return False
    return curses.has_colors()
