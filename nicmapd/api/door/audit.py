"""Who asked for which change, and what came of it: one log line for each request that is not only a question."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Hashable

from nicmapd.api.door.limits import owner
from nicmapd.api.door.peer import Peer
from nicmapd.logs import AUDIT
from nicmapd.text import printable

_log = logging.getLogger(__name__)
# Whatever log.level says: these lines are asked for when something has gone wrong.
_log.setLevel(logging.INFO)

#: Of a body this much is told: an attach has some 200 bytes.
BODY_BYTES = 512

#: Who may not change anything can still ask for it, thousands of times a second, until the journal takes no more lines
#: of this service (10,000 in 30 s by default), those of real changes included. So many of his lines are told, and so
#: many of all such people, in so many seconds; the others are counted.
REFUSED_EACH = 20
REFUSED_TOTAL = 200
REFUSED_SECONDS = 10.0


class Audit:
    """Writes the lines. `monotonic` gives seconds."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._since = monotonic()
        self._refused: Counter[Hashable] = Counter()
        self._untold = 0

    def write(
        self, peer: Peer, *, method: str, path: str, body: bytes, status: int, reason: str = "", seconds: float
    ) -> None:
        """One request: `path` as the client sent it, `body` as far as it was read; `status` 0 was not answered."""
        if not self._is_told(peer, status):
            return
        asked = f"{printable(method, limit=40)} {printable(path, limit=400)}"
        if body:
            asked += f" {printable(body[:BODY_BYTES].decode('utf-8', 'backslashreplace'), limit=BODY_BYTES)}"
        who = f"{peer.who} from {peer.address}" if peer.address else peer.who
        outcome = printable(f"{status} {reason}".rstrip() if status else "not answered")
        extra = {"who": who, "asked": asked, "outcome": outcome, "message_id": AUDIT}
        _log.info("%s: %s: %s (%.2f s)", who, asked, outcome, seconds, extra=extra)

    def _is_told(self, peer: Peer, status: int) -> bool:
        now = self._monotonic()
        if now - self._since >= REFUSED_SECONDS:
            if self._untold:
                _log.warning(
                    "%d more requests for a change were refused, and are not told one by one",
                    self._untold,
                    extra={"message_id": AUDIT},
                )
            self._since, self._untold = now, 0
            self._refused.clear()
        if status not in (401, 403):
            return True
        who = owner(peer)
        if self._refused[who] >= REFUSED_EACH or self._refused.total() >= REFUSED_TOTAL:
            self._untold += 1
            return False
        self._refused[who] += 1
        return True
