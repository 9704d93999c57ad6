"""Conditional requests (RFC 9110 section 13)."""

from __future__ import annotations


def matches(header: str | None, etag: str) -> bool:
    """Whether If-None-Match names this ETag (section 13.1.2: weak comparison)."""
    if header is None:
        return False
    if header.strip() == "*":
        return True
    return any(one.strip().removeprefix("W/") == etag for one in header.split(","))
