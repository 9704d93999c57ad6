"""Who asked for which change, and what came of it: one log line for each request that is not only a question."""

from __future__ import annotations

import logging

from nicmapd.api.peer import Peer
from nicmapd.logs import AUDIT
from nicmapd.text import printable

_log = logging.getLogger(__name__)
# Whatever log.level says: these lines are asked for when something has gone wrong.
_log.setLevel(logging.INFO)

#: Of a body this much is told: an attach has some 200 bytes.
BODY_BYTES = 512


def write(peer: Peer, *, method: str, path: str, body: bytes, outcome: str, seconds: float) -> None:
    """Writes the line. `path` as the client sent it, `body` as far as it was read; `outcome` begins with the status."""
    asked = f"{printable(method, limit=40)} {printable(path, limit=400)}"
    if body:
        asked += f" {printable(body[:BODY_BYTES].decode('utf-8', 'backslashreplace'), limit=BODY_BYTES)}"
    place = f" from {peer.address}" if peer.address else ""
    _log.info(
        "%s%s: %s: %s (%.2f s)",
        peer.who,
        place,
        asked,
        printable(outcome),
        seconds,
        extra={"who": peer.who + place, "asked": asked, "outcome": printable(outcome), "message_id": AUDIT},
    )
