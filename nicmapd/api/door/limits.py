"""How much one client, and all together, may hold at once."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Hashable, Iterator

from nicmapd.api.door.peer import Peer
from nicmapd.errors import Unavailable


def owner(peer: Peer | None) -> Hashable:
    """Who shares a limit with `peer`: the same user on this host, the same address elsewhere."""
    if peer is None:
        return None
    return peer.uid if peer.transport == "unix" else (peer.address or "").rpartition(":")[0]


class Slots:
    """Counts what is held, by owner. For one event loop."""

    def __init__(self, *, total: int, each: int) -> None:
        self._total = total
        self._each = each
        self._held: Counter[Hashable] = Counter()

    def __len__(self) -> int:
        return self._held.total()

    def take(self, who: Hashable) -> bool:
        """Takes one for `who`; False if there is none left, or none for him."""
        if self._held.total() >= self._total or self._held[who] >= self._each:
            return False
        self._held[who] += 1
        return True

    def give_back(self, who: Hashable) -> None:
        """Ends what `take` began."""
        self._held[who] -= 1
        if self._held[who] <= 0:
            del self._held[who]


class EventStreams:
    """The streams of `GET /events`. Each holds a connection and a place in the feed for as long as its client likes."""

    #: A page and some scripts for each of the few people who look after a host.
    TOTAL = 64
    EACH = 32

    def __init__(self, *, total: int = TOTAL, each: int = EACH) -> None:
        self._slots = Slots(total=total, each=each)

    def __len__(self) -> int:
        """How many are open."""
        return len(self._slots)

    @contextlib.contextmanager
    def open(self, peer: Peer | None) -> Iterator[None]:
        """Holds one for `peer` within the block. Raises `Unavailable` if there are too many."""
        who = owner(peer)
        if not self._slots.take(who):
            raise Unavailable(
                f"too many event streams at once ({len(self._slots)} open): close some, or ask again later"
            )
        try:
            yield
        finally:
            self._slots.give_back(who)
