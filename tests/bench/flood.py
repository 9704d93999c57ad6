"""The whole daemon with an interval near zero, as a program: `python -m tests.bench.flood URI`.

For each line of its input, a number of seconds, it polls without a pause that long, and prints the passes a second. In
between libvirt seems to be away, so that it does nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

from nicmapd.config import ApiConfig, Config, LibvirtConfig, LogConfig, PollConfig, StoreConfig
from nicmapd.daemon import Daemon
from nicmapd.hypervisor import LibvirtHypervisor
from nicmapd.logs import start_logging
from nicmapd.model import ConnectionStatus

#: Less than any pass takes: each guest is always due again.
INTERVAL = 0.001


class Gate:
    """Holds the daemon back by what the hypervisor says of its connection."""

    def __init__(self, hypervisor: LibvirtHypervisor) -> None:
        self._real = hypervisor.status
        self.open = True
        hypervisor.status = self._status  # type: ignore[method-assign]

    def _status(self) -> ConnectionStatus:
        found = self._real()
        return found if self.open else ConnectionStatus(False, found.since, "held back", found.version, found.uri)


async def _serve(uri: str, folder: Path) -> None:
    settings = Config(
        libvirt=LibvirtConfig(uri=uri),
        poll=PollConfig(interval=INTERVAL),
        store=StoreConfig(url=f"sqlite:///{folder / 'map.db'}"),
        api=ApiConfig(socket=str(folder / "api.sock")),
        log=LogConfig(level="warning"),
    )
    start_logging(settings.log)
    daemon = Daemon(settings)
    gate = Gate(daemon._hypervisor)
    running = asyncio.create_task(daemon.run())
    loop = asyncio.get_running_loop()
    while daemon.readiness():
        await asyncio.sleep(0.05)
    gate.open = False
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        gate.open = True
        daemon._watcher._pump()
        before, started = daemon.status().watch.passes, time.perf_counter()
        await asyncio.sleep(float(line))
        made, took = daemon.status().watch.passes - before, time.perf_counter() - started
        gate.open = False
        print(json.dumps(made / took), flush=True)
    os.kill(os.getpid(), signal.SIGTERM)
    with contextlib.suppress(asyncio.CancelledError):
        await running


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        asyncio.run(_serve(sys.argv[1], Path(name)))
        os._exit(0)
