"""Tokens, and changes that are confirmed: in a real browser, on fakes."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from playwright.sync_api import TimeoutError as PlaywrightTimeout

from nicmapd.api.door.access import Access, Rules
from nicmapd.api.door.tokens import digest
from tests.browser.chromium import GONE
from tests.browser.conftest import OpenPage, Serve
from tests.fakes.changeable import ChangeableHost
from tests.fakes.world import World, make_world

READ, WRITE = "the-token-for-readers", "the-token-for-changes"
#: What a browser says of a request that is refused on purpose.
REFUSED = "401|412"


@pytest.fixture
def world() -> World:
    return make_world(now=datetime.now(UTC))


def test_where_reading_wants_a_token_the_page_asks_for_it_and_shows_nothing_before(
    serve: Serve, open_page: OpenPage, world: World
) -> None:
    address, _ = serve(world, access=Access(Rules(read_token=digest(READ.encode()))))
    page = open_page(address, allowed=REFUSED)
    page.get_by_role("heading", name="This nicmapd wants a token").wait_for()
    assert page.get_by_text("win10").count() == 0
    page.get_by_label("Token").fill("a-token-that-is-not-known")
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("alert").filter(has_text="token").wait_for()
    page.get_by_label("Token").fill(READ)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("row").filter(has_text="win10").wait_for()
    page.get_by_text("live", exact=True).wait_for()
    assert page.evaluate("[localStorage.length, document.cookie, location.href.includes('token')]") == [0, "", False]
    page.reload()
    page.get_by_role("row").filter(has_text="win10").wait_for()
    page.get_by_role("button", name="sign out").click()
    page.get_by_role("heading", name="This nicmapd wants a token").wait_for()


def test_a_token_that_is_none_any_more_is_asked_for_and_nothing_else_is(
    serve: Serve, open_page: OpenPage, world: World
) -> None:
    access = Access(Rules(read_token=digest(READ.encode())))
    address, running = serve(world, access=access)
    page = open_page(address, allowed=f"{REFUSED}|{GONE}")
    page.get_by_label("Token").fill(READ)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_text("live", exact=True).wait_for()
    access.rules = Rules(read_token=digest(b"another-token-for-readers"))
    running.loop.call_soon_threadsafe(lambda: running.server.hang_up(unless=lambda _other: False))
    page.get_by_role("heading", name="This nicmapd wants a token").wait_for()
    page.get_by_text("signed out", exact=True).wait_for()
    for words in ("sign out", "Retry now"):
        assert page.get_by_role("button", name=words).filter(visible=True).count() == 0
    # Longer than the feed's first pauses, in which it would have tried again.
    with pytest.raises(PlaywrightTimeout):
        page.wait_for_event("request", timeout=2000)
    page.get_by_label("Token").fill("another-token-for-readers")
    page.get_by_role("button", name="Sign in").click()
    page.get_by_text("live", exact=True).wait_for()
    page.get_by_role("row").filter(has_text="win10").wait_for()


def test_changes_are_for_the_write_token_only(serve: Serve, open_page: OpenPage, world: World) -> None:
    rules = Rules(read_token=digest(READ.encode()), write_token=digest(WRITE.encode()))
    address, _ = serve(world, access=Access(replace(rules, read_token=None)))
    page = open_page(address, allowed=REFUSED)
    page.get_by_role("button", name="sign in").click()
    page.get_by_label("Token").fill("a-token-that-is-not-known")
    page.locator("form.signin").get_by_role("button", name="Sign in", exact=True).click()
    page.get_by_role("alert").filter(has_text="token").wait_for()
    page.locator("form.signin").get_by_role("button", name="Cancel").click()
    page.get_by_role("row").filter(has_text="win10").wait_for()
    page.get_by_role("button", name="sign in").click()
    page.get_by_label("Token").fill(WRITE)
    page.locator("form.signin").get_by_role("button", name="Sign in", exact=True).click()
    page.get_by_role("button", name="Attach NIC").wait_for()


def test_what_changed_since_it_was_shown_is_not_detached(serve: Serve, open_page: OpenPage, world: World) -> None:
    host = ChangeableHost()
    vm = host.add("web1", nics=2)
    address, _ = serve(world, app=host.app)
    page = open_page(address, allowed=REFUSED)
    page.get_by_role("row").filter(has_text=vm.nics[0].mac).click()
    page.get_by_role("button", name="Detach").click()
    dialog = page.get_by_role("dialog", name="Detach eth0 from web1?")
    dialog.get_by_text(vm.nics[0].mac).wait_for()
    vm.nics[0].name = "wan0"
    host.look(vm)
    dialog.get_by_role("button", name="Detach").click()
    changed = page.get_by_role("dialog", name="Detach wan0 from web1?")
    changed.get_by_text("It is not any more what was shown").wait_for()
    changed.get_by_role("button", name="Cancel").click()
    assert len(vm.nics) == 2
