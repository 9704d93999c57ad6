"""Text from untrusted sources: made harmless once, at the border, and printed safely.

`clean` is the one function that every string of a guest passes (agent.py calls it). It changes only what is
dangerous, visibly and the same way each time, so that two different names stay different and a user can still
type what he sees: ESC becomes the four characters `\\x1b`, a bidi override `\\u202e`, a lone surrogate `\\ud800`.
`clean(clean(x)) == clean(x)`: a name in a URL may be given raw (percent-encoded) or as it was shown.
"""

from __future__ import annotations

import hashlib
import re
import sys
import unicodedata

#: Longest guest text kept, in characters. Linux names have 15 bytes; Windows' FriendlyName has at most 256.
MAX_NAME = 256

#: Unicode categories that do not show, or that change what stands beside them: control, format (bidi, zero
#: width), surrogate, private use, unassigned, line and paragraph separators.
_UNSAFE_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})

#: Blank but not of category C or Z: Hangul fillers, Braille blank, combining grapheme joiner. They hide a name.
_BLANKS = frozenset("\u115f\u1160\u3164\uffa0\u2800\u034f")


def _escape(character: str) -> str:
    point = ord(character)
    if point < 0x100:
        return f"\\x{point:02x}"
    if point < 0x10000:
        return f"\\u{point:04x}"
    return f"\\U{point:08x}"


def _unsafe(character: str) -> bool:
    if character in _BLANKS:
        return True
    category = unicodedata.category(character)
    # A space other than U+0020 looks like one and is not: shown by its number.
    return category in _UNSAFE_CATEGORIES or (category == "Zs" and character != " ")


def clean(text: str, *, limit: int = MAX_NAME) -> str:
    """`text` with nothing in it that a terminal, a page, a log or a database could stumble over.

    Longer results than `limit` characters are cut, and end in `…` and 8 hex digits of the whole text's SHA-256,
    so that two long texts with one beginning stay two.
    """
    if text.isascii() and text.isprintable() and len(text) <= limit:
        return text
    # Escapes are up to 10 times as long as what they stand for: what is past the limit is never needed.
    head = text[: limit + 1]
    safe = "".join(_escape(character) if _unsafe(character) else character for character in head)
    if len(text) <= limit and len(safe) <= limit:
        return safe
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{safe[: limit - 9]}…{digest}"


def printable(text: str, *, limit: int = 1000) -> str:
    """`text` for a terminal or a log line: as `clean`, for text that did not come through agent.py (libvirt's
    error messages, which quote guests; names of domains; words of an HTTP client)."""
    return clean(text, limit=limit)


def shortened(text: str, limit: int) -> str:
    """`text`, or its whole words that fit into `limit` characters with a count of what is left out."""
    if len(text) <= limit:
        return text
    room = limit - len(f" ... ({len(text)} more characters)")
    head = text[:room].rpartition(" ")[0].rstrip(" ,") or text[:room]
    return f"{head} ... ({len(text) - len(head)} more characters)"


_MAC = re.compile(r"[0-9A-Fa-f]{1,2}(?:(:[0-9A-Fa-f]{1,2}){5}|(-[0-9A-Fa-f]{1,2}){5})")


def normal_mac(text: str) -> str | None:
    """The MAC in `text`, lower case with colons; None if there is none that a NIC can have.

    Upper case, dashes and octets of one digit are read. All zero, broadcast and multicast are no NIC's, and neither
    are addresses of 3, 8 or 20 octets (tunnels, FireWire, InfiniBand).
    """
    if not _MAC.fullmatch(text):
        return None
    mac = text.lower().replace("-", ":")
    if len(mac) < len("00:00:00:00:00:00"):
        mac = ":".join(octet.zfill(2) for octet in mac.split(":"))
    # Interned: each MAC is in the XML, in each reply and in what is remembered of both.
    return None if int(mac[:2], 16) & 1 or mac == "00:00:00:00:00:00" else sys.intern(mac)
