"""Fixtures of the tests in a real browser: Debian's Chromium, driven by Playwright; no guests and no daemon.

`chromium`   the browser, for all tests here and no longer: Playwright's loop runs as long; without one they are skipped
`serve`      serve(world) -> the address of a server of that world, for one test; with `access`, tokens hold
`open_page`  open_page(address, ...) -> a page that has loaded its rows; whatever it logs as an error fails the test
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nicmapd.api import create_app
from nicmapd.api.door.access import Access
from nicmapd.api.door.sockets import listen_tcp
from tests.browser.chromium import launch, watched_page, why_not
from tests.fakes.asgi import LOCAL, with_peer
from tests.fakes.serving import Serving, serving
from tests.fakes.world import World

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    reason = why_not()
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.browser)
            if reason:
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="package")
def chromium() -> Iterator[Any]:
    with launch() as browser:
        yield browser


Serve = Callable[..., tuple[str, Serving]]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    with contextlib.ExitStack() as stack:

        def start(
            world: World, *, peer: Any = LOCAL, port: int = 0, access: Access | None = None, app: Any = None
        ) -> tuple[str, Serving]:
            app = app or create_app(world.board, world.store, world.service, world.clock, world.feed, access=access)
            if access is None:  # else it is a peer over TCP, with the token that it shows
                app = with_peer(app, peer)
            sockets = listen_tcp(f"127.0.0.1:{port}")
            number = sockets[0].getsockname()[1]
            running = stack.enter_context(serving(world, tmp_path, app=app, sockets=sockets))
            return f"http://127.0.0.1:{number}", running

        yield start


OpenPage = Callable[..., Any]


@pytest.fixture
def open_page(chromium: Any) -> Iterator[OpenPage]:
    with contextlib.ExitStack() as stack:

        def start(address: str, *, allowed: str = "", **options: Any) -> Any:
            page = stack.enter_context(watched_page(chromium, allowed=allowed, **options))
            page.goto(address)
            return page

        yield start
