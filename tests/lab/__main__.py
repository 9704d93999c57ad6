"""`python -m tests.lab build | shell | run`: the lab from the command line."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from pathlib import Path

from tests.lab.definitions import Nic, shell_socket
from tests.lab.host import LabHost
from tests.lab.image import build_image
from tests.lab.namespaces import FOLDER_PARENT, FOLDER_PREFIX
from tests.lab.shell import GuestGone, LabShell
from tests.lab.waiting import LabTimeout


def _progress(text: str) -> None:
    print(f"lab: {text}", file=sys.stderr, flush=True)


def _build(_: argparse.Namespace) -> int:
    image = build_image(progress=_progress)
    print(image.kernel, image.initrd, sep="\n")
    return 0


def _shell(arguments: argparse.Namespace) -> int:
    """Boot two guests and leave them to the user until Ctrl-C or SIGTERM."""
    signals = {signal.SIGINT, signal.SIGTERM}
    with LabHost(progress=_progress) as host:
        host.define_network()
        started = time.monotonic()
        web1 = host.guest("web1", nics=[Nic(type="network"), Nic(type="network")], dhcp=arguments.dhcp)
        db1 = host.guest("db1", nics=[Nic(type="network")], dhcp=arguments.dhcp)
        host.boot(web1, db1)
        for guest in (web1, db1):
            # For `run` in another process: QEMU serves one connection at a time.
            guest.shell.close()
        _progress(f"web1 and db1 are up after {time.monotonic() - started:.1f} s")
        inside = " ".join(host.enter_command("ip", "address"))
        print(f"""
libvirt URI:       {host.uri}
for example:       virsh -c '{host.uri}' list
in a guest:        python -m tests.lab run web1 'ip link set eth0 down; ip link set eth0 name lan0; ip link set lan0 up'
in the namespaces: {inside}
Ctrl-C ends it.""")
        sys.stdout.flush()
        signal.pthread_sigmask(signal.SIG_BLOCK, signals)
        signal.sigwait(signals)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
    return 0


def _run(arguments: argparse.Namespace) -> int:
    """Run a command in a guest of a lab that runs, through the lab's own channel."""
    folders = [arguments.lab] if arguments.lab else sorted(FOLDER_PARENT.glob(FOLDER_PREFIX + "*"))
    sockets = [path for folder in folders if (path := shell_socket(folder, arguments.guest)).exists()]
    if len(sockets) != 1:
        print(f"{len(sockets)} running labs have a guest {arguments.guest}; say --lab FOLDER", file=sys.stderr)
        return 2
    shell = LabShell(sockets[0])
    try:
        status, output = shell.run(" ".join(arguments.command), within=arguments.timeout)
    except (LabTimeout, GuestGone) as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        shell.close()
    sys.stdout.write(output)
    return status


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.lab", description=__doc__)
    commands = parser.add_subparsers(required=True)
    commands.add_parser("build", help="build the guests' image into the cache").set_defaults(do=_build)
    shell = commands.add_parser("shell", help="boot two guests and keep them until Ctrl-C")
    shell.add_argument("--dhcp", action="store_true", help="let the guests ask for addresses (takes some seconds)")
    shell.set_defaults(do=_shell)
    run = commands.add_parser("run", help="run a command in a guest of a running `shell`")
    run.add_argument("--lab", type=Path, help="folder of the lab, if several run")
    run.add_argument("--timeout", type=float, default=30.0, metavar="SECONDS")
    run.add_argument("guest")
    run.add_argument("command", nargs="+")
    run.set_defaults(do=_run)
    arguments = parser.parse_args()
    try:
        return int(arguments.do(arguments))
    except KeyboardInterrupt:
        return 130
    except RuntimeError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
