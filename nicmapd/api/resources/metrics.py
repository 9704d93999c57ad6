"""`GET /metrics`: what Prometheus asks for, in its text format."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response

from nicmapd.api import query
from nicmapd.api.context import Context
from nicmapd.api.resources.series import MapSeries, daemon_series
from nicmapd.meter import Meter
from nicmapd.status import DaemonStatus

#: The format that every Prometheus reads.
MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """The handler."""

    def __init__(self, context: Context, meter: Meter) -> None:
        self._context = context
        self._map = MapSeries(context.board, context.clock)
        self._since_start = meter.registry
        # One after the other: however many ask, one thread at most is busy with it.
        self._turn = asyncio.Lock()

    async def metrics(self, request: Request) -> Response:
        query.read(request, ())
        async with self._turn:
            # Thousands of series take tenths of a second, which the loop must not stand still for.
            text = await asyncio.to_thread(self._text, self._context.service.status(), self._context.feed.streams)
        return Response(text, headers={"Content-Type": MEDIA_TYPE})

    def _text(self, daemon: DaemonStatus, streams: int) -> bytes:
        now = self._map.collect(daemon.watch.suspects)
        registry = CollectorRegistry()
        registry.register(_Once(itertools.chain(daemon_series(daemon, streams=streams), now)))
        return generate_latest(registry) + generate_latest(self._since_start)


class _Once(Collector):
    """What is known at the moment of one question: no series outlives what it is about."""

    def __init__(self, found: Iterable[Metric]) -> None:
        self._found = found

    def describe(self) -> Iterable[Metric]:
        return ()  # or the registry would collect at once, to learn the names

    def collect(self) -> Iterable[Metric]:
        return self._found
