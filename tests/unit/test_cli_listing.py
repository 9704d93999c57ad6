"""The forms of `nicmapctl list`, the tree of `show` and the timeline of `history`."""

from __future__ import annotations

import csv
import io
import itertools
import json
import shlex
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from nicmapd.cli import columns, listing, timeline, tree
from tests.fakes.serving import nicmapctl_at, serving
from tests.fakes.world import World, make_world, named, uuid_of

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[World, Path]]:
    world = make_world(now=datetime.now(UTC))
    world.vm(9, "-rf", [world.nic(9, 0, named("=1+1")), world.nic(9, 1, named("-h"))])
    with serving(world, tmp_path_factory.mktemp("host")) as running:
        yield world, running.path


@pytest.fixture
def nicmapctl(host: tuple[World, Path], capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: str) -> tuple[int, str, str]:
        code = nicmapctl_at(host[1], *arguments)
        out, err = capsys.readouterr()
        return code, out, err

    return run


# -- forms


def test_each_form_has_all_nics(nicmapctl: Run) -> None:
    everything = json.loads(nicmapctl("list", "--json")[1])["items"]
    assert len(everything) == 17
    assert json.loads(nicmapctl("list", "-o", "json")[1])["items"] == everything
    assert [json.loads(line) for line in nicmapctl("list", "-o", "jsonl")[1].splitlines()] == everything
    for form in ("table", "wide", "csv", "name"):
        lines = nicmapctl("list", "-o", form)[1].splitlines()
        assert len(lines) == 17 + (form != "name")
        assert len(nicmapctl("list", "-o", form, "--no-headers")[1].splitlines()) == 17


def test_names_can_be_given_back(nicmapctl: Run) -> None:
    """Every line is the end of a call that finds that very NIC."""
    everything = json.loads(nicmapctl("list", "--json")[1])["items"]
    for line, nic in zip(nicmapctl("list", "-o", "name")[1].splitlines(), everything, strict=True):
        code, out, err = nicmapctl("show", "--json", *shlex.split(line))
        assert (code, err) == (0, "")
        assert json.loads(out)["id"] == nic["id"]


def test_a_vm_called_by_another_one_s_uuid_is_given_by_its_own() -> None:
    nic = {"vm": uuid_of(7), "vm_uuid": uuid_of(8), "mac": "52:54:00:00:08:00", "alias": None, "name": None}
    assert listing.names([nic]) == f"{uuid_of(8)} 52:54:00:00:08:00\n"


def test_csv_reads_back(nicmapctl: Run) -> None:
    code, out, _ = nicmapctl("list", "-o", "csv")
    assert code == 0
    rows = list(csv.DictReader(io.StringIO(out)))
    assert list(rows[0]) == list(columns.NARROW)
    by_mac = {row["mac"]: row for row in rows}
    assert by_mac["52:54:00:00:01:00"]["addresses"] == "192.168.122.10/24 fe80::5054:ff:fe3f:2eb8/64 10.9.0.10/24"
    assert by_mac["52:54:00:00:01:02"] | {"age": ""} == {
        "vm": "web1",
        "name": "",
        "mac": "52:54:00:00:01:02",
        "network": "default",
        "target": "vnet12",
        "state": "ambiguous",
        "addresses": "",
        "age": "",
        "note": "eth5 or eth6",
    }


def test_a_spreadsheet_runs_no_guest_s_name(nicmapctl: Run) -> None:
    cells = list(csv.reader(io.StringIO(nicmapctl("list", "-o", "csv", "-c", "vm,name")[1])))
    assert ["'-rf", "'=1+1"] in cells
    assert not [cell for row in cells for cell in row if cell.startswith(("=", "+", "-", "@"))]


def test_columns_of_choice(nicmapctl: Run) -> None:
    assert nicmapctl("list", "web1", "-c", "nic,HOST-IF,by,pci") == (
        0,
        "NIC   HOST-IF  BY     PCI\n"
        "eth0  vnet10   probe  0000:01:00.0\n"
        "ens7  vnet11   probe  0000:02:00.0\n"
        "-     vnet12   -      0000:03:00.0\n",
        "",
    )
    assert nicmapctl("list", "web1", "-c", "name,mac", "--no-headers", "-o", "csv")[1].splitlines() == [
        "eth0,52:54:00:00:01:00",
        "ens7,52:54:00:00:01:01",
        ",52:54:00:00:01:02",
    ]


def test_every_column_shows_something(nicmapctl: Run) -> None:
    for name in columns.COLUMNS:
        code, out, err = nicmapctl("list", "-c", name)
        assert (code, err) == (0, "")
        assert any(line.strip() not in ("", "-") for line in out.splitlines()[1:]), name


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-c", "vmm"], 'did you mean "vm"?'),
        (["-c", ""], "there are vm, name"),
        (["--sort", "size"], 'there is no column "size"'),
        (["-o", "xml"], "'xml' is not one of"),
        (["--json", "-o", "csv"], "contradict each other"),
        (["-o", "name", "-c", "vm"], "--columns is for table, wide and csv"),
    ],
)
def test_what_cannot_be_had_is_refused(nicmapctl: Run, arguments: list[str], words: str) -> None:
    code, out, err = nicmapctl("list", *arguments)
    assert (code, out) == (2, "")
    assert words in err


@pytest.mark.parametrize(
    ("order", "first", "last"),
    [
        ("name", "52:54:00:00:00:01", ""),
        ("age", "2s", "-"),
        ("-age", "3d", "-"),
        ("addresses", "192.168.122.10/24 fe80::5054:ff:fe3f:2eb8/64 10.9.0.10/24", "-"),
    ],
)
def test_what_has_nothing_there_comes_last(nicmapctl: Run, order: str, first: str, last: str) -> None:
    column = order.removeprefix("-")
    lines = nicmapctl("list", "--sort", order, "-c", column, "--no-headers")[1].splitlines()
    assert lines[0] == first
    assert lines[-1].strip("-") == last.strip("-")


def test_sorting_is_as_people_count() -> None:
    def nics(key: str, values: Sequence[Any]) -> list[dict[str, Any]]:
        return [{key: value} for value in values]

    names = columns.ordered(nics("name", ["eth10", None, "eth2", "ens3", "Eth1"]), [(columns.column("nic"), False)])
    assert [nic["name"] for nic in names] == ["ens3", "Eth1", "eth2", "eth10", None]
    addresses = [[{"ip": ip, "prefix": 24}] for ip in ("10.0.0.10", "fe80::1", "10.0.0.9")]
    found = columns.ordered(nics("addresses", [*addresses, []]), [(columns.column("addresses"), False)])
    assert [[one["ip"] for one in nic["addresses"]] for nic in found] == [["10.0.0.9"], ["10.0.0.10"], ["fe80::1"], []]


def test_sorting_by_several_columns_is_stable() -> None:
    order = [(columns.column("vm"), True), (columns.column("mac"), False)]
    rows = [{"vm": vm, "mac": mac} for vm, mac in itertools.product("ab", "21")]
    assert [(nic["vm"], nic["mac"]) for nic in columns.ordered(rows, order)] == [
        ("b", "1"),
        ("b", "2"),
        ("a", "1"),
        ("a", "2"),
    ]


def test_find_has_the_same_forms(nicmapctl: Run) -> None:
    assert nicmapctl("find", "eth0", "-o", "name", "--sort", "-vm") == (0, "web1 eth0\nold eth0\n", "")


# -- the tree


def nic(name: str | None, *layers: tuple[str, str], addresses: dict[str, str] | None = None, **members: Any) -> Any:
    return {
        "name": name,
        "mac": "52:54:00:00:00:01",
        "guest_mac": None,
        "candidates": [],
        "stack": [{"name": layer, "kind": kind, "mac": "52:54:00:00:00:01"} for layer, kind in layers],
        "addresses": [{"ip": ip, "prefix": 24, "interface": on} for ip, on in (addresses or {}).items()],
    } | members


def test_a_bridge_stands_on_the_only_bond() -> None:
    found = tree.draw(nic("eth0", ("bond0", "bond"), ("br0", "bridge"), addresses={"10.0.0.1": "br0"}))
    assert found == ["eth0", "└─ bond0 (bond)", "   └─ br0 (bridge)  10.0.0.1/24"]


def test_what_stands_on_what_is_told_by_names() -> None:
    stack = (("eth0.5", "vlan"), ("eth0.5:1", "alias"), ("eth0:1", "alias"), ("macvtap0", "macvlan"))
    assert tree.draw(nic("eth0", *stack)) == [
        "eth0",
        "├─ eth0.5 (vlan)",
        "│  └─ eth0.5:1 (alias)",
        "├─ eth0:1 (alias)",
        "└─ macvtap0 (macvlan)",
    ]


def test_what_is_not_known_stands_under_the_nic() -> None:
    """The bridge may be on eth0 or on its VLAN."""
    assert tree.draw(nic("eth0", ("br0", "bridge"), ("eth0.5", "vlan"))) == [
        "eth0",
        "├─ br0 (bridge)",
        "└─ eth0.5 (vlan)",
    ]


def test_several_addresses_hang_below_each_other() -> None:
    addresses = {"10.0.0.1": "eth0", "10.0.0.2": "eth0", "10.0.0.3": "bond0"}
    assert tree.draw(nic("eth0", ("bond0", "bond"), addresses=addresses)) == [
        "eth0             10.0.0.1/24",
        "│                10.0.0.2/24",
        "└─ bond0 (bond)  10.0.0.3/24",
    ]


def test_a_nic_that_may_be_two_interfaces_has_two_trees() -> None:
    found = nic(None, ("bond0", "bond"), ("eth5.7", "vlan"), candidates=["eth5", "eth6"])
    assert tree.draw(found) == ["eth5", "└─ eth5.7 (vlan)", "eth6", "bond0 (bond)"]


def test_a_layer_with_a_mac_of_its_own_shows_it() -> None:
    found = nic("eth0", ("eth0.5", "vlan"))
    found["stack"][0]["mac"] = "52:54:00:00:00:99"
    assert tree.draw(found)[1] == "└─ eth0.5 (vlan) 52:54:00:00:00:99"


def test_names_that_refer_to_each_other_end_somewhere() -> None:
    """A guest names its interfaces as it likes."""
    stack = [(name, "vlan") for name in ("a.1", "a.1.1", "a.1.1.1", "eth0", "eth0.eth0", ".", ":")]
    found = tree.draw(nic("eth0", *stack))
    assert sorted(line.strip("│├└─ ").partition(" ")[0] for line in found) == sorted({name for name, _ in stack})


def test_nothing_is_drawn_of_nothing() -> None:
    assert tree.draw(nic("eth0")) == []


# -- the timeline

START = datetime(2026, 1, 1, tzinfo=UTC)


def stretch(begin: int, end: int | None, **members: Any) -> dict[str, Any]:
    """What was known of a NIC from one hour to another."""
    return {
        "id": "nic-1",
        "from": (START + timedelta(hours=begin)).isoformat(),
        "to": None if end is None else (START + timedelta(hours=end)).isoformat(),
        "name": "eth0",
        "name_state": "last_known",
        "name_source": "probe",
        "candidates": [],
        "mac": "52:54:00:00:00:01",
        "guest_mac": None,
        "type": "network",
        "network": "default",
        "source": "default",
        "target": "vnet1",
        "link": "up",
        "addresses": [],
        "reason": "because",
    } | members


def told(*items: dict[str, Any], whole: bool = True) -> list[tuple[int, str]]:
    """Hour and what happened, oldest first."""
    found = timeline.events(list(reversed(items)), whole=whole)
    return [((event.at - START) // timedelta(hours=1), event.what) for event in reversed(found)]


ADDRESS = [{"ip": "10.0.0.1", "prefix": 24, "interface": "eth0"}]


@pytest.mark.parametrize(
    ("after", "what"),
    [
        ({"name": "ens3"}, "renamed from eth0"),
        ({"name": None, "name_state": "unseen"}, "not certainly eth0 any more: not shown by the guest"),
        (
            {"name": None, "name_state": "ambiguous", "candidates": ["a", "b"]},
            "not certainly eth0 any more: may be a or b",
        ),
        ({"addresses": ADDRESS}, "has 10.0.0.1/24 on eth0"),
        ({"network": "storage"}, "moved from default to storage"),
        ({"mac": "52:54:00:00:00:02"}, "has the MAC 52:54:00:00:00:02, before 52:54:00:00:00:01"),
        ({"guest_mac": "52:54:00:00:00:02"}, "the guest uses the MAC 52:54:00:00:00:02"),
        ({"link": "down"}, "link down"),
        ({"target": "vnet7"}, "plugged in as vnet7"),
        ({"name_source": "agent"}, "named by agent, before by probe"),
        ({"reason": "another"}, "noted anew: another"),
    ],
)
def test_each_change_has_its_words(after: dict[str, Any], what: str) -> None:
    assert told(stretch(0, 1), stretch(1, None, **after)) == [(0, "first seen, on default, named eth0"), (1, what)]


def test_and_back_again() -> None:
    assert told(
        stretch(0, 1, name=None, name_state="never", addresses=ADDRESS, guest_mac="52:54:00:00:00:02"), stretch(1, None)
    ) == [
        (0, "first seen, on default, its name is not known, 10.0.0.1/24"),
        (1, "the guest uses the MAC 52:54:00:00:00:01 again"),
        (1, "has no more 10.0.0.1/24"),
        (1, "named eth0"),
    ]


def test_what_ended_is_gone_and_may_come_again() -> None:
    assert told(stretch(0, 1), stretch(3, 4, name="ens3")) == [
        (0, "first seen, on default, named eth0"),
        (1, "gone"),
        (3, "there again, on default, named ens3"),
        (4, "gone"),
    ]


def test_what_was_before_the_beginning_is_not_claimed() -> None:
    assert told(stretch(0, None), whole=False) == [(0, "known, on default, named eth0")]


def test_history_is_told_by_day(host: tuple[World, Path], capsys: pytest.CaptureFixture[str]) -> None:
    now = host[0].clock.now()
    nicmapctl_at(host[1], "history", "web1", "ens7", clock=lambda: now)
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if not line.startswith(" ")] == [
        f"{moment.astimezone():%Y-%m-%d}" + near
        for moment, near in ((now, " (today)"), (now - timedelta(days=1), " (yesterday)"))
        if (now - timedelta(hours=2)).astimezone().date() == now.astimezone().date() or near != " (today)"
    ]
    assert [line.split(maxsplit=3)[3] for line in lines if line.startswith(" ")] == [
        "renamed from eth1",
        "the guest uses the MAC 52:54:00:dd:00:01",
        "first seen, on storage, named eth1",
    ]
