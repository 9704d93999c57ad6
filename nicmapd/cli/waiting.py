"""Waiting until a NIC is what somebody wants it to be, by looking at the map again and again.

Each look is answered from the daemon's memory, and with the ETag of the look before it is answered 304 as long as
nothing is new.
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable
from typing import Any

from nicmapd.cli import nics
from nicmapd.cli.failure import NotYet
from nicmapd.client import Client
from nicmapd.errors import Ambiguous, NotFound, TimedOut, Unreachable
from nicmapd.text import normal_mac, printable

#: Seconds between two looks: soon at first, for most waits are short.
_SOONEST, _LATEST, _GROWTH = 0.2, 1.0, 1.3


def present(nic: Any) -> bool:
    """The guest shows it, under a name that is certain now."""
    return nic["name"] is not None and nic["name_state"] == "fresh"


def addressed(nic: Any) -> bool:
    """Present, and reached by an address that is good beyond its own link."""
    return present(nic) and any(not ipaddress.ip_address(one["ip"]).is_link_local for one in nic["addresses"])


def _state(nic: Any) -> str:
    """How a NIC is that is not yet as it should be."""
    if present(nic):
        return "the guest shows it without one"
    remark = nics.note(nic)
    return f"its name is {nics.state(nic)}" + (f" ({remark})" if remark else "")


class Waiting:
    """Looks at NICs of one VM, given by name or UUID. `seconds`: how long the whole of it may take.

    Clock and sleep are given by tests.
    """

    def __init__(
        self,
        client: Client,
        vm: str,
        *,
        seconds: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._client = client
        self._vm = vm
        self._seconds = seconds
        self._clock = clock
        self._sleep = sleep
        self._end = clock() + seconds

    def pin(self) -> str:
        """UUID of the VM, which is meant from here on, whatever it is called later. Raises as `find`."""
        self._vm = self._sure("vms", self._vm)["uuid"]
        return self._vm

    def find(self, nic: str) -> Any:
        """The NIC as it is now. What is not there is waited for as long as the daemon cannot know all.

        Raises `NotFound` once that is sure, `NotYet`, `Unreachable` if there is no daemon to begin with.
        """
        return self._sure("vms", self._vm, "interfaces", nic)

    def _sure(self, *path: str) -> Any:
        pause, patient = _SOONEST, False
        while True:
            try:
                return self._client.get(*path)
            except NotFound as error:
                if "incomplete" not in error.details:
                    raise
                patient, reason = True, error.message
            except (Unreachable, TimedOut) as error:
                if not patient:
                    raise
                reason = error.message  # it goes while it is waited for, and comes back
            pause = self._rest(pause, reason)

    def until(self, nic: str, wanted: Callable[[Any], bool], what: str) -> Any:
        """The NIC, as soon as it is there and `wanted` holds. Raises `NotYet`; `Ambiguous` for a MAC of two NICs."""
        pause, etag, reason, missing = _SOONEST, None, "", False
        while True:
            try:
                answer = self._client.look("vms", self._vm, "interfaces", nic, etag=etag)
                missing = False
                if answer.status != 304:
                    etag, reason = answer.etag, _state(answer.document)
                    if wanted(answer.document):
                        return answer.document
            except NotFound as error:
                etag, reason, missing = None, error.message, True
            except Ambiguous as error:
                if normal_mac(nic) is not None:
                    raise
                etag, reason = None, error.message
            except (Unreachable, TimedOut) as error:  # a restart of the daemon ends no wait
                etag, reason = None, error.message
            pause = self._rest(pause, f"{printable(nic)} is not {what} yet: {reason}", missing=missing)

    def until_gone(self, nic: Any) -> None:
        """Returns as soon as this very NIC (a document of the api) is not attached any more. Raises `NotYet`."""
        pause, etag = _SOONEST, None
        word = f"alias:{nic['alias']}" if nic["alias"] else nic["mac"]
        while True:
            try:
                answer = self._client.look("vms", self._vm, "interfaces", word, etag=etag)
                if answer.status != 304:
                    etag = answer.etag
                    if answer.document["id"] != nic["id"]:
                        return
            except NotFound as error:
                if "incomplete" not in error.details:
                    return
                etag = None
            except (Unreachable, TimedOut):
                etag = None
            pause = self._rest(pause, f"{printable(nic['name'] or nic['mac'])} is still attached")

    def _rest(self, pause: float, state: str, *, missing: bool = False) -> float:
        """Lets some time pass, and gives the pause after that. Raises `NotYet` with `state` when time is up.

        `missing`: there is no such NIC to look at.
        """
        left = self._end - self._clock()
        if left <= 0:
            raise NotYet(f"after {self._seconds:g} s, {state}", missing=missing)
        self._sleep(min(pause, left))
        return min(pause * _GROWTH, _LATEST)
