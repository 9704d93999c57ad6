"""`make demo`: two real guests, the map that nicmapd makes of them, a rename in a guest, and the map that followed."""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.lab.definitions import Nic
from tests.lab.host import LabHost
from tests.lab.nicmapd import BIN, Nicmapd
from tests.lab.waiting import eventually

ROOT = Path(__file__).parents[2]


def _say(text: str) -> None:
    print(f"\n\x1b[1m== {text}\x1b[0m" if sys.stdout.isatty() else f"\n== {text}", flush=True)


def _show(daemon: Nicmapd, *arguments: str) -> None:
    print(f"$ nicmapctl {' '.join(arguments)}", flush=True)
    subprocess.run([str(BIN / "nicmapctl"), *arguments], env=daemon.environment(), check=True)


def _run(keep: bool) -> None:
    started = time.monotonic()
    _say("a private libvirtd and two tiny guests (real QEMU, real qemu-guest-agent, under emulation)")
    with LabHost(progress=lambda text: print(f"   {text}", file=sys.stderr, flush=True)) as host:
        host.define_network("default", bridge="virbr0", subnet="192.168.122.0/24")
        host.define_network("storage", bridge="virbr1", subnet="10.9.0.0/24", dhcp=False)
        web1 = host.guest(
            "web1",
            nics=[
                Nic(type="network", address="192.168.122.10/24"),
                Nic(type="network", network="storage", address="10.9.0.10/24"),
            ],
        )
        db1 = host.guest("db1", nics=[Nic(type="network", address="192.168.122.20/24")])
        with Nicmapd(host.uri, settings={"poll.interval": "2", "log.level": "info"}) as daemon:
            _say("nicmapd runs, with its map in SQLite; now the guests boot")
            host.boot(web1, db1)
            eventually(lambda: _all_named(daemon), within=60, what="all NICs are named")
            _say("the map: which NIC is what in there")
            _show(daemon, "list")
            _say('renaming eth1 to "lan0" inside web1, the way an administrator of the guest would')
            renamed = time.monotonic()
            web1.rename("eth1", "lan0")
            eventually(lambda: "lan0" in daemon.names("web1").values(), within=30, what="the map has lan0")
            print(f"   the map followed by itself after {time.monotonic() - renamed:.1f} s")
            _show(daemon, "list", "web1")
            _say("what it was called before")
            _show(daemon, "history", "web1")
            _say("for scripts")
            _show(daemon, "resolve", "web1", "lan0")
            _show(daemon, "find", "10.9.0.10")
            _show(daemon, "status")
            _say(f"done after {time.monotonic() - started:.0f} s")
            if keep:
                _stay(host, daemon)


def _all_named(daemon: Nicmapd) -> bool:
    names = [name for vm in ("web1", "db1") for name in daemon.names(vm).values()]
    return len(names) == 3 and None not in names


def _stay(host: LabHost, daemon: Nicmapd) -> None:
    """Leaves everything to the user until Ctrl-C."""
    web1 = host.guests["web1"]
    for guest in host.guests.values():
        guest.shell.close()  # for `tests.lab run` in another process: QEMU serves one connection at a time
    print(f"""
It goes on running. In another terminal:
  export NICMAPD_SOCKET={daemon.socket}
  {BIN}/nicmapctl list
  curl --unix-socket {daemon.socket} http://localhost/vms/{web1.definition.name}/interfaces
  virsh -c '{host.uri}' list
  cd {ROOT} && {BIN}/python -m tests.lab run --lab {host.folder} web1 \\
    'ip link set eth0 down; ip link set eth0 name wan0; ip link set wan0 up'
Ctrl-C ends it and leaves nothing behind.""")
    sys.stdout.flush()
    signals = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    signal.sigwait(signals)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.lab.demo", description=__doc__)
    parser.add_argument("--keep", action="store_true", help="leave it running until Ctrl-C, and say how to reach it")
    try:
        _run(parser.parse_args().keep)
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
