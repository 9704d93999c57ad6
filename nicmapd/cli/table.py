"""Tables and sheets for people: columns by the width that a terminal gives, nothing cut off.

Cells must be escaped by then (`words.text`). On a terminal that is too narrow only the one elastic column gets shorter;
in a pipe nothing does.
"""

from __future__ import annotations

import os
import shutil
import sys
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_GAP = "  "

#: SGR codes; colour only repeats what the words say.
_COLOURS: Mapping[str, str] = {
    "good": "32",
    "old": "33",
    "bad": "31",
    "dim": "2",
    "strong": "1",
}


@dataclass(frozen=True, slots=True)
class Cell:
    """Text with a colour. `parts` are what an elastic cell is made of: as many are shown as fit, then `+2`."""

    text: str
    colour: str = ""
    parts: tuple[str, ...] = ()


def width(text: str) -> int:
    """Columns of a terminal that `text` takes."""
    if text.isascii():
        return len(text)
    return sum(_width(character) for character in text)


def _width(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in ("W", "F") else 1


def colourful() -> bool:
    """Whether stdout is a terminal that may be coloured (https://no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def unicode() -> bool:
    """Whether stdout takes lines and corners to draw with."""
    return (sys.stdout.encoding or "ascii").lower().replace("-", "").startswith("utf")


def terminal_width() -> int | None:
    """Columns of the terminal; None in a pipe, where there is no limit."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def paint(text: str, colour: str, *, on: bool) -> str:
    return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m" if on and colour and text else text


def render(
    headers: Sequence[str],
    rows: Sequence[Sequence[Cell]],
    *,
    limit: int | None = None,
    colour: bool = False,
    headed: bool = True,
    least: list[int] | None = None,
) -> str:
    """Header and rows as lines. `limit`: columns of the terminal. Rows have a cell for each header. Without `headed`
    the headers are neither shown nor given room. `least`: widths that the columns have at least; becomes those that
    they got, for a next call that is to stay in line."""
    room = least or [0] * len(headers)
    if headed:
        room = [max(width(header), space) for header, space in zip(headers, room, strict=True)]
    shown = _shortened(room, rows, limit)
    widths = _widths(room, shown)
    if least is not None:
        least[:] = widths
    lines = [_line([Cell(header, "strong") for header in headers], widths, colour)] if headed else []
    lines += [_line(row, widths, colour) for row in shown]
    return "".join(f"{line}\n" for line in lines)


def _line(cells: Sequence[Cell], widths: Sequence[int], colour: bool) -> str:
    last = max((index for index, cell in enumerate(cells) if cell.text), default=0)
    found = []
    for index, (cell, space) in enumerate(zip(cells[: last + 1], widths, strict=False)):
        padding = "" if index == last else " " * (space - width(cell.text))
        found.append(paint(cell.text, cell.colour, on=colour) + padding)
    return _GAP.join(found)


def _widths(room: Sequence[int], rows: Sequence[Sequence[Cell]]) -> list[int]:
    """What each column needs, and at least `room`."""
    return [max([space, *(width(row[index].text) for row in rows)]) for index, space in enumerate(room)]


def _shortened(room: Sequence[int], rows: Sequence[Sequence[Cell]], limit: int | None) -> Sequence[Sequence[Cell]]:
    """`rows` with the elastic cells as short as the terminal wants, and not shorter than their first part."""
    elastic = next((index for row in rows for index, cell in enumerate(row) if cell.parts), None)
    if limit is None or elastic is None:
        return rows
    others = sum(space + len(_GAP) for index, space in enumerate(_widths(room, rows)) if index != elastic)
    left = limit - others
    return [[_fitted(cell, left) if index == elastic else cell for index, cell in enumerate(row)] for row in rows]


def _fitted(cell: Cell, room: int) -> Cell:
    if width(cell.text) <= room or len(cell.parts) < 2:
        return cell
    for count in range(len(cell.parts) - 1, 0, -1):
        text = f"{' '.join(cell.parts[:count])} +{len(cell.parts) - count}"
        if width(text) <= room or count == 1:
            return Cell(text, cell.colour)
    return cell


def sheet(pairs: Sequence[tuple[str, str | Sequence[str]]], *, indent: str = "  ", colour: bool = False) -> str:
    """Lines `label  value`; a value of several lines continues below; pairs without a value are left out."""
    pairs = [(label, value) for label, value in pairs if value]
    space = max((len(label) for label, _ in pairs), default=0)
    lines = []
    for label, value in pairs:
        values = [value] if isinstance(value, str) else list(value)
        for number, one in enumerate(values):
            shown = paint(label.ljust(space), "dim", on=colour) if number == 0 else " " * space
            lines.append(f"{indent}{shown}{_GAP}{one}")
    return "\n".join(lines) + "\n" if lines else ""
