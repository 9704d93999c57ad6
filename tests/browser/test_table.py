"""The table of the page, in a real browser, on fakes: what it shows, how it is filtered, and that names stay text."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tests.browser.conftest import OpenPage, Serve
from tests.browser.scripts import FILTER
from tests.fakes.world import HOSTILE_NAMES, World, crowd, make_world


@pytest.fixture
def world() -> World:
    return make_world(now=datetime.now(UTC))


def test_every_nic_has_its_row(serve: Serve, open_page: OpenPage, world: World) -> None:
    address, _ = serve(world)
    page = open_page(address)
    row = page.get_by_role("row").filter(has_text="win10")
    row.wait_for()
    assert "Ethernet 2" in row.inner_text()
    assert "stale" in row.inner_text()
    assert "14m" in row.inner_text()
    assert "no answer within 2 s" in row.inner_text()
    maybe = page.get_by_role("row").filter(has_text="eth5 or eth6?")
    assert "ambiguous" in maybe.inner_text()


def test_names_of_guests_and_vms_are_text_and_run_nothing(serve: Serve, open_page: OpenPage, world: World) -> None:
    address, _ = serve(world)
    page = open_page(address)
    page.get_by_role("row").filter(has_text="win10").wait_for()
    shown = page.locator(".row .name").all_inner_texts()
    assert set(HOSTILE_NAMES) <= set(shown)
    hostile = page.locator(".row .vm .text").first.inner_text()
    assert hostile == r"<b>\x1b[31mred\u202e [/oops] 以太网"
    assert page.locator("#app b, #app script").count() == 0


SEARCHES: dict[str, set[str]] = {
    "win10": {"Ethernet 2"},
    "52-54-00-00-04": {"Ethernet 2"},
    "vm:web1 name:ens7": {"ens7"},
    "name:eth5": {"eth5 or eth6?"},
    "ip:10.9.0.0/16": {"eth0"},
    "ip:fe80::/10": {"eth0"},
    "192.168.122.10": {"eth0"},
    "net:storage": {"ens7"},
    "mac:52:54:00:dd": {"ens7"},
    "state:last_known": {"eth0"},
    '"Ethernet 2" vm:win': {"Ethernet 2"},
    "vm:web1 -net:storage -state:ambiguous": {"eth0"},
    "nothing fits this": set(),
}


def test_the_search_line(serve: Serve, open_page: OpenPage, world: World) -> None:
    address, _ = serve(world)
    page = open_page(address)
    page.get_by_role("row").filter(has_text="win10").wait_for()
    found: dict[str, set[str]] = {}
    for text in SEARCHES:
        page.get_by_role("grid").evaluate("grid => grid.focus()")
        page.keyboard.press("/")  # also chooses what is there, so that typing replaces it
        page.keyboard.type(text)
        page.evaluate("new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")
        found[text] = set(page.locator(".sizer .row:not([hidden]) .name").all_inner_texts())
    assert found == SEARCHES
    page.get_by_role("button", name="Clear the filter").click()
    page.get_by_role("row").filter(has_text="win10").wait_for()


def test_five_thousand_rows_are_filtered_within_200_ms(serve: Serve, open_page: OpenPage) -> None:
    address, _ = serve(crowd(2500, now=datetime.now(UTC)))
    page = open_page(address)
    page.get_by_text("5,000 NICs").wait_for()
    assert page.locator(".sizer .row").count() < 100
    milliseconds = page.evaluate(FILTER)
    assert max(milliseconds) < 200, milliseconds
    page.get_by_role("grid").focus()
    page.keyboard.press("End")
    last = page.get_by_role("row").filter(has_text="vm-2499").last
    last.wait_for()
    assert last.get_attribute("aria-rowindex") == "5001"
