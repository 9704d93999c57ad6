"""The page's modules that need no page: the parser of the feed, the search line's addresses, texts and the stack."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from tests.browser.conftest import OpenPage, Serve
from tests.fakes.world import make_world


@pytest.fixture
def page(serve: Serve, open_page: OpenPage) -> Any:
    address, _ = serve(make_world(now=datetime.now(UTC)))
    return open_page(f"{address}/docs")


def test_the_feed_is_parsed_however_it_is_cut(page: Any) -> None:
    text = (
        'retry: 2000\nid: 7\n\n: nothing new\n\nid: 8\r\nevent: nic.renamed\r\ndata: {"a":\r\ndata: 1}\r\n\r\n'
        "data:x\rid:9\r\revent: lost\n\n"
    )
    events = page.evaluate(
        """async (text) => {
            const { Parser } = await import("/static/feed.js");
            const all = [];
            for (let size = 1; size <= text.length; size += 1) {
                const found = [];
                const parser = new Parser((event) => found.push(event));
                for (let at = 0; at < text.length; at += size) parser.feed(text.slice(at, at + size));
                all.push(JSON.stringify(found));
            }
            return [[...new Set(all)].length, JSON.parse(all[0])];
        }""",
        text,
    )
    assert events == [
        1,
        [
            {"type": "message", "id": "7", "data": ""},
            {"type": "nic.renamed", "id": "8", "data": '{"a":\n1}'},
            {"type": "message", "id": "9", "data": "x"},
        ],
    ]


def test_an_address_that_is_good_for_its_own_link_only_reaches_nothing(page: Any) -> None:
    cases = {
        "fe80::1": False,
        "FEBF::1": False,
        "169.254.7.7": False,
        "fec0::1": True,
        "10.0.0.1": True,
        "fd00::1": True,
    }
    found = page.evaluate(
        """async (cases) => {
            const { reached } = await import("/static/actions.js");
            return cases.map((ip) => reached({ addresses: [{ ip }] }));
        }""",
        list(cases),
    )
    assert dict(zip(cases, found, strict=True)) == cases


def test_addresses_of_a_network_are_found(page: Any) -> None:
    cases = {
        ("10.9.1.2", "10.9.0.0/16"): True,
        ("10.10.1.2", "10.9.0.0/16"): False,
        ("192.168.1.130", "192.168.1.128/25"): True,
        ("fe80::5054:ff:fe3f:2eb8", "fe80::/10"): True,
        ("2001:db8::1", "2001:db8:0:0:0:0:0:0/32"): True,
        ("2001:db9::1", "2001:db8::/32"): False,
        ("10.0.0.1", "::/0"): False,
    }
    found = page.evaluate(
        """async (cases) => {
            const { parse } = await import("/static/filter.js");
            return cases.map(([ip, network]) => parse(`ip:${network}`)({ addresses: [ip] }));
        }""",
        [list(case) for case in cases],
    )
    assert dict(zip(cases, found, strict=True)) == cases


def test_what_does_not_show_is_written_out_as_the_daemon_does(page: Any) -> None:
    from nicmapd.text import clean

    texts = [
        "\x1b[31m",
        "a\u202eb",
        "zero\u200bwidth",
        "no\u00a0break",
        "Ethernet 2 以太网",
        "\U000e0041",
        "ᅟ",
        "plain",
    ]
    shown = page.evaluate(
        """async (texts) => {
            const { shown } = await import("/static/words.js");
            return texts.map(shown);
        }""",
        texts,
    )
    assert shown == [clean(text) for text in texts]


def test_layers_stand_on_what_their_names_and_kinds_say(page: Any) -> None:
    stack = [("bond0", "bond"), ("bond0.100", "vlan"), ("br0", "bridge"), ("br0:1", "alias"), ("eth0.7", "vlan")]
    nic = {
        "name": "eth0",
        "candidates": [],
        "addresses": [],
        "stack": [{"name": name, "kind": kind, "mac": None} for name, kind in stack],
    }
    found = page.evaluate(
        """async (nic) => {
            const { tree } = await import("/static/stack.js");
            const plain = (one) => [one.name, ...one.above.map(plain)];
            return plain(tree(nic));
        }""",
        nic,
    )
    assert found == ["eth0", ["bond0", ["bond0.100"], ["br0", ["br0:1"]]], ["eth0.7"]]


def test_commands_survive_a_shell(page: Any) -> None:
    import shlex

    texts = ["plain", "two words", "it's", '"$(id)"', "a;b", "http://h:1/vms/x"]
    quoted = page.evaluate(
        """async (texts) => {
            const { quoted } = await import("/static/copy.js");
            return texts.map(quoted);
        }""",
        texts,
    )
    assert [shlex.split(one) for one in quoted] == [[text] for text in texts]
