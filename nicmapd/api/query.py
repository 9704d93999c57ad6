"""The keys after `?`: each is declared once, and that is parsed, checked and documented.

A mistyped key must never widen what is returned: unknown, repeated and empty keys are refused.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import Request

from nicmapd.errors import Invalid
from nicmapd.text import clean

#: More would not fit the largest request head anyway; keeps parsing of a hostile query short.
_MAX_KEYS = 50

_MAC = re.compile(r"[0-9a-f]{2}([:-])(?:[0-9a-f]{2}\1){4}[0-9a-f]{2}", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Key:
    """One query key. `parse` makes the value of its text and raises ValueError(what is allowed, in words)."""

    name: str
    description: str
    parse: Callable[[str], Any]
    schema: Mapping[str, Any] = field(default_factory=lambda: {"type": "string", "minLength": 1})
    example: Any = None
    default: Any = None


def read(request: Request, keys: Sequence[Key]) -> dict[str, Any]:
    """The values of `keys`, defaults filled in. Raises `Invalid` naming the key, the value and what is allowed."""
    values = {key.name: key.default for key in keys}
    raw: bytes = request.scope["query_string"]
    if not raw:
        return values
    known = {key.name: key for key in keys}
    seen: set[str] = set()
    for name, text in _pairs(raw):
        key = known.get(name)
        if key is None:
            raise Invalid(f'unknown query key "{clean(name)}"; {_known(name, known)}', key=clean(name))
        if name in seen:
            raise Invalid(f'the query key "{name}" is given twice; give it once', key=name)
        seen.add(name)
        values[name] = _value(key, text)
    return values


def _pairs(raw: bytes) -> list[tuple[str, str]]:
    try:
        return parse_qsl(raw.decode("latin-1"), keep_blank_values=True, errors="strict", max_num_fields=_MAX_KEYS)
    except UnicodeDecodeError:
        raise Invalid("the query is not UTF-8 once decoded; percent-encode the UTF-8 bytes of a value") from None
    except ValueError:
        raise Invalid(f"the query has more than {_MAX_KEYS} keys") from None


def _value(key: Key, text: str) -> Any:
    if not text:
        raise Invalid(f'the query key "{key.name}" is empty; leave it out or give a value', key=key.name)
    try:
        return key.parse(text)
    except ValueError as error:
        raise Invalid(f'{key.name} = "{clean(text)}": must be {error}', key=key.name) from None


def _known(name: str, known: Mapping[str, Key]) -> str:
    if not known:
        return "no query keys are known here"
    near = difflib.get_close_matches(name[:100], list(known), n=1)
    ordered = [*near, *(word for word in known if word not in near)]
    return f"{f'did you mean {near[0]}? ' if near else ''}known are {', '.join(ordered)}"


# -- parsers


def text(value: str) -> str:
    """Text that is compared with what the map holds: cleaned in the same way."""
    return clean(value)


def mac(value: str) -> str:
    """A MAC in any case, with ':' or '-', as the map holds it."""
    if not _MAC.fullmatch(value):
        raise ValueError("a MAC such as 52:54:00:3f:2e:b8 (any case, ':' or '-')")
    return value.lower().replace("-", ":")


def looks_like_mac(value: str) -> bool:
    return _MAC.fullmatch(value) is not None


def ip(value: str) -> str:
    """An address in canonical text."""
    try:
        if "%" in value:
            raise ValueError
        return str(ipaddress.ip_address(value))
    except ValueError:
        raise ValueError(
            "an IPv4 or IPv6 address without prefix and zone, such as 192.168.122.10 or fe80::5054:ff:fe3f:2eb8"
        ) from None


def one_of(kind: type[StrEnum]) -> Callable[[str], StrEnum]:
    def parse(value: str) -> StrEnum:
        try:
            return kind(value)
        except ValueError:
            raise ValueError(f"one of {', '.join(kind)}") from None

    return parse


def number(low: int, high: int) -> Callable[[str], int]:
    def parse(value: str) -> int:
        # isascii: int() takes the digits of every script.
        if not (value.isascii() and value.isdigit() and len(value) < 10 and low <= int(value) <= high):
            raise ValueError(f"a whole number from {low} to {high}")
        return int(value)

    return parse


def when(value: str) -> datetime:
    """An RFC 3339 time as UTC. A '+' that the query made a blank is taken as the '+' it was."""
    try:
        moment = datetime.fromisoformat(re.sub(r" (?=\d\d:\d\d$)", "+", value).upper())
        if moment.tzinfo is None or not re.match(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d", value.upper()):
            raise ValueError
    except ValueError:
        raise ValueError("an RFC 3339 time with its zone, such as 2026-11-24T19:10:00Z") from None
    try:
        return moment.astimezone(UTC)
    except OverflowError:  # the first or last day of the calendar, seen from another zone
        return datetime.min.replace(tzinfo=UTC) if moment.year == 1 else datetime.max.replace(tzinfo=UTC)


# -- for OpenAPI


def parameters(keys: Sequence[Key]) -> list[dict[str, Any]]:
    """`keys` as OpenAPI parameter objects."""
    found = []
    for key in keys:
        schema = dict(key.schema)
        if key.default is not None:
            schema["default"] = key.default
        parameter = {
            "name": key.name,
            "in": "query",
            "required": False,
            "description": key.description,
            "schema": schema,
        }
        if key.example is not None:
            parameter["example"] = key.example
        found.append(parameter)
    return found
