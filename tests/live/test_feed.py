"""The change feed with a real guest, and a terminal that follows it, through renames and a daemon that dies."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fakes.events import EventClient
from tests.fakes.terminal import Terminal
from tests.lab import Guest, LabHost
from tests.lab.nicmapd import BIN, Nicmapd


@pytest.fixture
def daemon(lab: LabHost) -> Iterator[Nicmapd]:
    with Nicmapd(lab.uri, settings={"poll.interval": "2"}) as running:
        yield running


def row(lines: list[str], word: str) -> str:
    return next((line for line in lines if word in line), "")


def test_a_terminal_follows_a_guest_and_outlives_the_daemon(daemon: Nicmapd, web1: Guest) -> None:
    mac = web1.macs[1]
    command = [str(BIN / "nicmapctl"), "--socket", str(daemon.socket), "watch", "web1"]
    with Terminal(command, columns=110) as terminal:
        terminal.until(lambda lines: "  live  " in lines[0] and "eth1" in row(lines, mac), within=60)
        with EventClient(daemon.socket, "/events?vm=web1", timeout=30) as client:
            web1.rename("eth1", "lan0")
            kinds = {}
            while "nic.renamed" not in kinds:
                (event,) = client.changes(1)
                kinds[event.kind] = event
        renamed = kinds["nic.renamed"]
        assert (renamed.data["old"], renamed.data["new"], renamed.data["mac"]) == ("eth1", "lan0", mac)
        terminal.until(lambda lines: row(lines, mac).startswith("*web1  lan0"), within=20)

        daemon.kill()
        terminal.until(lambda lines: "retrying" in lines[0], within=20)
        web1.rename("lan0", "wan0")
        daemon.start()
        terminal.until(lambda lines: "  live  " in lines[0] and "wan0" in row(lines, mac), within=60)
        with EventClient(daemon.socket, headers={"Last-Event-ID": str(renamed.id)}, timeout=30) as client:
            while True:
                (event,) = client.changes(1)
                if event.kind == "nic.renamed":
                    break
        assert (event.data["old"], event.data["new"]) == ("lan0", "wan0")
        terminal.press("q")
        assert terminal.end() == 0
