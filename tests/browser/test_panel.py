"""The panel of a NIC, the networks, the dialogs, and what becomes of the page when the daemon goes: on fakes."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe

from tests.browser.chromium import GONE
from tests.browser.conftest import OpenPage, Serve
from tests.fakes.asgi import REMOTE
from tests.fakes.world import World, empty_world, make_world, uuid_of

ETH0 = f"{uuid_of(1)}/nic-1-0"
ENS7 = f"{uuid_of(1)}/nic-1-1"
VIEWS = {
    "table": "/#/nics",
    "panel": f"/#/nics?nic={ETH0}",
    "networks": "/#/networks",
    "manual": "/docs",
}


@pytest.fixture
def world() -> World:
    return make_world(now=datetime.now(UTC))


def settled(page: Any, view: str) -> None:
    """Waits until a view shows what it has."""
    texts = {"table": "a/b", "panel": "first known", "networks": "win10", "manual": "getInterface"}
    if view == "manual":
        page.locator("#getInterface").wait_for()
    else:
        page.get_by_text(texts[view]).first.wait_for()


def test_the_keyboard_opens_a_nic_and_comes_back(serve: Serve, open_page: OpenPage, world: World) -> None:
    address, _ = serve(world)
    page = open_page(address)
    settled(page, "table")
    page.keyboard.press("/")
    page.keyboard.type("vm:web1")
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    panel = page.get_by_role("complementary", name="NIC")
    assert panel.get_by_role("heading", level=2).inner_text() == "ens7"
    assert panel.get_by_role("heading", level=2).evaluate("element => element === document.activeElement")
    assert page.get_by_role("row", selected=True).get_by_text("ens7").is_visible()
    page.keyboard.press("Escape")
    assert panel.is_hidden()
    assert page.get_by_role("grid").evaluate("element => element === document.activeElement")


def test_the_panel_tells_evidence_stack_and_past(serve: Serve, open_page: OpenPage, world: World) -> None:
    address, _ = serve(world)
    page = open_page(f"{address}/#/nics?nic={ETH0}")
    panel = page.get_by_role("complementary", name="NIC")
    picture = panel.get_by_role("img", name=re.compile("From the host into the guest"))
    words = picture.get_attribute("aria-label")
    order = ["default (network · virbr0)", "vnet10 (host device)", "eth0 (NIC)", "bond0 (bond)", "bond0.100 (vlan)"]
    assert [words.index(word) for word in order] == sorted(words.index(word) for word in order)
    assert "10.9.0.10/24" in words
    panel.get_by_text("eth0 is the device at 0000:01:00.0").wait_for()
    page.goto(f"{address}/#/nics?nic={ENS7}")
    page.reload()
    panel.get_by_text("renamed from eth1").wait_for()


def test_commands_are_copied_without_the_token(serve: Serve, open_page: OpenPage, world: World) -> None:
    address, _ = serve(world)
    page = open_page(f"{address}/#/nics?nic={ETH0}", permissions=["clipboard-read", "clipboard-write"])
    panel = page.get_by_role("complementary", name="NIC")
    read = "() => navigator.clipboard.readText()"
    copied = {}
    for name in ("MAC", "curl", "virsh"):
        panel.get_by_role("button", name=name, exact=True).click()
        panel.get_by_text("copied").first.wait_for()
        copied[name] = page.evaluate(read)
        panel.get_by_role("button", name=name, exact=True).wait_for()
    assert copied["MAC"] == "52:54:00:00:01:00"
    assert copied["curl"] == f"curl -s {address}/vms/{uuid_of(1)}/interfaces/52:54:00:00:01:00"
    assert (
        copied["virsh"]
        == "virsh -c qemu:///system dumpxml web1 --xpath \"//interface[mac/@address='52:54:00:00:01:00']\""
    )


def test_a_dialog_names_what_goes_and_escape_does_nothing(serve: Serve, open_page: OpenPage, world: World) -> None:
    address, _ = serve(world)
    page = open_page(f"{address}/#/nics?nic={ETH0}")
    page.get_by_role("button", name="Detach").click()
    dialog = page.get_by_role("dialog", name="Detach eth0 from web1?")
    dialog.get_by_text("No other NIC of the VM has an address").wait_for()
    for text in ("52:54:00:00:01:00", "default", "192.168.122.10", "bond0 (bond)"):
        assert text in dialog.inner_text()
    assert dialog.get_by_role("button", name="Cancel").evaluate("element => element === document.activeElement")
    page.keyboard.press("Escape")
    dialog.wait_for(state="detached")
    assert [one.id for one in world.board.find("web1").nics] == ["nic-1-0", "nic-1-1", "nic-1-2"]


def test_who_may_only_read_is_offered_no_change(serve: Serve, open_page: OpenPage, world: World) -> None:
    address, _ = serve(world, peer=REMOTE)
    page = open_page(f"{address}/#/nics?nic={ETH0}")
    page.get_by_role("group", name="Copy").get_by_role("button", name="MAC").wait_for()
    page.get_by_role("button", name="sign in").wait_for()
    for name in ("Detach", "Link down", "Attach NIC", "Ask the guest now"):
        assert page.get_by_role("button", name=name).filter(visible=True).count() == 0


def test_networks_are_drawn_with_their_nics(serve: Serve, open_page: OpenPage, world: World) -> None:
    address, _ = serve(world)
    page = open_page(f"{address}/#/networks")
    settled(page, "networks")
    storage = page.locator(".cable").filter(has=page.get_by_role("heading", name="storage"))
    assert "ens7" in storage.inner_text()
    storage.get_by_role("button", name=re.compile("web1")).click()
    assert page.get_by_role("complementary", name="NIC").get_by_role("heading", level=2).inner_text() == "ens7"
    page.keyboard.press("Escape")
    storage.get_by_role("button", name="In the table").click()
    page.get_by_text("1 of 15 NICs").wait_for()
    page.get_by_role("searchbox").fill("nothing fits this")
    page.get_by_role("link", name="Networks").click()
    storage.get_by_role("button", name="In the table").click()
    page.get_by_text("1 of 15 NICs").wait_for()


def test_a_link_to_a_nic_that_is_not_there_says_so(serve: Serve, open_page: OpenPage, world: World) -> None:
    address, _ = serve(world)
    page = open_page(f"{address}/#/nics?nic=nobody%20knows")
    panel = page.get_by_role("complementary", name="NIC")
    panel.get_by_role("heading", level=2, name="not there").wait_for()
    panel.get_by_text("There is no such NIC now").wait_for()


def test_back_and_forward_and_an_address_by_hand_are_followed(serve: Serve, open_page: OpenPage, world: World) -> None:
    address, _ = serve(world)
    page = open_page(f"{address}/#/nics?q=web1")
    panel = page.get_by_role("complementary", name="NIC")
    page.get_by_role("row").filter(has_text="ens7").click()
    panel.get_by_role("heading", level=2, name="ens7").wait_for()
    page.go_back()
    panel.wait_for(state="hidden")
    assert page.get_by_role("searchbox").input_value() == "web1"
    page.go_forward()
    panel.get_by_role("heading", level=2, name="ens7").wait_for()
    page.evaluate("location.hash = '#/nics?q=network%3Astorage'")
    panel.wait_for(state="hidden")
    page.get_by_text("1 of 15 NICs").wait_for()
    assert page.get_by_role("searchbox").input_value() == "network:storage"
    page.evaluate("location.hash = '#/nics?network=default'")
    page.get_by_role("row").filter(has_text="ens7").wait_for(state="detached")
    assert page.get_by_label("Network", exact=True).input_value() == "default"


def test_a_lost_daemon_is_said_and_a_new_one_is_found(serve: Serve, open_page: OpenPage, world: World) -> None:
    address, running = serve(world)
    page = open_page(address, allowed=GONE)
    page.get_by_text("live", exact=True).wait_for()
    running.stop()
    page.get_by_role("alert").filter(has_text="Live updates lost").wait_for()
    again = make_world(now=datetime.now(UTC))
    again.vm(70, "newcomer", [])
    serve(again, port=int(address.rpartition(":")[2]))
    page.get_by_role("button", name="Retry now").click()
    page.get_by_role("row").filter(has_text="newcomer").wait_for()
    page.get_by_role("alert").filter(has_text="Live updates lost").wait_for(state="hidden")


def test_a_host_without_vms_says_so(serve: Serve, open_page: OpenPage) -> None:
    world = empty_world(now=datetime.now(UTC))
    world.service.degrade("libvirt does not answer")
    address, _ = serve(world)
    page = open_page(address)
    page.get_by_role("heading", name="No VMs yet").wait_for()
    assert "Degraded" in page.locator(".banner.mild").inner_text()


@pytest.mark.parametrize("view", VIEWS)
def test_320_pixels_are_enough(serve: Serve, open_page: OpenPage, world: World, view: str) -> None:
    address, _ = serve(world)
    page = open_page(address + VIEWS[view], viewport={"width": 320, "height": 640})
    settled(page, view)
    assert page.evaluate("document.scrollingElement.scrollWidth") <= 320
    wide = page.evaluate(
        """() => [...document.querySelectorAll("button, a, input, select, h1, h2")]
            .filter((one) => one.checkVisibility() && !one.closest(".chips, .contents"))
            .filter((one) => one.getBoundingClientRect().right > 321)
            .map((one) => one.outerHTML)"""
    )
    assert wide == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("view", [*VIEWS, "dialog"])
def test_axe_finds_no_serious_fault(serve: Serve, open_page: OpenPage, world: World, view: str, scheme: str) -> None:
    address, _ = serve(world)
    # axe is put into the page, which its policy forbids to everybody.
    page = open_page(address + VIEWS.get(view, VIEWS["panel"]), color_scheme=scheme, bypass_csp=True)
    settled(page, "panel" if view == "dialog" else view)
    if view == "dialog":
        page.get_by_role("button", name="Detach").click()
        page.get_by_role("dialog").get_by_text("192.168.122.10").wait_for()
    found = Axe().run(page).response["violations"]
    serious = [
        f"{one['id']}: {one['help']}: {[node['html'][:200] for node in one['nodes'][:3]]}"
        for one in found
        if one["impact"] in ("serious", "critical")
    ]
    assert serious == []


def test_the_theme_can_be_chosen_and_is_kept(serve: Serve, open_page: OpenPage, world: World) -> None:
    address, _ = serve(world)
    page = open_page(address, color_scheme="light")
    settled(page, "table")
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    page.get_by_role("button", name="theme: as the system").click()
    page.get_by_role("button", name="theme: light").click()
    page.get_by_role("button", name="theme: dark").wait_for()
    assert page.evaluate(ground) != light
    page.reload()
    page.get_by_role("button", name="theme: dark").wait_for()
    assert page.evaluate(ground) != light


def test_a_card_on_a_narrow_screen_names_vm_nic_and_mac(serve: Serve, open_page: OpenPage, world: World) -> None:
    address, _ = serve(world)
    page = open_page(f"{address}/#/nics?q=192.168.122.10", viewport={"width": 320, "height": 640})
    row = page.get_by_role("row").filter(has_text="52:54:00:00:01:00")
    row.wait_for()
    for column in ("vm", "name", "mac", "addresses", "state"):
        box = row.locator(f".cell.{column}").bounding_box()
        assert box is not None
        assert box["width"] > 40, column
    page.goto(f"{address}/#/nics?nic={ETH0}")
    picture = page.get_by_role("img", name=re.compile("From the host into the guest"))
    for layer in ("default", "vnet10", "eth0", "bond0.100"):
        assert picture.get_by_text(layer, exact=True).is_visible()
