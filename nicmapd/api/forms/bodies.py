"""What stands in the body of a request that changes something: JSON objects, checked key by key.

As with query keys, a mistyped key must never be overlooked: unknown and repeated ones are refused.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Never

from starlette.exceptions import HTTPException
from starlette.requests import Request

from nicmapd.api import query
from nicmapd.api.forms import wanted
from nicmapd.change.orders import AttachOrder, UpdateOrder
from nicmapd.errors import Invalid
from nicmapd.render import DIRECT_MODES, SOURCES
from nicmapd.text import clean, normal_mac

#: The name of a network device of the host.
_DEVICE = re.compile(wanted.DEVICE)
#: Longest name of a network or a model that is looked for at all.
_MAX_WORD = 256

#: Makes a value of what JSON has; raises ValueError(what is allowed, in words).
Parse = Callable[[Any], Any]


async def read(request: Request, keys: Mapping[str, Parse]) -> dict[str, Any]:
    """The values of `keys` that are in the body. Raises `Invalid` naming the key, the value and what is allowed, and
    the framework's 415 for what is not JSON at all."""
    _check_type(request)
    content = _object(await request.body())
    found = {}
    for name, value in content.items():
        parse = keys.get(name)
        if parse is None:
            near = difflib.get_close_matches(name[:100], list(keys), n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            raise Invalid(f'unknown member "{clean(name)}"; {hint}known are {", ".join(keys)}', key=clean(name))
        try:
            found[name] = parse(value)
        except ValueError as error:
            raise Invalid(f"{name} = {_shown(value)}: must be {error}", key=name) from None
    return found


def _check_type(request: Request) -> None:
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if kind != "application/json" and not kind.endswith("+json"):
        raise HTTPException(
            415,
            f"the body must be application/json, not {clean(kind, limit=100)}; say so in Content-Type",
            headers={f"Accept-{request.method.capitalize()}": "application/json"},
        )


def _object(body: bytes) -> dict[str, Any]:
    try:
        content = json.loads(body.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_number)
    except RecursionError:
        raise Invalid("the body is nested too deeply") from None
    except ValueError as error:  # JSONDecodeError and UnicodeDecodeError are ValueErrors
        if not body:
            raise Invalid("the body is empty; it must be a JSON object") from None
        raise Invalid(f"the body is not JSON: {clean(str(error), limit=200)}") from None
    if not isinstance(content, dict):
        raise Invalid("the body must be a JSON object, such as {...}")
    return content


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise Invalid(f'the member "{clean(twice)}" is there twice; give it once', key=clean(twice))
    return found


def _no_number(text: str) -> Never:
    raise ValueError(f"{text} is no number of JSON")


def _shown(value: Any) -> str:
    return clean(json.dumps(value), limit=100)


# -- values


def _optional(parse: Parse) -> Parse:
    """null is as if the key were not there."""
    return lambda value: None if value is None else parse(value)


def _one_of(*words: str) -> Parse:
    def parse(value: Any) -> str:
        if value not in words or not isinstance(value, str):
            raise ValueError(f"one of {', '.join(words)}")
        return value

    return parse


def _word(what: str) -> Parse:
    def parse(value: Any) -> str:
        if not isinstance(value, str) or not value or len(value) > _MAX_WORD or clean(value) != value:
            raise ValueError(f"{what}: text of 1 to {_MAX_WORD} characters that print")
        return value

    return parse


def _device(value: Any) -> str:
    if not isinstance(value, str) or not _DEVICE.fullmatch(value):
        raise ValueError("the name of a bridge or network device of the host: 1 to 15 characters, no blank, '/' or ':'")
    return value


def _mac(value: Any) -> str:
    if isinstance(value, str) and query.looks_like_mac(value) and ":" in value:
        mac = normal_mac(value)
        if mac is not None:
            return mac
    raise ValueError("the MAC of a single NIC, such as 52:54:00:3f:2e:b8 with colons, not multicast and not all zero")


def _mac_or_none(value: Any) -> str | None:
    return None if value in (None, "") else _mac(value)


_NETWORK = _word("the name of a libvirt network")
_LINK = _one_of("up", "down")

_ATTACH: Mapping[str, Parse] = {
    "type": _one_of(*SOURCES),
    "network": _optional(_NETWORK),
    "source": _optional(_device),
    "mode": _optional(_one_of(*DIRECT_MODES)),
    "model": _optional(_word("the model of a NIC")),
    "mac": _mac_or_none,
    "scope": _optional(_one_of("live", "config", "both")),
    "link": _optional(_LINK),
}
_UPDATE: Mapping[str, Parse] = {"link": _LINK, "network": _NETWORK, "mac": _mac}

#: By type, the member that says where it is plugged in; and which others belong to one type only.
_PLACE = {"network": "network", "bridge": "source", "direct": "source", "user": None}


async def attach_order(request: Request) -> AttachOrder:
    """The body of an attach. Raises `Invalid`."""
    found = {name: value for name, value in (await read(request, _ATTACH)).items() if value is not None}
    kind = found.pop("type", None)
    if kind is None:
        raise Invalid(f"type is missing; it must be one of {', '.join(SOURCES)}", key="type")
    place = _PLACE[kind]
    for name in ("network", "source"):
        if name != place and name in found:
            wanted = f"it needs {place}" if place else "it is connected to nothing that has a name"
            raise Invalid(f"{name} is not for type {kind}: {wanted}", key=name)
    if place is not None and place not in found:
        raise Invalid(f"{place} is missing: a NIC of type {kind} needs it", key=place)
    if "mode" in found and kind != "direct":
        raise Invalid(f"mode is not for type {kind}, only for direct", key="mode")
    network = found.pop("network", None)
    return AttachOrder(kind, source=network or found.pop("source", None), **found)


async def update_order(request: Request) -> UpdateOrder:
    """The body of a change. Raises `Invalid`."""
    found = await read(request, _UPDATE)
    if not found:
        raise Invalid(f"nothing is to be changed; give at least one of {', '.join(_UPDATE)}")
    return UpdateOrder(**found)
