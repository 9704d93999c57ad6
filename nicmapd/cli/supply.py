"""Where the live table gets its NICs from: the change feed says where to look, the map says what is there.

Two threads, for both sides may hang: one follows the feed, one reads the map, when the feed says so and now and then,
for ages and freshness change without any change. What they find waits in a queue for whoever draws.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from nicmapd.cli import words
from nicmapd.client import Client
from nicmapd.errors import NicmapError, NotFound
from nicmapd.follow import Connected, Event, Follower, Lost, Missed

#: Seconds between two readings of the whole map; a large one that takes long is read less often.
READ_SECONDS = 10.0
_READ_SHARE = 20
#: Seconds until what could not be read is tried again.
RETRY_SECONDS = 1.0
#: From so many VMs on it is cheaper to read the whole map.
_MANY = 20


@dataclass(frozen=True, slots=True)
class Read:
    """What the map has, of one VM (`uuid`) or of all that are shown (None)."""

    uuid: str | None
    nics: Sequence[Any]


@dataclass(frozen=True, slots=True)
class Failed:
    """It cannot go on."""

    error: NicmapError


Found = Read | Failed | Connected | Event | Lost | Missed


def read_all(client: Client, uuid: str | None) -> list[Any]:
    """All NICs, or those of one VM (none if it is gone)."""
    if uuid is None:
        return list(client.items("interfaces"))
    try:
        found: list[Any] = client.get("vms", uuid, "interfaces")["items"]
    except NotFound:
        return []
    return found


class Supply:
    """`connect` makes a client, one for each thread; `uuid` is the VM (None: all). `wake` is called, from any thread,
    when there is something to `take`."""

    def __init__(self, connect: Callable[[], Client], uuid: str | None, *, wake: Callable[[], None]) -> None:
        self._connect = connect
        self._uuid = uuid
        self._wake = wake
        self._found: queue.SimpleQueue[Found] = queue.SimpleQueue()
        self._asked: set[str] = set()
        self._all = False
        self._change = threading.Condition()

    def start(self) -> None:
        """Begins; the threads end with the process."""
        for work in (self._follow, self._read):
            threading.Thread(target=work, name=work.__name__, daemon=True).start()

    def take(self) -> list[Found]:
        """What was found since the last time."""
        found = []
        while not self._found.empty():
            found.append(self._found.get())
        return found

    def _put(self, found: Found) -> None:
        self._found.put(found)
        self._wake()

    def _follow(self) -> None:
        try:
            for item in Follower(self._connect(), uuid=self._uuid):
                self._put(item)
                if isinstance(item, Event) and item.data.get("vm_uuid") is not None:
                    self._ask(str(item.data["vm_uuid"]))
                elif not isinstance(item, Lost):
                    self._ask(None)
        except NicmapError as error:
            self._put(Failed(error))

    def _ask(self, uuid: str | None) -> None:
        """Wants a VM (None: everything) read again."""
        with self._change:
            if uuid is None:
                self._all = True
            else:
                self._asked.add(uuid)
            self._change.notify()

    def _ask_later(self, wanted: set[str], *, everything: bool) -> None:
        """Wants again what could not be read, after a while, or with what is asked for meanwhile."""
        with self._change:
            self._change.wait(RETRY_SECONDS)
            self._asked |= wanted
            self._all = self._all or everything

    def _read(self) -> None:
        client = self._connect()
        pause = READ_SECONDS
        while True:
            with self._change:
                self._change.wait_for(lambda: self._all or self._asked, timeout=pause)
                wanted, everything = self._asked, self._all or not self._asked or len(self._asked) > _MANY
                self._asked, self._all = set(), False
            begun = time.monotonic()
            try:
                if everything:
                    self._put(Read(None, read_all(client, self._uuid)))
                    pause = max(READ_SECONDS, _READ_SHARE * (time.monotonic() - begun))
                else:
                    for uuid in wanted:
                        self._put(Read(uuid, read_all(client, uuid)))
            except NicmapError:
                # The feed says that the daemon is away. It may have come back since this reading began to fail, and
                # said so already: what was wanted is still wanted.
                self._ask_later(wanted, everything=everything)


def news(event: Event) -> str:
    """A change in one line."""
    when = words.local(event.data["at"])[-8:]
    return f"{when}  {words.text(event.data['vm'])}  {words.text(event.data['sentence'])}"
