"""What the api needs of the running daemon, beside the map: the port that daemon.py implements."""

from __future__ import annotations

from typing import Protocol

from nicmapd.change import Changer
from nicmapd.model import Outcome
from nicmapd.status import DaemonStatus


class Service(Protocol):
    """The daemon, as far as a request may reach it."""

    @property
    def changer(self) -> Changer:
        """What attaches, changes and detaches NICs."""
        ...

    async def refresh(self, uuid: str) -> Outcome:
        """One pass over that VM, now.

        Raises `errors.Unavailable` or `errors.AgentFailure` with the reason if the guest was not asked or gave no
        usable answer (the map is untouched then), `errors.NotFound` if libvirt has no such VM any more.
        """
        ...

    def settle(self) -> None:
        """Waits (blocking, a second at most) until what the map shows by now is written, if it can be."""
        ...

    def status(self) -> DaemonStatus: ...

    def gaps(self) -> list[str]:
        """Why the map may lack a VM that libvirt has, one sentence each; an empty list if it lacks none."""
        ...

    def readiness(self) -> list[str]:
        """Why the map cannot be relied on yet, one sentence each; an empty list when it can."""
        ...
