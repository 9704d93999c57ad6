"""`python -m tests.soak [--seconds N] [--seed N]`: churns, checks the map after each step, and tells what grew.

Every step is one that happens on hosts: a rename in a guest, a NIC plugged and unplugged, an agent that hangs or
restarts, a guest that boots anew or is paused, libvirtd restarted or killed, readers that come and go. After each the
map must be what the guests themselves tell. Meanwhile memory, descriptors and threads of the daemon are sampled.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from tests.lab import Guest, LabHost, Nic, eventually
from tests.lab.nicmapd import Nicmapd, UnixConnection
from tests.soak.growth import Growth, Sample, sample

ROOT = Path(__file__).resolve().parents[2]
RESULT = ROOT / "build" / "soak.json"

#: Seconds between samples; until the map must be right after a step, back-off of a hung agent included.
SAMPLE_SECONDS = 10.0
FOLLOW_SECONDS = 60.0
GUESTS = 3


class Churn:
    """The steps, on a lab with a daemon."""

    def __init__(self, lab: LabHost, guests: Sequence[Guest], daemon: Nicmapd, chance: random.Random) -> None:
        self._lab = lab
        self._guests = guests
        self._daemon = daemon
        self._chance = chance
        self._streams: list[UnixConnection] = []
        self.done: dict[str, int] = {}
        #: A step and how often it comes.
        self._steps: dict[Callable[[Guest], None], int] = {
            self.rename: 8,
            self.plug_and_unplug: 6,
            self.hang: 2,
            self.agent_restarts: 3,
            self.reboot: 1,
            self.pause: 2,
            self.libvirtd_restarts: 1,
            self.libvirtd_is_killed: 1,
            self.readers: 4,
            self.refresh: 4,
        }

    def step(self) -> None:
        """One step with one guest, and the map is right again. Raises LabTimeout if it is not."""
        guest = self._chance.choice(self._guests)
        work = self._chance.choices(list(self._steps), list(self._steps.values()))[0]
        work(guest)
        name = work.__name__
        self.done[name] = self.done.get(name, 0) + 1
        for one in self._guests:
            self._right(one, name)

    def _right(self, guest: Guest, step: str) -> None:
        eventually(
            lambda: self._daemon.names(guest.name) == {one.mac: one.name for one in guest.devices().values()},
            within=FOLLOW_SECONDS,
            what=f"the map of {guest.name} after {step}",
        )

    def rename(self, guest: Guest) -> None:
        old = self._chance.choice(sorted(one.name for one in guest.devices().values()))
        guest.rename(old, f"n{self._chance.randrange(10**6)}")

    def plug_and_unplug(self, guest: Guest) -> None:
        mac = f"52:54:00:50:ac:{self._chance.randrange(256):02x}"
        guest.attach(Nic(type="network", mac=mac))
        eventually(lambda: self._daemon.names(guest.name).get(mac), within=FOLLOW_SECONDS, what="the plugged NIC")
        guest.detach(mac)

    def hang(self, guest: Guest) -> None:
        guest.hang_agent()
        eventually(
            lambda: self._daemon.vm(guest.name)["agent"]["state"] == "unresponsive",
            within=FOLLOW_SECONDS,
            what="seen to hang",
        )
        guest.resume_agent()

    def agent_restarts(self, guest: Guest) -> None:
        guest.kill_agent()
        guest.wait_agent(within=FOLLOW_SECONDS)

    def reboot(self, guest: Guest) -> None:
        guest.destroy()
        guest.start()

    def pause(self, guest: Guest) -> None:
        guest.suspend()
        eventually(
            lambda: self._daemon.vm(guest.name)["state"] == "paused", within=FOLLOW_SECONDS, what="seen to be paused"
        )
        guest.resume()

    def libvirtd_restarts(self, _guest: Guest) -> None:
        self._lab.restart_libvirtd()

    def libvirtd_is_killed(self, _guest: Guest) -> None:
        self._lab.restart_libvirtd(kill=True)

    def readers(self, guest: Guest) -> None:
        """Streams of changes that are opened and left, and many short questions."""
        for stream in self._streams:
            stream.close()
        self._streams = []
        for _ in range(4):
            stream = UnixConnection(self._daemon.socket)
            stream.request("GET", "/events")
            self._streams.append(stream)
        for _ in range(200):
            status, _ = self._daemon.get(f"/vms/{guest.name}/interfaces")
            if status != 200:
                raise RuntimeError(f"a reader got {status}")

    def refresh(self, guest: Guest) -> None:
        self._daemon.get(f"/vms/{guest.name}/refresh", method="POST")


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=3600, help="how long (default an hour)")
    parser.add_argument("--seed", type=int, default=None, help="repeats the steps of another run")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """0 if the map followed every step and nothing grew."""
    arguments = _arguments(argv)
    seed = arguments.seed if arguments.seed is not None else random.randrange(10**6)
    print(f"seed {seed}, {arguments.seconds:g} s", flush=True)
    growth = Growth()
    with LabHost(name="soak") as lab:
        lab.define_network()
        guests = [lab.guest(f"soak{number}", nics=[Nic(type="network")] * 2) for number in range(GUESTS)]
        lab.boot(*guests, within=60.0)
        settings = {"poll.interval": "1", "poll.backoff_max": "10", "log.level": "warning"}
        with Nicmapd(lab.uri, settings=settings) as daemon:
            churn = Churn(lab, guests, daemon, random.Random(seed))
            _churn(churn, daemon, growth, arguments.seconds)
            code, took = daemon.stop()
            words = daemon.words()
    result = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": arguments.seconds,
        "seed": seed,
        "steps": churn.done,
        "exit_code": code,
        "stop_seconds": round(took, 2),
        "tracebacks": words.count("Traceback"),
        **growth.figures(),
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))
    faults = [*growth.faults(), *(["the log has tracebacks"] if result["tracebacks"] else [])]
    for fault in faults:
        print(f"FAIL {fault}", file=sys.stderr)
    return 1 if faults or code else 0


def _churn(churn: Churn, daemon: Nicmapd, growth: Growth, seconds: float) -> None:
    assert daemon.process is not None
    begun = time.monotonic()
    next_sample = begun
    while (now := time.monotonic()) < begun + seconds:
        churn.step()
        if now >= next_sample:
            next_sample = now + SAMPLE_SECONDS
            found = sample(daemon.process.pid, now - begun)
            growth.add(found)
            _say(found, churn)


def _say(found: Sample, churn: Churn) -> None:
    steps = sum(churn.done.values())
    print(
        f"{found.at:6.0f} s  {steps:5d} steps  {found.memory_mb:6.1f} MB  {found.descriptors} descriptors  "
        f"{found.threads} threads",
        flush=True,
    )


if __name__ == "__main__":
    os.environ.setdefault("PYTHONFAULTHANDLER", "1")
    sys.exit(main())
