"""`make pictures`: the first look of README and docs/page.md, from real guests: screenshots of the page, and a
recording of the command line as text, written into README between its two markers."""

from __future__ import annotations

import re
import shlex
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.browser.chromium import launch, why_not
from tests.lab.definitions import Nic
from tests.lab.guest import Guest
from tests.lab.host import LabHost
from tests.lab.nicmapd import BIN, Nicmapd
from tests.lab.waiting import eventually

TOP = Path(__file__).parents[2]
IMAGES = TOP / "docs" / "img"
README = TOP / "README.md"
BLOCK = re.compile(r"(<!-- recording: make pictures -->\n```\n).*?(```\n<!-- end -->)", re.S)

NICS = {
    "web1": [
        Nic(type="network", address="192.168.122.10/24"),
        Nic(type="network", network="storage", address="10.9.0.10/24"),
    ],
    "db1": [
        Nic(type="network", address="192.168.122.20/24"),
        Nic(type="network", network="storage", address="10.9.0.20/24"),
    ],
    "mail": [Nic(type="network", address="192.168.122.30/24", guest_name="wan0")],
    "backup": [Nic(type="network", network="storage", address="10.9.0.40/24")],
}


def _guests(host: LabHost) -> dict[str, Guest]:
    host.define_network("default", bridge="virbr0", subnet="192.168.122.0/24")
    host.define_network("storage", bridge="virbr1", subnet="10.9.0.0/24", dhcp=False)
    found = {name: host.guest(name, nics=nics) for name, nics in NICS.items()}
    host.boot(*found.values())
    return found


def _record(daemon: Nicmapd, web1: Guest) -> str:
    """What the command line prints, command by command, around a rename in the guest."""
    lines: list[str] = []

    def run(command: str) -> None:
        done = subprocess.run(
            [str(BIN / "nicmapctl"), *shlex.split(command)],
            env=daemon.environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        lines.extend([f"$ nicmapctl {command}", *(done.stdout + done.stderr).rstrip().splitlines()])

    run("list")
    web1.rename("eth1", "lan0")
    lines.append("$ # the administrator of web1 renames eth1")
    eventually(lambda: "lan0" in daemon.names("web1").values(), within=30, what="the map has lan0")
    run("resolve web1 lan0")
    run("show web1 eth1")
    run("find 10.9.0.10")
    return "".join(f"{line.rstrip()}\n" for line in lines)


def _furnish(daemon: Nicmapd, guests: dict[str, Guest]) -> None:
    """Something to see: a VLAN in web1, a guest that is paused, one whose agent hangs."""
    vlan = guests["web1"].add_vlan("lan0", 100)
    guests["web1"].add_address(vlan, "10.100.0.10/24")
    guests["backup"].suspend()
    guests["mail"].hang_agent()

    def seen() -> bool:
        lan0 = next(one for one in daemon.nics("web1") if one["name"] == "lan0")
        reached = any(one["interface"] == vlan for one in lan0["addresses"])
        states = [daemon.nics(name)[0]["name_state"] for name in ("backup", "mail")]
        return reached and "fresh" not in states

    eventually(seen, within=60, what="the map shows it")


def _shoot(browser: Any, address: str, name: str, path: str, text: str, **options: Any) -> None:
    context = browser.new_context(**{"viewport": {"width": 1360, "height": 760}, "device_scale_factor": 1.5, **options})
    page = context.new_page()
    page.goto(f"http://{address}{path}")
    page.get_by_text(text).first.wait_for()
    page.get_by_text("live", exact=True).wait_for()
    page.evaluate("document.fonts.ready")
    page.screenshot(path=IMAGES / f"{name}.png")
    context.close()
    print(f"   docs/img/{name}.png")


def _photograph(daemon: Nicmapd, address: str) -> None:
    IMAGES.mkdir(exist_ok=True)
    nic = next(one for one in daemon.nics("web1") if one["name"] == "lan0")
    panel = f"/#/nics?nic={nic['vm_uuid']}/{nic['id']}"
    small = {"width": 320, "height": 620}
    with launch() as browser:
        _shoot(browser, address, "page-light", panel, "renamed from eth1", color_scheme="light")
        _shoot(browser, address, "page-dark", panel, "renamed from eth1", color_scheme="dark")
        _shoot(browser, address, "networks-light", "/#/networks", "storage", color_scheme="light")
        _shoot(browser, address, "page-narrow", "/", "lan0", color_scheme="light", viewport=small)


def main() -> int:
    if why_not():
        print(f"no pictures: {why_not()}", file=sys.stderr)
        return 1
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{one.getsockname()[1]}"
    begun = time.monotonic()
    with LabHost(progress=lambda text: print(f"   {text}", file=sys.stderr, flush=True)) as host:
        guests = _guests(host)
        with Nicmapd(host.uri, settings={"api.listen": address, "log.level": "info"}) as daemon:
            eventually(
                lambda: all(None not in daemon.names(vm).values() for vm in NICS), within=60, what="all are named"
            )
            recording = _record(daemon, guests["web1"])
            _furnish(daemon, guests)
            _photograph(daemon, address)
    text = README.read_text(encoding="utf-8")
    README.write_text(BLOCK.sub(lambda found: found[1] + recording + found[2], text), encoding="utf-8")
    print(f"   README.md: the recording; {time.monotonic() - begun:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
