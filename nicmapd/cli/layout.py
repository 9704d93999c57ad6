"""How the live table looks on a terminal of some size: lines of pieces of text, each with a style. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nicmapd.cli import live, table, words
from nicmapd.cli.live import ADDRESSES, AGE, DEVICE, HEADERS, MAC, NETWORK, NIC, NOTE, STATE, VM, Live, Row

_GAP = 2
#: What a narrow terminal does without, in this order.
_DROPPED = (DEVICE, NETWORK, NOTE, AGE, ADDRESSES, MAC)
#: The longest age: `9999d`.
_AGE_WIDTH = 5
#: What guests and people name at length must not push the rest off the screen: the part of it that a name may take,
#: and how many columns at least and at most.
_NAMES = {VM: (5, 10, 32), NIC: (6, 10, 24), NETWORK: (6, 8, 24), NOTE: (3, 20, 40)}
_KEYS = "q quit  / filter  s sort  r reverse  up/down scroll"


@dataclass(frozen=True, slots=True)
class Piece:
    """`style`: a colour of `table`, or `title`, `glow`, `lost`, or nothing."""

    text: str
    style: str = ""


Line = list[Piece]


def page(height: int, news: int) -> int:
    """Lines for NICs on a terminal of `height` lines: all but the title, the headers, the news and the keys."""
    return max(1, height - 3 - _news_lines(height, news))


def _news_lines(height: int, news: int) -> int:
    """News are for those who have room: one line in eight."""
    return min(news, height // 8)


def frame(shown: Live, width: int, height: int, *, now: float, wall: str) -> list[Line]:
    """All lines of the screen, none wider than `width`, at most `height` of them. `now` is monotonic, `wall` the time
    for people."""
    rows = shown.rows()
    visible = shown.visible(rows, page(height, len(shown.news)))
    columns = _columns(rows, width)
    lines = [_title(shown, now, wall), _headers(shown, columns)]
    lines += [_row(row, columns, now) for row in visible]
    if not rows:
        lines.append([Piece(f" no NIC fits {shown.filter}" if shown.filter else " there are no NICs", "dim")])
    news = shown.news[len(shown.news) - _news_lines(height, len(shown.news)) :]
    lines += [[] for _ in range(height - len(lines) - len(news) - 1)]
    lines = lines[: max(0, height - 1 - len(news))]
    lines += [[Piece(one, "dim")] for one in news]
    lines.append(_foot(shown, len(rows), len(visible)))
    return [_cut(line, width) for line in lines[:height]]


def _title(shown: Live, now: float, wall: str) -> Line:
    vms, total, named = shown.counts()
    host = f" on {shown.host}" if shown.host else ""
    figures = f"  {wall}  {vms} VMs, {total} NICs, {named} named"
    # The state in front of the figures: a narrow terminal must show it, too.
    return [Piece(f"nicmapd{host}", "title"), Piece("  "), _state(shown.link, now), Piece(figures)]


def _state(link: live.Link, now: float) -> Piece:
    if link.live:
        return Piece("live", "good")
    if not link.reason:
        return Piece("connecting", "old")
    return Piece(f"lost {words.age(now - link.since)} ago, retrying: {link.reason}", "lost")


def _foot(shown: Live, total: int, visible: int) -> Line:
    if shown.typing:
        return [Piece(f"filter: {words.text(shown.filter) if shown.filter else ''}_", "strong")]
    line = []
    if shown.filter:
        line = [Piece(f"filter: {words.text(shown.filter)}  ", "strong"), Piece("Esc all  ", "dim")]
    if total > visible:
        line.append(Piece(f"{shown.offset + 1}-{shown.offset + visible} of {total}  "))
    return [*line, Piece(_KEYS, "dim")]


def _columns(rows: Sequence[Row], width: int) -> list[tuple[int, int]]:
    """(column, its width) of those that are shown, in order; ADDRESSES gets what is left."""
    widths = {column: table.width(header) for column, header in enumerate(HEADERS)}
    widths[AGE] = _AGE_WIDTH
    noted = False
    most = {column: min(max(width // part, low), high) for column, (part, low, high) in _NAMES.items()}
    for row in rows:
        for column, text in enumerate(row.cells):
            widths[column] = max(widths[column], min(table.width(text), most.get(column, width)))
        noted = noted or bool(row.cells[NOTE])
    if not noted:
        del widths[NOTE]
    least = max([len(HEADERS[ADDRESSES]), *(table.width(_fewest(row.addresses)) for row in rows)])
    for column in _DROPPED:
        others = sum(space + _GAP for one, space in widths.items() if one != ADDRESSES)
        if ADDRESSES in widths and others + least + 1 <= width:
            widths[ADDRESSES] = min(widths[ADDRESSES], width - 1 - others)
            break
        if ADDRESSES not in widths and others <= width:
            break
        widths.pop(column, None)
    return sorted(widths.items())


def _fewest(addresses: Sequence[str]) -> str:
    return f"{addresses[0]} +{len(addresses) - 1}" if len(addresses) > 1 else "".join(addresses)


def _headers(shown: Live, columns: Sequence[tuple[int, int]]) -> Line:
    line = [Piece(" ")]
    for column, space in columns:
        arrow = ("v" if shown.backwards else "^") if column == shown.sort else ""
        # The arrow takes the place of the gap where the header fills its column.
        text = f"{HEADERS[column]}{arrow}"
        line.append(Piece(text, "strong"))
        line.append(Piece(" " * max(0, space + _GAP - table.width(text))))
    return line


def _row(row: Row, columns: Sequence[tuple[int, int]], now: float) -> Line:
    # The mark says for terminals without colours, and for people who do not see them, that something glows here.
    line = [Piece("*" if row.glow else " ", "strong" if row.glow else "")]
    for column, space in columns:
        text = row.cells[column]
        if column == AGE:
            text = words.age(row.age(now))
        elif column == ADDRESSES:
            text = _fitted(row.addresses, space)
        text = _short(text, space)
        line.append(Piece(text, "glow" if column in row.glow else _style(row, column)))
        line.append(Piece(" " * (space + _GAP - table.width(text))))
    return line


def _style(row: Row, column: int) -> str:
    return {NIC: "strong", STATE: row.colour, NOTE: "dim"}.get(column, "")


def _fitted(addresses: Sequence[str], room: int) -> str:
    """As many as fit, and how many more there are; the first always."""
    for count in range(len(addresses), 0, -1):
        more = f" +{len(addresses) - count}" if count < len(addresses) else ""
        text = " ".join(addresses[:count]) + more
        if table.width(text) <= room or count == 1:
            return text
    return "-"


def _short(text: str, room: int) -> str:
    """`text` in `room` columns, with a `~` where something is missing."""
    if table.width(text) <= room:
        return text
    while table.width(text) >= room:
        text = text[:-1]
    return f"{text}~"


def _cut(line: Line, width: int) -> Line:
    """`line` as far as it fits."""
    found: Line = []
    for piece in line:
        text = piece.text
        space = table.width(text)
        while space > width:
            text = text[:-1]
            space = table.width(text)
        if text:
            found.append(Piece(text, piece.style))
        width -= space
        if text != piece.text:
            break
    return found
