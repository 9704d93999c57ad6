"""Paths as they stand in a request: percent-encoded in one canonical way, so that a `%2F` in a guest's name stays
inside its segment, which is decoded for the handler only."""

from __future__ import annotations

from urllib.parse import quote, unquote, unquote_to_bytes

from starlette.requests import Request
from starlette.types import Scope

from nicmapd.errors import Invalid
from nicmapd.text import printable

#: Characters that stay as they are in a path segment (RFC 3986: pchar without the percent sign).
_SEGMENT_SAFE = "!$&'()*+,;=:@"


def raw_path(scope: Scope) -> str:
    """The path as the client sent it, still percent-encoded."""
    raw = scope.get("raw_path")
    return raw.decode("latin-1") if raw else quote(scope["path"])


def instance_of(scope: Scope) -> str:
    """The path for `instance` of a problem document: a URI, whatever the client sent."""
    return quote(raw_path(scope), safe=f"/%{_SEGMENT_SAFE}")


def canonical_path(raw: str) -> str:
    """`raw` with each segment percent-encoded in one way: `/vms/%77eb1` and `/vms/web1` are one path."""
    if "%" not in raw and raw.isascii():
        return raw
    return "/".join(
        quote(unquote_to_bytes(segment.encode("latin-1")), safe=_SEGMENT_SAFE) for segment in raw.split("/")
    )


def segment(request: Request, name: str) -> str:
    """The decoded text of path parameter `name`. Raises `Invalid` if it is not UTF-8."""
    raw: str = request.path_params[name]
    if "%" not in raw:
        return raw
    try:
        return unquote(raw, errors="strict")
    except UnicodeDecodeError:
        raise Invalid(
            f"{{{name}}} in the path is not UTF-8 once decoded: {printable(raw)}; percent-encode the UTF-8 bytes "
            "of the name"
        ) from None
