"""What has been counted and timed since the start, for `GET /metrics`. Thread-safe.

What is known now (the map, its ages, states) is no counter: api/resources/metrics.py reads it from the board when it
is asked.
"""

from __future__ import annotations

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector

from nicmapd.model import ChangeKind, Outcome
from nicmapd.ports import EventKind

#: Seconds. A settled guest answers in some 10 ms; a hung one costs its time-out, 5 s of synchronising, and up to 30 s
#: for a lock that another client holds.
_PASS_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 40.0)
_LAG_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

#: What became of a pass. `answered`: the guest did. `unanswered`: it was asked in vain. `not_asked`: there was a reason
#: not to (VM off, no channel, opted out). `gone`: libvirt has no such VM any more. `failed`: libvirt could not be
#: asked. `defect`: nicmapd failed.
RESULTS = ("answered", "unanswered", "not_asked", "gone", "failed", "defect")

# A `_created` series beside each counter doubles them and tells what the start of the process tells.
prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]


class Meter:
    """Counters and histograms in a `registry` of their own, and what the process costs."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._passes = Counter(
            "nicmap_poll", "Passes over a VM, by what became of them", ["result"], registry=self.registry
        )
        self._seconds = Histogram(
            "nicmap_poll_duration_seconds",
            "How long passes took",
            ["result"],
            buckets=_PASS_BUCKETS,
            registry=self.registry,
        )
        self._events = Counter("nicmap_events", "Events of libvirt", ["kind"], registry=self.registry)
        self._lag = Histogram(
            "nicmap_event_lag_seconds",
            "From an event of libvirt until the map says what it changed",
            buckets=_LAG_BUCKETS,
            registry=self.registry,
        )
        self._changes = Counter(
            "nicmap_changes", "Changes of the map, by their kind in the feed", ["kind"], registry=self.registry
        )
        # A series that appears with its first event hides that event from rate() and increase().
        for result in RESULTS:
            self._passes.labels(result)
        for kind in EventKind:
            self._events.labels(kind.value)
        for change in ChangeKind:
            self._changes.labels(change.value)

    def passed(self, outcome: Outcome) -> None:
        """A pass has finished."""
        result = _result(outcome)
        self._passes.labels(result).inc()
        self._seconds.labels(result).observe(outcome.seconds)
        for change in outcome.changes:
            self.changed(change.kind)

    def failed(self, *, defect: bool) -> None:
        """A pass could not be made: libvirt is away, or nicmapd itself failed."""
        self._passes.labels("defect" if defect else "failed").inc()

    def changed(self, kind: ChangeKind) -> None:
        """Something became different."""
        self._changes.labels(kind.value).inc()

    def told(self, kind: EventKind) -> None:
        """libvirt told of something."""
        self._events.labels(kind.value).inc()

    def followed(self, seconds: float) -> None:
        """The map says what an event changed, so long after it came."""
        self._lag.observe(seconds)


def _result(outcome: Outcome) -> str:
    if outcome.gone:
        return "gone"
    if outcome.answered:
        return "answered"
    return "unanswered" if outcome.asked else "not_asked"
