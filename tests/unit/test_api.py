"""The reading half of the api, in-process, on the small host of tests/fakes/world.py."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import pytest

from nicmapd.api import create_app
from nicmapd.api.forms import rendering
from nicmapd.errors import AgentFailure, Unavailable
from nicmapd.model import AgentState, Change, ChangeKind, DomainState, Naming, Verdict
from tests.fakes.asgi import REMOTE, Answer, ask
from tests.fakes.world import HOSTILE, HOSTILE_NAMES, HOUR, World, ambiguous, empty_world, make_world, named, uuid_of


@pytest.fixture
def world() -> World:
    return make_world()


@pytest.fixture
def get(world: World) -> Any:
    app = create_app(world.board, world.store, world.service, world.clock)

    def get(target: str, **more: Any) -> Answer:
        return ask(app, target, **more)

    return get


def is_problem(answer: Answer, status: int, code: str) -> dict[str, Any]:
    assert answer.status == status, answer.body
    assert answer.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = answer.json
    assert (document["code"], document["status"]) == (code, status)
    assert {"type", "title", "detail"} <= document.keys()
    return document


# -- VMs


def test_a_vm_has_the_members_of_the_contract(get: Any) -> None:
    vm = get("/vms/web1").json
    wanted = "name uuid host state persistent agent freshness nic_count"
    assert set(wanted.split()) <= vm.keys()
    agent = "state since message last_success last_attempt next_attempt version"
    assert set(agent.split()) == vm["agent"].keys()
    assert (vm["state"], vm["freshness"], vm["nic_count"]) == ("running", "fresh", 3)
    assert vm["agent"]["last_success"] == "2025-12-31T23:59:58.000Z"


def test_a_vm_is_found_by_uuid_in_any_case(get: Any) -> None:
    assert get(f"/vms/{uuid_of(10).upper()}").status == 404
    assert get(f"/vms/{uuid_of(1).upper()}").json["name"] == "web1"


def test_vms_come_by_name_in_pages_that_join_up(get: Any) -> None:
    seen, cursor = [], ""
    for _ in range(10):
        page = get(f"/vms?limit=2{cursor}").json
        assert len(page["items"]) <= 2
        seen += [vm["name"] for vm in page["items"]]
        if page["next"] is None:
            break
        cursor = f"&cursor={page['next']}"
    assert seen == sorted(vm["name"] for vm in get("/vms").json["items"])
    assert len(seen) == 6


def test_a_page_ends_exactly_at_the_end(get: Any) -> None:
    assert get("/vms?limit=6").json["next"] is None


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("state=off", ["old"]),
        ("agent=unresponsive", ["win10"]),
        ("q=WEB", ["web1"]),
        ("q=00000005", ["db1"]),
        ("state=running&agent=no_channel", ["db1"]),
        ("state=paused", []),
    ],
)
def test_vms_are_filtered(get: Any, query: str, names: list[str]) -> None:
    assert [vm["name"] for vm in get(f"/vms?{query}").json["items"]] == names


def test_freshness_follows_from_age_and_state(get: Any) -> None:
    found = {vm["name"]: vm["freshness"] for vm in get("/vms").json["items"]}
    assert [found[name] for name in ("web1", "win10", "db1", "old")] == ["fresh", "stale", "never", "last_known"]


# -- one NIC


def test_a_nic_has_the_members_of_the_contract(get: Any) -> None:
    nic = get("/vms/web1/interfaces/eth0").json
    wanted = (
        "vm vm_uuid host mac alias pci type network source bridge model target link name name_source name_state "
        "candidates name_since seen_at guest_mac addresses stack statistics"
    )
    assert set(wanted.split()) <= nic.keys()
    assert nic["addresses"][0] == {"ip": "192.168.122.10", "prefix": 24, "family": "ipv4", "interface": "eth0"}
    assert nic["stack"][0] == {"name": "bond0", "kind": "bond", "mac": "52:54:00:00:01:00"}
    assert nic["statistics"]["rx_bytes"] == 1000
    assert nic["age"] == 2.0


@pytest.mark.parametrize(
    "nic",
    [
        "eth0",
        "52:54:00:00:01:00",
        "52-54-00-00-01-00",
        "52%3A54%3A00%3A00%3A01%3A00",
        "alias:net0",
        "dev:vnet10",
        "%65th0",
    ],
)
def test_a_nic_is_found_by_each_of_its_words(get: Any, nic: str) -> None:
    assert get(f"/vms/web1/interfaces/{nic}").json["mac"] == "52:54:00:00:01:00"


def test_an_upper_case_mac_is_the_same_mac(get: Any) -> None:
    assert get("/vms/pair/interfaces/52:54:00:AA:AA:AA").status == 409
    assert get("/interfaces?mac=52-54-00-AA-AA-AA").json["items"][0]["vm"] == "pair"


def test_every_certain_reachable_name_finds_its_nic(get: Any) -> None:
    for nic in get("/interfaces").json["items"]:
        if nic["name"] is not None and not nic["name"].startswith(("52:54", "alias:")):
            path = f"/vms/{nic['vm_uuid']}/interfaces/{quote(nic['name'], safe='')}"
            assert get(path).json["id"] == nic["id"], path


def test_the_form_decides_what_a_segment_means(get: Any) -> None:
    by_mac = get(f"/vms/{uuid_of(3)}/interfaces/52:54:00:00:00:01")
    # A guest calls a NIC so; no NIC has that MAC.
    assert is_problem(by_mac, 404, "not_found")["nic"] == "52:54:00:00:03:05"
    assert get(f"/vms/{uuid_of(3)}/interfaces/alias:net0").json["name"] == HOSTILE_NAMES[0]


def test_two_nics_of_one_mac_are_ambiguous_by_it_and_certain_by_name(get: Any) -> None:
    problem = is_problem(get("/vms/pair/interfaces/52:54:00:aa:aa:aa"), 409, "ambiguous")
    assert problem["candidates"] == ["alias:net0", "alias:net1"]
    for candidate in problem["candidates"]:
        assert get(f"/vms/pair/interfaces/{candidate}").status == 200
    assert get("/vms/pair/interfaces/ens10").json["alias"] == "net1"


def test_two_nics_of_one_mac_in_a_vm_that_is_off_have_no_word_of_their_own(world: World, get: Any) -> None:
    mac = "52:54:00:aa:aa:ab"
    nics = [world.nic(9, index, named("eth0") if index else Naming(), mac=mac, live=False) for index in range(2)]
    world.vm(9, "same", nics, state=DomainState.OFF, agent=AgentState.OFF)
    problem = is_problem(get(f"/vms/same/interfaces/{mac}"), 409, "ambiguous")
    assert problem["candidates"] == ["eth0"]
    world.vm(9, "same", [replace(one, naming=Naming()) for one in nics], state=DomainState.OFF, agent=AgentState.OFF)
    problem = is_problem(get(f"/vms/same/interfaces/{mac}"), 409, "ambiguous")
    assert problem["candidates"] == []
    assert "give each a MAC of its own first" in problem["detail"]


def test_who_waits_for_an_event_is_not_asked_next_at_any_moment(world: World, get: Any) -> None:
    for number, state in enumerate(AgentState, start=20):
        domain = DomainState.OFF if state is AgentState.OFF else DomainState.RUNNING
        world.vm(number, f"vm{number}", [], agent=state, state=domain)
        world.board.touch(uuid_of(number), replace(world.board.contact(uuid_of(number)), next_attempt=5.0))
        waits = state in ("off", "paused", "opted_out", "no_channel", "not_connected")
        assert (get(f"/vms/vm{number}").json["agent"]["next_attempt"] is None) == waits


def test_a_name_that_is_only_a_candidate_is_ambiguous(get: Any) -> None:
    problem = is_problem(get("/vms/web1/interfaces/eth5"), 409, "ambiguous")
    assert problem["candidates"] == ["52:54:00:00:01:02"]
    assert "two guest interfaces have its MAC" in problem["detail"]


def test_a_nic_that_the_guest_does_not_show_may_be_meant_too() -> None:
    world = empty_world()
    bond = [world.nic(1, 0, ambiguous("bond0", "eth0", "eth1")), world.nic(1, 1, Naming(Verdict.UNSEEN))]
    world.vm(1, "x", bond)
    app = create_app(world.board, world.store, world.service, world.clock)
    problem = is_problem(ask(app, "/vms/x/interfaces/eth1"), 409, "ambiguous")
    assert problem["candidates"] == ["52:54:00:00:01:00", "52:54:00:00:01:01"]
    assert "any of 2 NICs" in problem["detail"]
    assert ask(app, "/vms/x/interfaces/eth7").status == 404


def test_a_certain_name_wins_over_a_candidate() -> None:
    world = empty_world()
    world.vm(1, "x", [world.nic(1, 0, ambiguous("eth0", "eth1")), world.nic(1, 1, named("eth0"))])
    app = create_app(world.board, world.store, world.service, world.clock)
    assert ask(app, "/vms/x/interfaces/eth0").json["id"] == "nic-1-1"
    assert ask(app, "/vms/x/interfaces/eth1").status == 409


def test_two_nics_of_one_certain_name_are_ambiguous() -> None:
    world = empty_world()
    world.vm(1, "x", [world.nic(1, 0, named("eth0")), world.nic(1, 1, named("eth0"))])
    app = create_app(world.board, world.store, world.service, world.clock)
    problem = is_problem(ask(app, "/vms/x/interfaces/eth0"), 409, "ambiguous")
    assert problem["candidates"] == ["52:54:00:00:01:00", "52:54:00:00:01:01"]


def test_a_renamed_nic_is_said_to_be_so(get: Any) -> None:
    problem = is_problem(get("/vms/web1/interfaces/eth1"), 404, "not_found")
    assert problem["renamed_to"] == "ens7"
    assert problem["renamed_at"] == "2025-12-31T22:00:00.000Z"
    assert '"ens7"' in problem["detail"]


def test_a_detached_nic_is_said_to_be_so(get: Any) -> None:
    problem = is_problem(get("/vms/web1/interfaces/eth9"), 404, "not_found")
    assert "renamed_to" not in problem
    assert "detached" in problem["detail"]


def test_a_name_that_never_was_lists_what_there_is(get: Any) -> None:
    problem = is_problem(get("/vms/web1/interfaces/wlan0"), 404, "not_found")
    assert "eth0, ens7" in problem["detail"]


def test_hints_fail_quietly_when_the_store_is_away(get: Any, world: World) -> None:
    world.store.fault = Unavailable("the disk is gone")
    is_problem(get("/vms/web1/interfaces/eth1"), 404, "not_found")
    is_problem(get("/vms/nobody"), 404, "not_found")


def test_a_mac_that_only_the_guest_uses_points_to_its_nic(get: Any) -> None:
    problem = is_problem(get("/vms/web1/interfaces/52:54:00:dd:00:01"), 404, "not_found")
    assert problem["nic"] == "52:54:00:00:01:01"


def test_a_vm_that_left_points_to_its_past(get: Any, world: World) -> None:
    world.remove(world.vm(77, "gone", []))
    assert is_problem(get("/vms/gone"), 404, "not_found")["removed_uuid"] == uuid_of(77)


# -- ETag


def test_the_etag_outlives_polls_and_counters(get: Any, world: World) -> None:
    first = get("/vms/web1/interfaces/eth0")
    assert first.headers["etag"].startswith('"')
    world.clock.move(5)
    second = get("/vms/web1/interfaces/eth0")
    assert first.json["age"] != second.json["age"]
    assert first.headers["etag"] == second.headers["etag"]


def test_the_etag_changes_when_the_name_gets_stale(get: Any, world: World) -> None:
    first = get("/vms/web1/interfaces/eth0").headers["etag"]
    world.clock.move(60)
    assert get("/vms/web1/interfaces/eth0").headers["etag"] != first


def test_a_known_etag_is_answered_304(get: Any) -> None:
    etag = get("/vms/web1/interfaces/eth0").headers["etag"]
    for header in (etag, f'W/{etag}, "x"', "*"):
        answer = get("/vms/web1/interfaces/eth0", headers={"If-None-Match": header})
        assert (answer.status, answer.body, answer.headers["etag"]) == (304, b"", etag)
    assert get("/vms/web1/interfaces/eth0", headers={"If-None-Match": '"other"'}).status == 200


# -- lists of NICs


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("", ["eth0", "ens7", None]),
        ("type=network&network=default", ["eth0", None]),
        ("network=storage", ["ens7"]),
        ("type=bridge", []),
        ("network=def", []),
        ("network=.*", []),
        ("mac=52-54-00-00-01-01", ["ens7"]),
        ("guest_mac=52:54:00:DD:00:01", ["ens7"]),
        ("name=eth0", ["eth0"]),
        ("state=ambiguous", [None]),
        ("state=fresh&source=storage", ["ens7"]),
        ("target=vnet11", ["ens7"]),
    ],
)
def test_the_nics_of_a_vm_are_filtered_exactly(get: Any, query: str, names: list[str | None]) -> None:
    assert [nic["name"] for nic in get(f"/vms/web1/interfaces?{query}").json["items"]] == names


def test_a_filter_passes_over_nics_without_that_member(get: Any) -> None:
    assert [nic["name"] for nic in get("/vms/pair/interfaces?network=default").json["items"]] == ["ens9"]


def test_all_nics_come_in_pages_that_join_up(get: Any) -> None:
    whole = [nic["id"] for nic in get("/interfaces?limit=1000").json["items"]]
    for limit in (1, 2, 3, 5, len(whole)):
        seen, cursor = [], ""
        while True:
            page = get(f"/interfaces?limit={limit}{cursor}").json
            seen += [nic["id"] for nic in page["items"]]
            if page["next"] is None:
                break
            cursor = f"&cursor={page['next']}"
        assert seen == whole


def test_a_nic_that_goes_between_two_pages_hides_no_other(get: Any, world: World) -> None:
    page = get("/interfaces?limit=2").json
    last = page["items"][-1]
    entry = world.board.find(last["vm_uuid"])
    world.vm(3, entry.vm.name, [one for one in entry.nics if one.id != last["id"]])
    rest = get(f"/interfaces?limit=1000&cursor={page['next']}").json["items"]
    assert {one.id for one in entry.nics[2:]} <= {nic["id"] for nic in rest}


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("ip=192.168.122.10", ["eth0"]),
        ("ip=10.9.0.10", ["eth0"]),
        ("ip=fe80::5054:00ff:fe3f:2eb8", ["eth0"]),
        ("ip=192.168.122.1", []),
        ("name=eth0", ["eth0", "eth0"]),
        ("name=Ethernet+2", ["Ethernet 2"]),
    ],
)
def test_a_nic_is_found_over_all_vms(get: Any, query: str, found: list[str]) -> None:
    assert [nic["name"] for nic in get(f"/interfaces?{query}").json["items"]] == found


# -- query keys


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("/vms?stat=off", ["stat", "did you mean state"]),
        ("/vms?limit=0", ["limit", "from 1 to 1000"]),
        ("/vms?limit=1001", ["limit"]),
        ("/vms?limit=%D9%A3", ["limit"]),
        ("/vms?limit=1e3", ["limit"]),
        ("/vms?state=asleep", ["state", "running, paused"]),
        ("/vms?agent=good", ["agent", "no_channel"]),
        ("/vms?state=off&state=off", ["state", "twice"]),
        ("/vms?state=", ["state", "empty"]),
        ("/vms?state", ["state", "empty"]),
        ("/vms?cursor=abc", ["cursor"]),
        ("/vms?cursor=W10=", ["cursor"]),
        ("/vms?q=%ff", ["UTF-8"]),
        ("/vms?" + "&".join(f"a{n}=1" for n in range(60)), ["more than 50"]),
        ("/vms/web1?x=1", ["no query keys"]),
        ("/vms/web1/interfaces?netwrok=default", ["netwrok", "did you mean network"]),
        ("/vms/web1/interfaces?mac=52:54", ["mac", "52:54:00"]),
        ("/vms/web1/interfaces?mac=52:54-00:00:00:01", ["mac"]),
        ("/vms/web1/interfaces?ip=10.0.0.1", ["ip"]),
        ("/vms/web1/interfaces?state=up", ["state", "unseen"]),
        ("/vms/web1/interfaces?at=yesterday", ["at", "RFC 3339"]),
        ("/vms/web1/interfaces?at=2026-01-01", ["at"]),
        ("/vms/web1/interfaces?at=2026-01-01T00:00:00", ["at", "zone"]),
        ("/vms/web1/interfaces?network=[&_x=1", ["_x"]),
        ("/vms/web1/interfaces/eth0?at=2026-01-01T00:00:00Z", ["at"]),
        ("/interfaces?ip=fe80::1%25eth0", ["ip", "zone"]),
        ("/interfaces?ip=010.0.0.1", ["ip"]),
        ("/interfaces?ip=10.0.0.0/24", ["ip"]),
        ("/interfaces?ip=fe80::1%25%1b[31m", ["ip", "\\x1b"]),
        ("/vms/web1/history?since=1h", ["since"]),
        ("/status?verbose=1", ["verbose"]),
        ("/healthz?x", ["x"]),
        ("/?x=1", ["x"]),
    ],
)
def test_a_wrong_query_is_refused_in_words(get: Any, target: str, words: list[str]) -> None:
    problem = is_problem(get(target), 400, "invalid")
    for word in words:
        assert word in problem["detail"]
    assert problem["detail"].isprintable()


def test_a_cursor_of_another_list_is_refused(get: Any) -> None:
    cursor = get("/vms?limit=1").json["next"]
    is_problem(get(f"/interfaces?cursor={cursor}"), 400, "invalid")


# -- the past


def test_the_history_of_a_nic_is_newest_first(get: Any) -> None:
    items = get("/vms/web1/interfaces/ens7/history").json["items"]
    assert [item["name"] for item in items] == ["ens7", "eth1"]
    assert items[0]["to"] is None
    assert items[0]["from"] == items[1]["to"] == "2025-12-31T22:00:00.000Z"
    assert {"name", "mac", "from", "to"} <= items[0].keys()


@pytest.mark.parametrize("nic", ["eth9", "52:54:00:00:01:09", "alias:net9", "dev:vnet19"])
def test_the_history_of_a_detached_nic_is_found(get: Any, nic: str) -> None:
    assert [item["name"] for item in get(f"/vms/web1/interfaces/{nic}/history").json["items"]] == ["eth9"]


def test_an_old_name_has_the_history_of_its_nic(get: Any) -> None:
    assert get("/vms/web1/interfaces/eth1/history").json["items"][0]["name"] == "ens7"


def test_the_history_of_a_vm_can_be_cut(get: Any) -> None:
    assert len(get("/vms/web1/history").json["items"]) == 5
    assert len(get("/vms/web1/history?limit=1").json["items"]) == 1
    since = get("/vms/web1/history?since=2025-12-31T12:00:00Z").json["items"]
    assert "eth9" not in [item["name"] for item in since]


def test_a_removed_vm_has_its_history(get: Any, world: World) -> None:
    world.remove(world.vm(8, "gone", [world.nic(8, 0, named("eth0"))], ago=5 * HOUR), ago=HOUR)
    assert get("/vms/gone/history").json["items"][0]["name"] == "eth0"
    at = "2025-12-31T21:00:00Z"
    assert [nic["name"] for nic in get(f"/vms/gone/interfaces?at={at}").json["items"]] == ["eth0"]
    assert get("/vms/gone/interfaces").status == 404


def test_a_vm_that_is_gone_has_its_history_also_before_that_is_written(get: Any, world: World) -> None:
    world.vm(8, "gone", [world.nic(8, 0, named("eth0"))], ago=5 * HOUR)
    world.board.drop(uuid_of(8))
    for vm in ("gone", uuid_of(8)):
        assert get(f"/vms/{vm}").status == 404
        assert get(f"/vms/{vm}/history").json["items"][0]["name"] == "eth0"


def test_a_vm_that_libvirt_may_have_is_not_said_to_be_away(get: Any, world: World) -> None:
    assert "incomplete" not in is_problem(get("/vms/new"), 404, "not_found")
    world.service.reasons = ["no connection to libvirt: not connected yet"]
    for path in ("/vms/new", "/vms/new/interfaces", "/vms/new/interfaces/eth0"):
        problem = is_problem(get(path), 404, "not_found")
        assert problem["incomplete"] == world.service.reasons
        assert problem["detail"].endswith("not all VMs are yet: no connection to libvirt: not connected yet")
    assert get("/vms/web1").status == 200


def test_what_the_map_shows_is_in_the_past_too(get: Any, world: World) -> None:
    """A detach is on the board a moment before it is written; who saw it must find its end."""
    vm = world.vm(8, "web8", [world.nic(8, 0, named("eth0"))], ago=5 * HOUR)
    world.board.put(replace(vm, nics=()))
    world.service.unwritten = lambda: world.vm(8, "web8", [])
    past = get("/vms/web8/history").json["items"]
    assert [(nic["name"], nic["to"]) for nic in past] == [("eth0", rendering.moment(world.clock.now()))]
    world.service.unwritten = lambda: None
    world.board.put(vm)
    world.service.unwritten = lambda: world.vm(8, "web8", [world.nic(8, 0, named("ens8"))])
    assert [nic["name"] for nic in get("/vms/web8/interfaces?at=9999-01-01T00:00:00Z").json["items"]] == ["ens8"]


def test_the_map_is_shown_as_it_was(get: Any) -> None:
    before = get("/vms/web1/interfaces?at=2025-12-31T20:00:00Z").json["items"]
    assert [nic["name"] for nic in before] == ["eth0", "eth1", None]
    assert [nic["name_state"] for nic in before] == ["last_known", "last_known", "ambiguous"]
    assert before[1]["to"] == "2025-12-31T22:00:00.000Z"
    after = get("/vms/web1/interfaces?at=2025-12-31T23:30:00%2B00:00&name=ens7").json["items"]
    assert [nic["name"] for nic in after] == ["ens7"]


def test_a_plus_that_became_a_blank_is_understood(get: Any) -> None:
    assert get("/interfaces?at=2025-12-31T21:00:00+01:00").json["items"][1]["name"] == "eth1"


def test_a_moment_to_come_is_answered_with_now(get: Any) -> None:
    assert len(get("/interfaces?at=9999-12-31T23:59:59-14:00&name=ens7").json["items"]) == 1
    assert get("/interfaces?at=0001-01-01T00:00:00%2B14:00").json["items"] == []


def test_the_map_of_then_comes_in_pages(get: Any) -> None:
    at = "at=2025-12-31T20:00:00Z"
    first = get(f"/interfaces?{at}&limit=2").json
    second = get(f"/interfaces?{at}&limit=2&cursor={first['next']}").json
    assert [nic["name"] for nic in first["items"] + second["items"]] == ["eth0", "eth1", None]
    assert second["next"] is None


def test_a_store_that_is_away_is_unavailable(get: Any, world: World) -> None:
    world.store.fault = Unavailable("the disk is gone")
    is_problem(get("/vms/web1/history"), 503, "unavailable")
    assert get("/vms/web1/interfaces").status == 200


# -- refresh


def test_a_refresh_says_what_changed(get: Any, world: World) -> None:
    def rename(_uuid: str) -> tuple[Change, ...]:
        world.vm(1, "web1", [world.nic(1, 0, named("ens3"))])
        return (
            Change(ChangeKind.NIC_RENAMED, "eth0 renamed to ens3", mac="52:54:00:00:01:00", old="eth0", new="ens3"),
        )

    world.service.effect = rename
    answer = get("/vms/web1/refresh", method="POST").json
    assert [nic["name"] for nic in answer["items"]] == ["ens3"]
    assert answer["changes"][0]["new"] == "ens3"
    assert world.service.refreshed == [uuid_of(1)]


def test_a_guest_that_does_not_answer_leaves_the_map_alone(get: Any, world: World) -> None:
    before = get("/vms/web1/interfaces").body
    world.service.failure = AgentFailure("no answer within 2 s", state="unresponsive")
    problem = is_problem(get("/vms/web1/refresh", method="POST"), 503, "unavailable")
    assert problem["agent_state"] == "unresponsive"
    assert "no answer within 2 s" in problem["detail"]
    assert get("/vms/web1/interfaces").body == before


def test_an_outcome_without_an_answer_is_unavailable_too(get: Any, world: World) -> None:
    world.service.answered = False
    is_problem(get("/vms/web1/refresh", method="POST"), 503, "unavailable")


def test_refresh_is_refused_over_tcp(get: Any, world: World) -> None:
    for peer in (REMOTE, None):
        is_problem(get("/vms/web1/refresh", method="POST", peer=peer), 403, "forbidden")
    assert world.service.refreshed == []
    assert get("/vms/web1", peer=REMOTE).status == 200


def test_refresh_of_a_vm_that_libvirt_lost(get: Any, world: World) -> None:
    def lose(uuid: str) -> tuple[Change, ...]:
        world.board.drop(uuid)
        return ()

    world.service.effect = lose
    is_problem(get("/vms/web1/refresh", method="POST"), 404, "not_found")


def test_no_get_asks_a_guest(get: Any, world: World) -> None:
    for target in ("/vms", "/vms/web1", "/vms/web1/interfaces", "/interfaces", "/status", "/vms/web1/interfaces/eth0"):
        assert get(target).status == 200
    assert world.service.refreshed == []


# -- the daemon


def test_status_counts_guests_by_agent_state(get: Any) -> None:
    status = get("/status").json
    assert status["state"] == "ok"
    assert status["vms"]["by_agent_state"] == {"ok": 3, "unresponsive": 1, "no_channel": 1, "off": 1}
    assert status["nics"] == {"total": 15, "named": 13}
    assert status["oldest"] == {"vm": "win10", "uuid": uuid_of(4), "age": 840.0}
    assert status["passes"]["last_age"] == 1.5


def test_status_says_why_it_is_degraded(get: Any, world: World) -> None:
    world.service.degrade("libvirtd is not running")
    status = get("/status").json
    assert (status["state"], status["libvirt"]["connected"]) == ("degraded", False)
    assert "libvirtd is not running" in status["reasons"][0]


def test_alive_and_ready(get: Any, world: World) -> None:
    assert get("/healthz").json == {"status": "alive"}
    assert get("/readyz").json == {"status": "ready"}
    world.service.reasons = ["the map has not been compared with libvirt yet"]
    assert is_problem(get("/readyz"), 503, "unavailable")["reasons"] == world.service.reasons
    assert get("/healthz").status == 200


def test_the_root_points_at_what_there_is(get: Any) -> None:
    links = get("/").json["links"]
    assert links.pop("events") == "/events"  # which has no end
    assert all(get(link).status == 200 for link in links.values())
    assert {"/vms", "/interfaces", "/networks"} <= set(links.values())


# -- hostile text


def test_hostile_names_come_out_as_plain_ascii_json(get: Any) -> None:
    for target in ("/vms", "/interfaces", f"/vms/{uuid_of(3)}/interfaces"):
        body = get(target).body
        assert body.isascii()
        assert all(32 <= byte < 127 for byte in body)
    assert HOSTILE in [vm["name"] for vm in get("/vms").json["items"]]


def test_a_hostile_vm_is_found_raw_and_as_shown(get: Any) -> None:
    from nicmapd.text import clean

    for name in (HOSTILE, clean(HOSTILE)):
        assert get(f"/vms/{quote(name, safe='')}").json["uuid"] == uuid_of(3)


def test_a_guest_name_is_found_raw_and_as_shown() -> None:
    world = empty_world()
    world.vm(1, "x", [world.nic(1, 0, named("\\x1b[31m"))])  # as agent.py cleans ESC
    app = create_app(world.board, world.store, world.service, world.clock)
    assert ask(app, "/vms/x/interfaces/%1B%5B31m").status == 200
    assert ask(app, "/vms/x/interfaces/%5Cx1b%5B31m").status == 200


def test_errors_show_hostile_words_escaped(get: Any) -> None:
    for target in ("/vms/%1b%5b31m", "/vms/web1/interfaces/%e2%80%aex", "/vms?%1b=1", "/%1b%00"):
        answer = get(target)
        assert 400 <= answer.status < 500
        assert answer.json["detail"].isprintable()
        assert json.dumps(answer.json).isascii()


def test_two_vms_of_one_name_are_ambiguous(get: Any, world: World) -> None:
    world.vm(9, "web1", [])
    problem = is_problem(get("/vms/web1"), 409, "ambiguous")
    assert problem["candidates"] == [uuid_of(1), uuid_of(9)]


def test_a_vm_that_is_off_has_names_without_alias(get: Any, world: World) -> None:
    assert world.board.find("old").state is DomainState.OFF
    nic = get("/vms/old/interfaces/eth0").json
    assert (nic["alias"], nic["target"], nic["name_state"], nic["agent_state"]) == (None, None, "last_known", "off")


def test_an_unexpected_failure_tells_nothing_but_its_code(get: Any, world: World, caplog: Any) -> None:
    world.service.failure = RuntimeError("secret /etc/shadow")
    problem = is_problem(get("/vms/web1/refresh", method="POST"), 500, "internal")
    assert "secret" not in json.dumps(problem)
    assert "secret" in caplog.text


def test_unavailable_libvirt_is_503(get: Any, world: World) -> None:
    world.service.failure = Unavailable("libvirt is not connected")
    is_problem(get("/vms/web1/refresh", method="POST"), 503, "unavailable")
