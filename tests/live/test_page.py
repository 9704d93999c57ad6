"""The web page in a real browser, on the real daemon and real guests."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser.chromium import GONE, launch, watched_page, why_not
from tests.lab import Guest, LabHost, eventually
from tests.lab.nicmapd import Nicmapd

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not() or "a browser is there")

TOKEN = "the-write-token-of-this-test-0123456789"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with launch() as browser:
        yield browser


@pytest.fixture
def address() -> str:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{one.getsockname()[1]}"


@pytest.fixture
def daemon(lab: LabHost, web1: Guest, address: str, tmp_path: Path) -> Iterator[Nicmapd]:
    """A nicmapd with the page, for whom has the write token; web1 is named."""
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n", encoding="ascii")
    file.chmod(0o600)
    with Nicmapd(lab.uri, settings={"api.listen": address, "api.write_token_file": str(file)}) as running:
        eventually(lambda: set(running.names(web1.name).values()) == {"eth0", "eth1"}, within=15, what="all names")
        yield running


@pytest.fixture
def page(request: pytest.FixtureRequest, chromium: Any, daemon: Nicmapd, address: str) -> Iterator[Any]:
    """The page; its parameter is what its console may say (nothing, without one)."""
    assert daemon.process is not None
    with watched_page(chromium, allowed=getattr(request, "param", "")) as opened:
        opened.set_default_timeout(20_000)
        opened.goto(f"http://{address}/")
        opened.get_by_text("live", exact=True).wait_for()
        opened.evaluate("window.sameDocument = true")
        yield opened
        assert opened.evaluate("window.sameDocument"), "the page was loaded anew"


def row(page: Any, mac: str) -> Any:
    return page.get_by_role("row").filter(has_text=mac)


def test_a_rename_in_the_guest_changes_the_row_and_its_panel(page: Any, web1: Guest) -> None:
    mac = web1.macs[1]
    row(page, mac).click()
    page.get_by_role("heading", name="eth1").wait_for()
    web1.rename("eth1", "lan0")
    row(page, mac).get_by_text("lan0").wait_for()
    page.get_by_role("heading", name="lan0").wait_for()
    page.get_by_text("renamed from eth1").wait_for()
    page.get_by_role("log").get_by_text("eth1 renamed to lan0").wait_for()


def test_a_hostile_name_is_text_and_runs_nothing(page: Any, web1: Guest) -> None:
    web1.rename("eth1", "<u>x<img>")
    found = row(page, web1.macs[1]).get_by_text("<u>x<img>")
    found.wait_for()
    assert found.evaluate("element => element.children.length") == 0


@pytest.mark.parametrize("page", [pytest.param(GONE, id="the browser misses it")], indirect=True)
def test_a_killed_daemon_is_said_and_nothing_is_lost_over_its_restart(page: Any, daemon: Nicmapd, web1: Guest) -> None:
    lost = page.get_by_role("alert").filter(has_text="Live updates lost")
    daemon.kill()
    lost.wait_for()
    web1.rename("eth1", "away0")
    assert row(page, web1.macs[1]).get_by_text("eth1").is_visible()
    daemon.start()
    lost.wait_for(state="hidden")
    row(page, web1.macs[1]).get_by_text("away0").wait_for()


def test_attach_link_and_detach_through_the_page(page: Any, web1: Guest) -> None:
    page.get_by_role("button", name="sign in").click()
    page.get_by_label("Token").fill(TOKEN)
    page.get_by_role("button", name="Sign in", exact=True).last.click()
    page.get_by_role("button", name="Attach NIC").click()
    dialog = page.get_by_role("dialog", name="Attach a NIC")
    dialog.get_by_label("VM").fill("web1")
    assert dialog.get_by_text("web1 gets a NIC on the network default.").is_visible()
    mac = "52:54:00:0c:0c:0c"
    dialog.get_by_label("MAC").fill(mac)
    dialog.get_by_role("button", name="Attach").click()
    dialog.get_by_text(re.compile(rf"Attached {mac} to default\. Its guest calls it eth2\.")).wait_for()
    dialog.get_by_role("button", name="Close").click()
    row(page, mac).get_by_text("eth2").click()
    panel = page.get_by_role("complementary", name="NIC")
    panel.get_by_role("button", name="Link down").click()
    page.get_by_role("dialog", name="Set the link of eth2 of web1 down?").get_by_role(
        "button", name="Link down"
    ).click()
    row(page, mac).get_by_text("link down").wait_for()
    panel.get_by_role("button", name="Detach").click()
    going = page.get_by_role("dialog", name="Detach eth2 from web1?")
    going.get_by_text(mac).wait_for()
    going.get_by_role("button", name="Detach").click()
    going.wait_for(state="detached")
    row(page, mac).wait_for(state="detached")
    assert mac not in {device.mac for device in web1.devices().values()}
