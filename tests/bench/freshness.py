"""Part `freshness`: from a rename in the guest to the API, by polling, by settling after a hot-plug, by the hint."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections.abc import Callable
from functools import partial

from tests.bench.figures import Report, at_most, median, percentile
from tests.bench.ground import Ground
from tests.lab.definitions import Nic
from tests.lab.guest import Guest
from tests.lab.nicmapd import Nicmapd
from tests.lab.waiting import LabTimeout

RENAMES = {"poll": 10, "settling": 10, "hint": 20}
INTERVAL = 2.0
#: An interval at which nothing but an event explains what is quick.
NEVER = "3600"
#: Seconds between two looks at the API.
PAUSE = 0.01
PLUGGED = "52:54:00:be:9c:01"


def run(report: Report, ground: Ground) -> None:
    guest = ground.only(2)[0]
    try:
        with ground.daemon([guest], {"poll.interval": f"{INTERVAL:g}"}) as daemon:
            _tell(report, "poll", _renames(guest, daemon, RENAMES["poll"]), at_most(INTERVAL + 1))
        with ground.daemon([guest], {"poll.interval": NEVER}) as daemon:
            _settling(report, guest, daemon)
        with ground.daemon([guest], {"poll.interval": NEVER, "hints.rx_filter": "true"}) as daemon:
            time.sleep(10)  # the settling series of the start is over
            _tell(report, "hint", _renames(guest, daemon, RENAMES["hint"]), None)
    finally:
        guest.reset()


def _tell(report: Report, way: str, taken: list[float], worst: object) -> None:
    words = {"poll": f"polling every {INTERVAL:g} s", "settling": "settling", "hint": "the rx-filter hint"}[way]
    aim = at_most(0.3) if way == "hint" else None
    report.add(f"freshness.{way}_p50", median(taken), "s", f"from the rename's begin to the API, {words}", aim)
    slowest = at_most(INTERVAL + 1) if worst else None
    report.add(f"freshness.{way}_worst", percentile(taken, 100), "s", f"the slowest of {len(taken)}", slowest)


def _renames(guest: Guest, daemon: Nicmapd, count: int) -> list[float]:
    """Seconds from the begin of each rename in the guest until the API has it. Moments are random."""
    taken, old, mac = [], "eth1", guest.macs[1]
    for number in range(count):
        time.sleep(random.uniform(0.5, 1.5))
        new = f"name{number}"
        taken.append(_follow(daemon, guest, mac, new, partial(guest.rename, old, new)))
        old = new
    guest.rename(old, "eth1")
    return taken


def _settling(report: Report, guest: Guest, daemon: Nicmapd) -> None:
    """Hot-plugs and, soon after, a rename as udev does it."""
    plugged, renamed = [], []
    numbers = itertools.count()
    for _ in range(RENAMES["settling"]):
        nic = Nic(mac=PLUGGED)
        name = f"eth{len(guest.live_macs())}"
        plugged.append(_follow(daemon, guest, PLUGGED, name, partial(guest.attach, nic)))
        new = f"plug{next(numbers)}"
        renamed.append(_follow(daemon, guest, PLUGGED, new, partial(guest.rename, name, new)))
        guest.detach(PLUGGED)
        time.sleep(0.5)
    report.add("freshness.plug_p50", median(plugged), "s", "from the begin of a hot-plug until the API has its name")
    report.add("freshness.plug_worst", percentile(plugged, 100), "s", f"the slowest of {len(plugged)}")
    _tell(report, "settling", renamed, None)


def _follow(daemon: Nicmapd, guest: Guest, mac: str, name: str, change: Callable[[], object]) -> float:
    """Seconds from the begin of `change` until the API names that NIC so."""
    seen: list[float] = []
    ends = time.monotonic() + 30

    def look() -> None:
        while time.monotonic() < ends:
            status, nic = daemon.get(f"/vms/{guest.name}/interfaces/{mac}")
            if status == 200 and nic["name"] == name:
                seen.append(time.monotonic())
                return
            time.sleep(PAUSE)

    looking = threading.Thread(target=look)
    looking.start()
    started = time.monotonic()
    change()
    looking.join()
    if not seen:
        raise LabTimeout(f"{guest.name}: {mac} was not called {name} within 30 s")
    return seen[0] - started
