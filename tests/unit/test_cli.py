"""nicmapctl against a real server on a Unix socket: what each command prints, for people, for scripts, in trouble."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from nicmapd.cli import program
from nicmapd.errors import AgentFailure
from nicmapd.model import Change, ChangeKind
from tests.fakes.serving import nicmapctl_at, serving
from tests.fakes.world import HOUR, World, empty_world, make_world, named, uuid_of


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[World, Path]]:
    """One server for all tests that only read."""
    world = make_world(now=datetime.now(UTC))
    with serving(world, tmp_path_factory.mktemp("host")) as running:
        yield world, running.path


@pytest.fixture
def own_host(tmp_path: Path) -> Iterator[tuple[World, Path]]:
    """A server of its own, for a test that changes things."""
    world = make_world(now=datetime.now(UTC))
    with serving(world, tmp_path) as running:
        yield world, running.path


Run = Callable[..., tuple[int, str, str]]


def runner(path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: str) -> tuple[int, str, str]:
        code = nicmapctl_at(path, *arguments)
        out, err = capsys.readouterr()
        for text in (out, err):  # whatever it says, a terminal can take it
            assert all(line.isprintable() for line in text.split("\n")), text
        return code, out, err

    return run


@pytest.fixture
def nicmapctl(host: tuple[World, Path], capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(host[1], capsys)


# -- list


def test_an_empty_list_says_whether_that_is_known(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world = empty_world()
    with serving(world, tmp_path) as running:
        nicmapctl = runner(running.path, capsys)
        assert nicmapctl("list")[2].endswith("there are no NICs\n")
        world.service.degrade("nobody listens")
        assert nicmapctl("list")[2].endswith("no NICs are known: no connection to libvirt: nobody listens\n")


def test_list_of_a_vm(nicmapctl: Run) -> None:
    assert nicmapctl("list", "web1") == (
        0,
        "VM    NIC   MAC                NETWORK  HOST-IF  STATE      "
        "ADDRESSES                                                  AGE  NOTE\n"
        "web1  eth0  52:54:00:00:01:00  default  vnet10   fresh      "
        "192.168.122.10/24 fe80::5054:ff:fe3f:2eb8/64 10.9.0.10/24  2s\n"
        "web1  ens7  52:54:00:00:01:01  storage  vnet11   fresh      "
        "-                                                          2s   guest uses 52:54:00:dd:00:01\n"
        "web1  -     52:54:00:00:01:02  default  vnet12   ambiguous  "
        "-                                                          2s   eth5 or eth6\n",
        "",
    )


def test_list_has_no_note_where_there_is_none(nicmapctl: Run) -> None:
    assert nicmapctl("list", "pair") == (
        0,
        "VM    NIC    MAC                NETWORK    HOST-IF  STATE  ADDRESSES  AGE\n"
        "pair  ens9   52:54:00:aa:aa:aa  default    vnet20   fresh  -          2s\n"
        "pair  ens10  52:54:00:aa:aa:aa  (network)  vnet21   fresh  -          2s\n",
        "",
    )


@pytest.mark.parametrize(
    ("vm", "line"),
    [
        ("win10", "win10  Ethernet 2  52:54:00:00:04:00  default  vnet40   stale  -          14m  agent unresponsive"),
        ("db1", "db1  -    52:54:00:00:05:00  (bridge)  vnet50   never  -          -    no agent channel"),
        ("old", "old  eth0  52:54:00:00:06:00  default  -        last_known  -          3d   VM is off"),
    ],
)
def test_list_says_why_in_a_few_words(nicmapctl: Run, vm: str, line: str) -> None:
    assert nicmapctl("list", vm)[1].splitlines()[1] == line


def test_list_of_all_vms_shows_hostile_names_in_line(nicmapctl: Run) -> None:
    code, out, _ = nicmapctl("list")
    assert code == 0
    lines = out.splitlines()
    assert len(lines) == 1 + 15
    assert "<b>\\x1b[31mred\\u202e [/oops] 以太网" in out
    wide = next(line for line in lines if "Ethernet 2 以太网" in line)
    # Six wide characters take two columns each: the text is as much shorter where the columns are in line.
    assert wide.index("52:54") == next(line for line in lines if "web1" in line).index("52:54") - 6


def test_list_is_filtered(nicmapctl: Run) -> None:
    assert [line.split()[1] for line in nicmapctl("list", "--network", "storage")[1].splitlines()] == ["NIC", "ens7"]
    assert [line.split()[0] for line in nicmapctl("list", "--type", "bridge")[1].splitlines()] == ["VM", "db1"]
    assert [line.split()[0] for line in nicmapctl("list", "--state", "stale")[1].splitlines()] == ["VM", "win10"]


def test_list_of_nothing_says_so_on_stderr(nicmapctl: Run) -> None:
    code, out, err = nicmapctl("list", "--network", "nope")
    assert (code, len(out.splitlines()), err) == (0, 1, "nicmapctl: no NIC fits\n")


def test_list_as_it_was(nicmapctl: Run) -> None:
    code, out, _ = nicmapctl("list", "web1", "--at", "3h")
    assert code == 0
    assert [line.split()[1] for line in out.splitlines()] == ["NIC", "eth0", "eth1", "-"]
    assert nicmapctl("list", "--at", "3h")[1] == out


def test_list_as_json_has_the_names_of_the_api(nicmapctl: Run) -> None:
    code, out, err = nicmapctl("list", "web1", "--json")
    assert (code, err) == (0, "")
    assert out.isascii()
    items = json.loads(out)["items"]
    assert [item["name"] for item in items] == ["eth0", "ens7", None]
    assert nicmapctl("--json", "list", "web1")[1] == out


def test_json_of_everything_is_ascii(nicmapctl: Run) -> None:
    for command in (["list"], ["status"], ["show", uuid_of(3)], ["history", "web1"], ["find", "eth0"]):
        _, out, _ = nicmapctl(*command, "--json")
        assert out.isascii()
        json.loads(out)


# -- show


def test_show_of_a_nic(nicmapctl: Run) -> None:
    code, out, err = nicmapctl("show", "web1", "eth0")
    assert (code, err) == (0, "")
    out = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "TIME", out)
    assert out == (
        "web1 eth0  52:54:00:00:01:00\n"
        "  name          eth0, fresh, by probe, since TIME (1 d ago)\n"
        "  reason        verified in the guest's sysfs\n"
        "  evidence      eth0 is the device at 0000:01:00.0\n"
        "  seen          2 s ago, TIME\n"
        "  on the host   type network, network default, source default, bridge virbr0\n"
        "                alias net0, device vnet10, model virtio, PCI 0000:01:00.0, link up\n"
        "  in the guest  eth0                    192.168.122.10/24\n"
        "                │                       fe80::5054:ff:fe3f:2eb8/64\n"
        "                └─ bond0 (bond)\n"
        "                   └─ bond0.100 (vlan)  10.9.0.10/24\n"
        "  traffic       rx 1000 B, 10 packets, 0 errors, 0 dropped\n"
        "                tx 2.0 KiB, 20 packets, 0 errors, 0 dropped\n"
    )


def test_show_of_a_vm_has_all_its_nics(nicmapctl: Run) -> None:
    code, out, _ = nicmapctl("show", "win10")
    assert code == 0
    assert "agent  unresponsive: no answer within 2 s" in out
    assert "name         Ethernet 2, stale (agent unresponsive), by agent" in out
    document = json.loads(nicmapctl("show", "web1", "--json")[1])
    assert document["name"] == "web1"
    assert len(document["interfaces"]) == 3


def test_show_of_an_ambiguous_nic_says_what_it_may_be(nicmapctl: Run) -> None:
    _, out, _ = nicmapctl("show", "web1", "52-54-00-00-01-02")
    assert "name         not known, ambiguous\n" in out
    assert "may be       eth5, eth6\n" in out


def test_show_of_a_nic_that_was_never_seen_says_why(nicmapctl: Run) -> None:
    _, out, _ = nicmapctl("show", "db1")
    assert "names  never: the guest has not answered yet\n" in out
    assert "reason       nothing is known yet: the domain XML has no channel org.qemu.guest_agent.0\n" in out


@pytest.mark.parametrize("name", ["a/b", "%41", "..", "Ethernet 2 以太网", "<script>alert(1)</script>"])
def test_show_takes_odd_names_as_they_are(nicmapctl: Run, name: str) -> None:
    code, out, _ = nicmapctl("show", uuid_of(3), name, "--json")
    assert (code, json.loads(out)["name"]) == (0, name)


def test_a_vm_is_taken_as_it_is_shown(nicmapctl: Run) -> None:
    assert nicmapctl("show", "<b>\\x1b[31mred\\u202e [/oops] 以太网", "a/b")[0] == 0


# -- resolve


def test_resolve_prints_the_mac_alone(nicmapctl: Run) -> None:
    assert nicmapctl("resolve", "web1", "eth0") == (0, "52:54:00:00:01:00\n", "")


@pytest.mark.parametrize(("option", "value"), [("--alias", "net1"), ("--target", "vnet11"), ("--name", "ens7")])
def test_resolve_prints_another_word(nicmapctl: Run, option: str, value: str) -> None:
    for nic in ("ens7", "52:54:00:00:01:01", "alias:net1", "dev:vnet11"):
        assert nicmapctl("resolve", "web1", nic, option) == (0, f"{value}\n", "")


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["resolve", "web1", "eth0", "--alias", "--target"], "only one of --alias, --target can be given"),
        (["list", "--network", "a", "--network=b"], "--network is given more than once"),
        (["show", "web1", "--socket", "/a", "--socket", "/b"], "--socket is given more than once"),
    ],
)
def test_what_can_mean_one_thing_only_is_not_given_two(nicmapctl: Run, arguments: list[str], what: str) -> None:
    assert nicmapctl(*arguments) == (2, "", f"nicmapctl: {what}\nSee: nicmapctl {arguments[0]} --help\n")


@pytest.mark.parametrize("arguments", [["list", ""], ["show", "web1", ""], ["resolve", "", "eth0"], ["history", ""]])
def test_an_empty_word_is_no_call_of_more_than_was_meant(nicmapctl: Run, arguments: list[str]) -> None:
    """As of a script's variable that is not set."""
    code, out, err = nicmapctl(*arguments)
    assert (code, out) == (2, "")
    assert re.match(r"nicmapctl: (VM|NIC|NAME) is empty\nSee: nicmapctl", err)


def test_a_daemon_has_one_address(nicmapctl: Run) -> None:
    expected = (2, "", "nicmapctl: only one of --socket, --url can be given\nSee: nicmapctl")
    for arguments in (["--url", "http://x", "--socket", "/x", "list"], ["--socket", "/x", "list", "--url", "http://x"]):
        code, out, err = nicmapctl(*arguments)
        assert (code, out, err[: len(expected[2])]) == expected


def test_the_same_twice_is_the_same(nicmapctl: Run) -> None:
    assert nicmapctl("resolve", "web1", "ens7", "--alias", "--alias", "--require-fresh", "--require-fresh")[0] == 0


def test_resolve_of_an_old_name_warns_on_stderr_only(nicmapctl: Run) -> None:
    assert nicmapctl("resolve", "win10", "Ethernet 2") == (
        0,
        "52:54:00:00:04:00\n",
        "nicmapctl: win10 Ethernet 2 is stale, seen 14 m ago\n",
    )


def test_resolve_can_insist_on_fresh(nicmapctl: Run) -> None:
    code, out, err = nicmapctl("resolve", "win10", "Ethernet 2", "--require-fresh")
    assert (code, out) == (6, "")
    assert "stale" in err
    assert err.endswith("Try: nicmapctl refresh win10\n")
    assert nicmapctl("resolve", "web1", "eth0", "--require-fresh")[0] == 0


def test_a_line_to_copy_asks_the_same_daemon(
    host: tuple[World, Path], capsys: pytest.CaptureFixture[str], nicmapctl: Run
) -> None:
    where = ["--socket", str(host[1])]
    for arguments in ([*where, "show", "web1", "eth1"], ["show", "web1", "eth1", *where]):
        assert program.run(arguments) == 10
        assert capsys.readouterr().err.endswith(f"Try: nicmapctl --socket {host[1]} show web1 ens7\n")
    assert nicmapctl("show", "web1", "eth1")[2].endswith("Try: nicmapctl show web1 ens7\n")


def test_of_a_vm_that_is_off_there_is_only_what_was_known(nicmapctl: Run) -> None:
    code, _, err = nicmapctl("resolve", "old", "eth0", "--require-fresh")
    assert code == 6
    assert err.endswith("Try: nicmapctl resolve old eth0\n")
    assert nicmapctl("resolve", "old", "eth0")[0] == 0


def test_resolve_of_what_is_not_there_now(nicmapctl: Run) -> None:
    code, out, err = nicmapctl("resolve", "old", "eth0", "--alias")
    assert (code, out) == (10, "")
    assert "old eth0 has no alias now" in err


# -- find


@pytest.mark.parametrize(
    ("what", "names"),
    [
        ("192.168.122.10", ["eth0"]),
        ("192.168.122.10/24", ["eth0"]),
        ("FE80:0::5054:ff:fe3f:2eb8%eth0", ["eth0"]),
        ("52-54-00-00-01-01", ["ens7"]),
        ("52:54:00:dd:00:01", ["ens7"]),
        ("52:54:00:aa:aa:aa", ["ens9", "ens10"]),
        ("eth0", ["eth0", "eth0"]),
        ("vnet11", ["ens7"]),
        ("dev:vnet11", ["ens7"]),
    ],
)
def test_find_takes_whatever_one_has(nicmapctl: Run, what: str, names: list[str]) -> None:
    code, out, _ = nicmapctl("find", what, "--json")
    assert (code, [nic["name"] for nic in json.loads(out)["items"]]) == (0, names)


def test_find_prints_the_table_of_list(nicmapctl: Run) -> None:
    assert nicmapctl("find", "vnet20")[1].splitlines()[1].split() == (
        ["pair", "ens9", "52:54:00:aa:aa:aa", "default", "vnet20", "fresh", "-", "2s"]
    )


def test_find_of_nothing_is_not_found(nicmapctl: Run) -> None:
    code, out, err = nicmapctl("find", "wlan7")
    assert (code, out) == (10, "")
    assert err.splitlines()[1] == "Try: nicmapctl list"


# -- history


def test_history_of_a_nic(nicmapctl: Run) -> None:
    code, out, err = nicmapctl("history", "web1", "ens7", "-o", "table")
    assert (code, err) == (0, "")
    lines = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "TIME", out).splitlines()
    assert [line.split() for line in lines] == [
        ["FROM", "TO", "NIC", "MAC", "STATE", "ADDRESSES"],
        ["TIME", "now", "ens7", "52:54:00:00:01:01", "named", "-"],
        ["TIME", "TIME", "eth1", "52:54:00:00:01:01", "named", "-"],
    ]


def test_history_since(nicmapctl: Run) -> None:
    everything = nicmapctl("history", "web1")[1]
    assert "eth9" in everything
    assert "eth9" not in nicmapctl("history", "web1", "--since", "25h")[1]
    assert "eth1 " not in nicmapctl("history", "web1", "--since", "1h", "-o", "table")[1]


def test_history_that_is_cut_says_so(nicmapctl: Run) -> None:
    assert "--limit shows more" in nicmapctl("history", "web1", "--limit", "2")[2]


# -- refresh and status


def test_refresh_prints_what_changed(own_host: tuple[World, Path], capsys: pytest.CaptureFixture[str]) -> None:
    world, path = own_host
    run = runner(path, capsys)
    assert run("refresh", "web1") == (0, "nothing new: 3 NICs, 2 named\n", "")
    change = Change(ChangeKind.NIC_RENAMED, "eth0 renamed to \x1b[31mens3")
    world.service.effect = lambda _uuid: (change,)
    assert run("refresh", "web1") == (0, "eth0 renamed to \\x1b[31mens3\n", "")
    assert json.loads(run("refresh", "web1", "--json")[1])["changes"][0]["kind"] == "nic.renamed"


def test_refresh_of_a_hung_guest_fails(own_host: tuple[World, Path], capsys: pytest.CaptureFixture[str]) -> None:
    world, path = own_host
    world.service.failure = AgentFailure("no answer within 2 s", state="unresponsive")
    assert runner(path, capsys)("refresh", "win10") == (
        1,
        "",
        "nicmapctl: no answer within 2 s\nWhat was known stays known; to see why: nicmapctl doctor win10\n",
    )


def test_status_of_a_daemon_that_is_well(nicmapctl: Run) -> None:
    code, out, err = nicmapctl("status")
    assert (code, err) == (0, "")
    assert out.splitlines()[0] == "nicmapd 0.1.0 on host1: ok"
    assert "6; agents: 3 ok, 1 no_channel, 1 off, 1 unresponsive" in out
    assert "last finished 1 s ago" in out
    assert "win10, last answered 14 m ago" in out


def test_status_tells_of_the_hint(own_host: tuple[World, Path], capsys: pytest.CaptureFixture[str]) -> None:
    world, path = own_host
    run = runner(path, capsys)
    assert "hints.rx_filter" not in run("status")[1]
    world.service.daemon = replace(world.service.daemon, libvirt=replace(world.service.daemon.libvirt, rx_filter=True))
    assert "; renames are seen at once (hints.rx_filter)\n" in run("status")[1]


def test_status_of_a_degraded_daemon_is_1(own_host: tuple[World, Path], capsys: pytest.CaptureFixture[str]) -> None:
    world, path = own_host
    world.service.degrade("\x1b]0;oops")
    run = runner(path, capsys)
    code, out, _ = run("status")
    assert code == 1
    assert "no connection to libvirt: \\x1b]0;oops" in out
    code, out, _ = run("status", "--json")
    assert (code, json.loads(out)["state"]) == (1, "degraded")


# -- errors: two lines, and a code


@pytest.mark.parametrize(
    ("arguments", "code", "what", "following"),
    [
        (
            ["show", "web1", "eth1"],
            10,
            'web1 has no NIC named "eth1": it was renamed to "ens7" 2 h ago',
            "Try: nicmapctl show web1 ens7",
        ),
        (["resolve", "web1", "eth1"], 10, "renamed", "Try: nicmapctl resolve web1 ens7"),
        (["show", "web1", "eth9"], 10, "it was detached (52:54:00:00:01:09) 1 d ago", "Try: nicmapctl list web1"),
        (["show", "web1", "wlan0"], 10, "it has eth0, ens7", "Try: nicmapctl list web1"),
        (["show", "nope"], 10, 'there is no VM "nope"', "Try: nicmapctl list"),
        (["show", "nope", "eth0"], 10, 'there is no VM "nope"', "Try: nicmapctl list"),
        (["resolve", "web1", "eth5"], 5, "not certain", "Try: nicmapctl resolve web1 52:54:00:00:01:02"),
        (
            ["resolve", "pair", "52:54:00:aa:aa:aa"],
            5,
            "2 NICs of pair",
            "Try: nicmapctl resolve pair alias:net0  or  nicmapctl resolve pair alias:net1",
        ),
        (["list", "--state", "odd"], 2, "must be one of fresh", "See: nicmapctl list --help"),
        (["list", "--at", "soon"], 2, '"soon" is no time', "See: nicmapctl list --help"),
        (["lsit"], 2, 'did you mean "list"?', "See: nicmapctl --help"),
        (["list", "--nope"], 2, "--nope", "See: nicmapctl list --help"),
        (["resolve", "web1"], 2, "NAME", "See: nicmapctl resolve --help"),
        (["--url", "nonsense", "list"], 2, "is no address", "See: nicmapctl list --help"),
        (["show", "x\x1b[31m", "y\u202e"], 10, "x\\x1b[31m", "Try: nicmapctl list"),
        (["list", "web1", "\x1b[2J"], 2, "\\x1b[2J", "See: nicmapctl list --help"),
        (["show", "\udcff"], 2, "UTF-8", "See: nicmapctl show --help"),
    ],
)
def test_an_error_says_what_and_what_next(
    nicmapctl: Run, arguments: list[str], code: int, what: str, following: str
) -> None:
    found, out, err = nicmapctl(*arguments)
    assert (found, out) == (code, ""), err
    first, second = err.splitlines()
    assert first.startswith("nicmapctl: ")
    assert what in first
    assert second == following


def test_a_hint_can_be_pasted(own_host: tuple[World, Path], capsys: pytest.CaptureFixture[str]) -> None:
    world, path = own_host
    for name, hours in (("Ethernet", 2), ("Ethernet 2", 1)):
        world.vm(7, "my vm", [world.nic(7, 0, named(name))], ago=hours * HOUR)
    assert "Try: nicmapctl show 'my vm' 'Ethernet 2'" in runner(path, capsys)("show", "my vm", "Ethernet")[2]


def test_an_error_is_json_where_json_was_asked_for(nicmapctl: Run) -> None:
    code, out, err = nicmapctl("show", "web1", "eth1", "--json")
    assert (code, out) == (10, "")
    document = json.loads(err)
    assert (document["code"], document["renamed_to"], document["exit_code"]) == ("not_found", "ens7", 10)


def test_a_daemon_that_is_not_there_is_8(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = runner(tmp_path / "no.sock", capsys)("list")
    assert code == 8
    assert "Is it running" in err.splitlines()[1]
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "dead.sock"))
    assert runner(tmp_path / "dead.sock", capsys)("list")[0] == 8


def test_the_environment_says_where_the_daemon_is(
    host: tuple[World, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NICMAPD_SOCKET", str(host[1]))
    assert program.run(["status"]) == 0
    monkeypatch.setenv("NICMAPD_SOCKET", "/nowhere")
    assert program.run(["status"]) == 8
    for arguments in (["--socket", str(host[1]), "status"], ["status", "--socket", str(host[1])]):
        assert program.run(arguments) == 0
        monkeypatch.setenv("NICMAPD_URL", "http://127.0.0.1:1")
        assert program.run(arguments) == 0
    assert program.run(["status"]) == 8
    capsys.readouterr()


def test_version_and_help_need_no_daemon(nicmapctl: Run) -> None:
    assert nicmapctl("--version") == (0, "nicmapctl 0.1.0\n", "")
    for command in ([], ["list"], ["show"], ["resolve"], ["find"], ["history"], ["refresh"], ["status"]):
        code, out, _ = nicmapctl(*command, "--help")
        assert code == 0
        assert out.startswith("Usage: nicmapctl")
