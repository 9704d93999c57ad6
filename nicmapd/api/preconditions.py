"""What a client wishes (`Prefer`, RFC 7240) and what it has seen (`If-Match`, RFC 9110), from the request's head."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request

#: Longest wait that is granted, in seconds: nothing between a client and us keeps a silent request open for longer.
MAX_WAIT = 300

_WAIT = re.compile(r'wait\s*=\s*("?)([0-9]{1,100})\1')

PREFER = {
    "name": "Prefer",
    "in": "header",
    "required": False,
    "description": f"`wait=S` (RFC 7240): wait up to S seconds, at most {MAX_WAIT}, before answering; "
    "`Preference-Applied` says what was granted. Other preferences are ignored",
    "schema": {"type": "string"},
    "example": "wait=10",
}
IF_MATCH = {
    "name": "If-Match",
    "in": "header",
    "required": False,
    "description": "ETag of the NIC as it was read; 412 and nothing is changed if more is known of it since",
    "schema": {"type": "string"},
}


def wait_of(request: Request) -> int | None:
    """The seconds that the client would wait, bounded; None if it says nothing, or nothing that can be read."""
    for header in request.headers.getlist("prefer"):
        for one in header.split(","):
            # What follows a semicolon are parameters; of wait there are none.
            found = _WAIT.fullmatch(one.partition(";")[0].strip().lower())
            if found:
                return min(int(found[2]), MAX_WAIT)
    return None


def applied(wait: int | None) -> Mapping[str, str]:
    """The header that says which wait was granted."""
    return {} if wait is None else {"Preference-Applied": f"wait={wait}"}


def still_matches(header: str, etag: str) -> bool:
    """Whether If-Match names this ETag (RFC 9110 section 13.1.1: strong comparison)."""
    return header.strip() == "*" or any(one.strip() == etag for one in header.split(","))


def document(name: str, description: str) -> Mapping[str, Any]:
    """A header of an answer, for OpenAPI."""
    return {name: {"description": description, "schema": {"type": "string"}}}
