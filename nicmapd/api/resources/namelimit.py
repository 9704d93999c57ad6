"""How many names of a NIC become label values: each new one is a new series that Prometheus keeps for weeks, and a
guest renames its interfaces as often as it likes."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass, field

#: Changes of a NIC's name that are shown within `SECONDS`; a guest that is set up renames a NIC two or three times.
CHANGES = 6
SECONDS = 3600.0


@dataclass(slots=True)
class _Shown:
    """The name shown last, and when it was changed, oldest first."""

    name: str
    changed: deque[float] = field(default_factory=deque)


class NameLimit:
    """Remembers the names that were shown, by NIC."""

    def __init__(self) -> None:
        self._shown: dict[str, _Shown] = {}

    def admit(self, nic: str, name: str, now: float) -> str:
        """`name`, or "" while NIC `nic` changes its name too often. `now` in seconds of a monotonic clock."""
        shown = self._shown.get(nic)
        if shown is None:
            self._shown[nic] = _Shown(name)
            return name
        while shown.changed and now - shown.changed[0] >= SECONDS:
            shown.changed.popleft()
        if name in (shown.name, ""):  # no name is one more series at most
            return name
        if len(shown.changed) >= CHANGES:
            return ""
        shown.name = name
        shown.changed.append(now)
        return name

    def keep_only(self, nics: Collection[str]) -> None:
        """Forgets all other NICs."""
        self._shown = {nic: shown for nic, shown in self._shown.items() if nic in nics}
