"""The change feed from the other side: one stream of events that outlives its connections.

It comes back to where it was, so that whoever iterates misses nothing and gets nothing twice; what cannot be had any
more is said (`Missed`), and so is each break.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from nicmapd.client import Client
from nicmapd.errors import Invalid, NicmapError, NotFound, Stale, Unreachable

#: The daemon breaks a silence each 15 s: after this many seconds without a word the connection is dead.
SILENCE = 45.0
#: Seconds before the first attempt to connect again, doubled up to what the daemon asks for (`retry`).
_SOONEST = 0.25
_RETRY = 2.0


@dataclass(frozen=True, slots=True)
class Event:
    """A change: `data` is the API's document of it."""

    id: int
    kind: str
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Connected:
    """The stream is there (again). What changes from now on comes; what changed before, if there was a place to go on
    from."""


@dataclass(frozen=True, slots=True)
class Lost:
    """The stream broke, and is tried again after `seconds`."""

    reason: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Missed:
    """Changes before this point were missed for good: what is known must be read anew."""

    reason: str


Item = Event | Connected | Lost | Missed


@dataclass(slots=True)
class _Block:
    """One block of a stream: the lines up to a blank one."""

    id: str = ""
    event: str = ""
    data: str = ""
    retry: str = ""


def blocks(lines: Iterator[bytes]) -> Iterator[_Block]:
    """The blocks of server-sent events (WHATWG HTML, section 9.2.6). An unfinished last one is none.

    Raises ValueError for what is no such stream.
    """
    block = _Block()
    for line in lines:
        if not line.endswith(b"\n"):
            return  # cut off in the middle of a line: nothing of this block may count
        text = line.decode("utf-8").rstrip("\r\n")
        if not text:
            yield block
            block = _Block()
            continue
        name, _, value = text.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            block.data = f"{block.data}\n{value}" if block.data else value
        elif name in ("id", "event", "retry"):
            setattr(block, name, value)


class Follower:
    """The changes of one VM (`uuid`; None: of all) after number `after` (None: from now on; 0: all that are kept).
    Iterate over it, once.

    The first connection raises what keeps it from being made. Later ones are tried until they are made, but for
    `NotFound` and `Invalid`, which waiting does not mend. `rest` waits so many seconds.
    """

    def __init__(
        self,
        client: Client,
        *,
        uuid: str | None = None,
        after: int | None = None,
        rest: Callable[[float], object] = time.sleep,
    ) -> None:
        self._client = client
        self._uuid = uuid
        self._rest = rest
        self._retry = _RETRY
        self._ever = False
        self._missed = ""
        self._after = after
        #: Number of the last event that was had.
        self.last: int | None = None

    def __iter__(self) -> Iterator[Item]:
        pause = _SOONEST
        while True:
            try:
                reason = "nicmapd ended the stream"
                with closing(self._connection()) as connection:
                    for item in connection:
                        if isinstance(item, Lost):
                            reason = item.reason
                            break
                        pause = _SOONEST
                        yield item
            except Stale as error:
                if self.last is None or not self._ever:
                    raise
                self.last, self._after, self._missed = None, None, error.message
                continue
            except (NotFound, Invalid):
                raise
            except NicmapError as error:
                if not self._ever:
                    raise
                reason = error.message
            yield Lost(reason, pause)
            self._rest(pause)
            pause = min(2 * pause, self._retry)

    def _connection(self) -> Generator[Item, None, None]:
        """What comes over one connection; a `Lost` (without a time) where the daemon says why it ends."""
        headers = {"Accept": "text/event-stream"}
        query = {"vm": self._uuid}
        if self.last is not None:
            headers["Last-Event-ID"] = str(self.last)
        elif self._after is not None:
            query["after"] = str(self._after)
        lines = self._client.stream("events", query=query, headers=headers, silence=SILENCE)
        with closing(lines):
            try:
                for number, block in enumerate(blocks(lines)):
                    if number == 0:
                        self._ever = True
                        yield Connected()
                        if self._missed:
                            # Not before: what changes while the caller reads anew must come.
                            yield Missed(self._missed)
                            self._missed = ""
                    yield from self._take(block)
                if not self._ever:
                    raise Unreachable(f"what answers at {self._client.address} ended the stream before it began")
            except ValueError as error:
                raise Unreachable(f"what answers at {self._client.address} is not nicmapd: {error}") from error

    def _take(self, block: _Block) -> Iterator[Item]:
        """Raises ValueError for what is no event of nicmapd."""
        if block.retry:
            self._retry = max(_SOONEST, int(block.retry) / 1000)
        if block.data:
            data = json.loads(block.data)
            if not isinstance(data, dict):
                raise ValueError("an event without an object")
            if block.event == "end":
                yield Lost(str(data.get("reason")), 0.0)
            elif block.id:
                # The place moves on once the caller is done with the event: whoever stops in between gets it again.
                yield Event(int(block.id), block.event, data)
        if block.id:
            self.last = int(block.id)
