"""When to look at one VM again. Pure arithmetic on the outcome of its last pass; watch.py owns the timers."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from nicmapd.config import PollConfig
from nicmapd.model import AgentState, Outcome

#: Seconds after an event at which a VM is looked at again: names change in the seconds after boot and hot-plug
#: (udev renames a new NIC about 0.1 s after it appears, addresses come some seconds later).
SETTLING = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0)

#: The same after a hint: a rename takes the link down, gives the name and takes it up, in some 50 ms.
HINT_SETTLING = (0.05, 0.15, 0.4, 1.0)

#: Its agent does not do its part: each further failure doubles the wait.
_FAILING = frozenset({AgentState.UNRESPONSIVE, AgentState.BUSY, AgentState.BAD_REPLY})

#: Polled in its turn. All other states end with an event or a change of the XML: resync is often enough.
_POLLED = frozenset({AgentState.OK, AgentState.FROZEN, AgentState.UNKNOWN})


#: So many quick answers in a row, and a guest that was slow once is trusted again.
QUICK_PASSES = 3


@dataclass(slots=True)
class Pace:
    """The poll state of one VM. Moments are seconds of `Clock.monotonic`. `probation`: quick answers that it still owes
    since it was slow."""

    settings: PollConfig
    failures: int = 0
    probation: int = 0
    settling: list[float] = field(default_factory=list)
    doubted: list[float] = field(default_factory=list)

    @property
    def suspect(self) -> bool:
        """Whether its calls may take long: suspects share one lane, so that nobody waits behind them."""
        return self.failing or self.probation > 0

    @property
    def failing(self) -> bool:
        """Whether its last call failed, so that it is asked ever more seldom."""
        return self.failures > 0

    def disturbed(self, now: float) -> None:
        """Something happened to the VM: follow it closely for a while."""
        self.settling = [now + seconds for seconds in SETTLING]

    def hinted(self, now: float) -> None:
        """The hypervisor saw something change that may be a rename: the guest has not finished it yet."""
        if not self.settling:
            self.settling = [now + seconds for seconds in HINT_SETTLING]

    def libvirt_came(self, now: float) -> None:
        """libvirt has just been connected: if it was started anew it may not have reached the agents yet, calls them
        not connected until it has, and no event tells of that (seen with libvirt 9.0)."""
        self.doubted = [now + seconds for seconds in SETTLING]

    def reconnected(self) -> None:
        """The agent opened its channel again: what it did before counts no more."""
        self.failures = 0

    def after(self, outcome: Outcome, now: float, *, slow: bool = False) -> float:
        """Seconds from `now` until the next look. `slow`: the guest took its time for its answers."""
        if outcome.agent in _FAILING:
            self.failures += 1
            self.settling.clear()
            wait: float = self.settings.interval * 2 ** min(self.failures - 1, 32)
            return min(self.settings.backoff_max, wait)
        self.failures = 0
        self.probation = QUICK_PASSES if slow else max(0, self.probation - 1)
        # A little early, never late, and each a little different: guests do not stay in step.
        wait = self.settings.interval * random.uniform(0.9, 1.0)
        if outcome.agent not in _POLLED:
            wait = max(wait, self.settings.resync)
        self.settling = [moment for moment in self.settling if moment > now]
        self.doubted = [moment for moment in self.doubted if moment > now]
        moments = self.settling[:1]
        if outcome.agent is AgentState.NOT_CONNECTED:
            moments += self.doubted[:1]
        return min(wait, *(moment - now for moment in moments)) if moments else wait

    def after_fault(self) -> float:
        """Seconds until the next look after a pass that could not be made at all (libvirt away, a defect)."""
        return self.settings.interval
