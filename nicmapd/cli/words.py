"""How ages, times and states read to people, and what they may write for a time."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from nicmapd.text import printable

#: What the time is. A test sets its own, so that ages stand still.
clock: ContextVar[Callable[[], datetime]] = ContextVar("clock", default=lambda: datetime.now(UTC))

_UNITS = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}

#: Agent states as a reason: "agent unresponsive".
AGENT: Mapping[str, str] = {
    "unknown": "not asked yet",
    "off": "VM is off",
    "paused": "VM is paused",
    "no_channel": "no agent channel",
    "not_connected": "agent not connected",
    "unresponsive": "agent unresponsive",
    "busy": "agent busy",
    "frozen": "guest frozen",
    "disabled": "agent refuses",
    "bad_reply": "agent talks nonsense",
    "opted_out": "opted out",
}


def age(seconds: float | None) -> str:
    """`12s`, `14m`, `3h`, `3d`; `-` for none."""
    if seconds is None:
        return "-"
    for unit, length in _UNITS:
        if seconds >= length:
            return f"{int(seconds // length)}{unit}"
    return "0s"


def ago(seconds: float | None) -> str:
    """`12 s ago`; `never` for none."""
    if seconds is None:
        return "never"
    short = age(max(0.0, seconds))
    return f"{short[:-1]} {short[-1]} ago"


def parse(moment: str) -> datetime:
    """An RFC 3339 time of the api."""
    return datetime.fromisoformat(moment)


def ago_of(moment: str | None) -> str:
    """How long ago an api's time is, by this machine's clock."""
    if moment is None:
        return "never"
    return ago((clock.get()() - parse(moment)).total_seconds())


def lasting(moment: str) -> str:
    """How long something has been so since an api's time: `14 m`."""
    return ago_of(moment).removesuffix(" ago")


def local(moment: str | None) -> str:
    """An api's time on this machine's wall clock, to the second."""
    return "-" if moment is None else parse(moment).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def day(moment: datetime) -> str:
    """Its day on this machine's wall clock, and whether that is today: `2026-01-01 (today)`."""
    here, now = moment.astimezone(), clock.get()().astimezone()
    distance = (now.date() - here.date()).days
    near = {0: " (today)", 1: " (yesterday)"}.get(distance, "")
    return f"{here:%Y-%m-%d}{near}"


def time_of_day(moment: datetime) -> str:
    """`10:00:00`, by this machine's wall clock."""
    return f"{moment.astimezone():%H:%M:%S}"


def since(moment: str | None) -> str:
    """`2026-01-01 10:00:00 (2 h ago)`."""
    return "-" if moment is None else f"{local(moment)} ({ago_of(moment)})"


def text(value: Any) -> str:
    """Anything of the api in one cell: escaped; `-` for none."""
    return "-" if value is None or value == "" else printable(str(value))


def address(one: Any) -> str:
    """`192.168.122.10/24`, of an address of the api."""
    prefix = one["prefix"]
    return text(one["ip"] if prefix is None else f"{one['ip']}/{prefix}")


def count(number: int, thing: str) -> str:
    """`1 NIC`, `2 NICs`."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def size(number: int | None) -> str:
    """Bytes in units of 1024."""
    if number is None:
        return "-"
    amount = float(number)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if amount < 1024 or unit == "TiB":
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    raise AssertionError


class Moment(click.ParamType):  # type: ignore[type-arg]  # generic only in newer click
    """A time: `2h`, `7d` (ago), `2026-01-01`, `2026-01-01T10:00` (this machine's zone), or RFC 3339 with a zone.

    Gives the RFC 3339 text for the api.
    """

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        short = re.fullmatch(r"(\d{1,6})\s*([smhdw])(?:\s*ago)?", str(value))
        try:
            if short:
                moment = clock.get()() - timedelta(seconds=int(short[1]) * _SECONDS[short[2]])
            else:
                moment = datetime.fromisoformat(str(value)).astimezone(UTC)
        except (ValueError, OverflowError):
            self.fail(
                f'"{printable(str(value))}" is no time; give 2h or 7d (ago), 2026-01-01, "2026-01-01 10:00" or '
                "2026-01-01T10:00:00Z",
                param,
                ctx,
            )
        return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
