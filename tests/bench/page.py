"""Part `page`: 5,000 NICs in the table of the web page, in a real browser: opened, filtered, scrolled."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nicmapd.api import create_app
from nicmapd.api.door.sockets import listen_tcp
from tests.bench.figures import Report, at_most, median, percentile
from tests.bench.ground import until_quiet
from tests.browser.chromium import launch, watched_page, why_not
from tests.browser.scripts import FILTER, SCROLL
from tests.fakes.asgi import LOCAL, with_peer
from tests.fakes.serving import serving
from tests.fakes.world import crowd

VMS = 2500
ROUNDS = 3
#: Frames of one scroll through the table, and pixels from one to the next: some 15 rows.
FRAMES = 180
STEP = 500


def run(report: Report) -> None:
    if why_not():
        raise RuntimeError(why_not())
    world = crowd(VMS, now=datetime.now(UTC))
    app = with_peer(create_app(world.board, world.store, world.service, world.clock, world.feed), LOCAL)
    sockets = listen_tcp("127.0.0.1:0")
    address = f"http://127.0.0.1:{sockets[0].getsockname()[1]}/"
    until_quiet(report)
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(world, Path(folder), app=app, sockets=sockets),
        launch() as browser,
    ):
        rounds = [_round(browser, address) for _ in range(ROUNDS)]
    rows = f"{2 * VMS:,} NICs"
    report.add(
        "page.open_ms", median([one["open"] for one in rounds]), "ms", f"from the address to {rows} in the table"
    )
    report.add(
        "page.filter_worst_ms",
        median([one["filter"] for one in rounds]),
        "ms",
        f"the slowest of eight searches in {rows}, until it is painted",
        at_most(200),
    )
    report.add("page.frame_p95_ms", median([one["still"] for one in rounds]), "ms", "between two frames, nothing moves")
    report.add(
        "page.scroll_p95_ms", median([one["scroll"] for one in rounds]), "ms", f"the same while {rows} are scrolled"
    )
    report.add(
        "page.scroll_ratio",
        median([one["scroll"] / one["still"] for one in rounds]),
        "",
        "frames while scrolling to frames at rest, p95",
        at_most(1.5),
    )


def _round(browser: Any, address: str) -> dict[str, float]:
    with watched_page(browser) as page:
        page.goto(address)
        page.get_by_text(f"{2 * VMS:,} NICs").wait_for()
        opened = page.evaluate("performance.now()")
        filtered = page.evaluate(FILTER)
        still = page.evaluate(SCROLL, [FRAMES, 0])
        scrolled = page.evaluate(SCROLL, [FRAMES, STEP])
        if page.get_by_role("row").filter(has_text="vm-0000").count():
            raise RuntimeError("the table was not scrolled")
    return {
        "open": opened,
        "filter": max(filtered),
        "still": percentile(still, 95),
        "scroll": percentile(scrolled, 95),
    }
