"""The program around the live table: what comes in goes to the table, the table to the screen, keys to the table."""

from __future__ import annotations

import time

from nicmapd.cli import layout, screen, supply, words
from nicmapd.cli.live import Live
from nicmapd.cli.session import Session
from nicmapd.cli.supply import Failed, Found, Read, Supply
from nicmapd.follow import Event, Lost, Missed


def run(session: Session, vm: str | None) -> None:
    """Shows the NICs of `vm`, or all, until a key ends it. The daemon must be there at the beginning."""
    uuid = None if vm is None else session.client.get("vms", vm)["uuid"]
    shown = Live()
    shown.fill(supply.read_all(session.client, uuid))
    with screen.opened() as terminal:
        source = Supply(session.connect, uuid, wake=terminal.wake)
        source.start()
        while True:
            for found in source.take():
                _tell(shown, found)
            shown.tick()
            width, height = terminal.size
            now = time.monotonic()
            terminal.draw(layout.frame(shown, width, height, now=now, wall=time.strftime("%H:%M:%S")))
            terminal.wait(1.0 - now % 1.0)
            for key in terminal.pressed():
                if not shown.press(key, layout.page(height, len(shown.news))):
                    return


def _tell(shown: Live, found: Found) -> None:
    if isinstance(found, Failed):
        raise found.error
    if isinstance(found, Read):
        shown.fill(found.nics, uuid=found.uuid)
    elif isinstance(found, Event):
        shown.tell(supply.news(found))
    elif isinstance(found, Missed):
        shown.tell(f"some changes were missed: {words.text(found.reason)}")
    elif isinstance(found, Lost):
        shown.lost(words.text(found.reason))
    else:
        shown.connected()
