"""GET /metrics: what Prometheus reads is true, unique and bounded, whatever guests call their interfaces."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

import pytest
from prometheus_client.parser import text_string_to_metric_families

from nicmapd.api import create_app
from nicmapd.api.resources.namelimit import CHANGES, SECONDS, NameLimit
from nicmapd.api.resources.series import MAX_NICS_PER_VM
from nicmapd.meter import RESULTS, Meter
from nicmapd.model import AgentState, Change, ChangeKind, DomainState, Naming, Outcome, Verdict, VmRef
from nicmapd.ports import EventKind
from nicmapd.status import StoreStatus
from nicmapd.text import MAX_NAME, clean
from tests.fakes.asgi import ask, ask_here
from tests.fakes.world import HOSTILE, HOSTILE_NAMES, World, empty_world, make_world, named, uuid_of

Series = tuple[str, Mapping[str, str], float]


def scrape(world: World, meter: Meter | None = None) -> list[Series]:
    app = create_app(world.board, world.store, world.service, world.clock, meter=meter)
    return parse(ask(app, "/metrics").body)


def parse(body: bytes) -> list[Series]:
    families = text_string_to_metric_families(body.decode())
    return [(sample.name, sample.labels, sample.value) for family in families for sample in family.samples]


def values(found: Sequence[Series], name: str, label: str = "", **wanted: str) -> dict[str, float]:
    """Label's value -> the series' value, of the series called `name` that have the labels `wanted`."""
    return {
        labels.get(label, ""): value for one, labels, value in found if one == name and wanted.items() <= labels.items()
    }


def test_each_nic_can_be_joined_by_its_domain_and_target_device() -> None:
    found = scrape(make_world())
    assert values(found, "nicmap_interface_info", "guest_name", domain="web1", target_device="vnet10") == {"eth0": 1}
    (labels,) = [one for name, one, _ in found if name == "nicmap_interface_info" and one["target_device"] == "vnet11"]
    assert labels == {
        "domain": "web1",
        "uuid": uuid_of(1),
        "mac": "52:54:00:00:01:01",
        "alias": "net1",
        "target_device": "vnet11",
        "network": "storage",
        "guest_name": "ens7",
    }


def test_a_name_that_is_not_certain_is_no_label() -> None:
    found = scrape(make_world())
    assert values(found, "nicmap_interface_info", "guest_name", mac="52:54:00:00:01:02") == {"": 1}


def test_the_states_are_counted_all_of_them_always() -> None:
    found = scrape(make_world())
    assert values(found, "nicmap_vms", "freshness") == {"fresh": 3, "stale": 1, "last_known": 1, "never": 1}
    agents = values(found, "nicmap_agents", "state")
    assert set(agents) == {state.value for state in AgentState}
    assert (agents["ok"], agents["unresponsive"], agents["off"], agents["frozen"]) == (3, 1, 1, 0)
    assert values(found, "nicmap_interfaces", "state")["ambiguous"] == 1
    empty = scrape(empty_world())
    assert {name for name, _, _ in empty} >= {"nicmap_vms", "nicmap_agents", "nicmap_interfaces", "nicmap_build_info"}
    assert sum(values(empty, "nicmap_vms", "freshness").values()) == 0


def test_a_vms_agent_has_its_state_its_age_and_its_breaker() -> None:
    world = make_world()
    watch = replace(world.service.daemon.watch, suspects=frozenset({uuid_of(4)}))
    world.service.daemon = replace(world.service.daemon, watch=watch)
    found = scrape(world)
    assert values(found, "nicmap_agent_up", "domain", domain="web1") == {"web1": 1}
    assert values(found, "nicmap_agent_up", "domain", domain="win10") == {"win10": 0}
    assert values(found, "nicmap_agent_state", "state", domain="win10") == {"unresponsive": 1}
    assert values(found, "nicmap_agent_last_success_seconds", domain="win10") == {"": 840}
    assert values(found, "nicmap_agent_last_success_seconds", domain="db1") == {}
    breakers = values(found, "nicmap_breaker_state", "domain")
    assert [domain for domain, value in breakers.items() if value] == ["win10"]


def test_a_nics_age_is_that_of_its_last_sight() -> None:
    world = empty_world()
    unseen = replace(world.nic(1, 1, Naming(verdict=Verdict.UNSEEN)), seen_at=world.clock.now() - timedelta(minutes=5))
    world.vm(1, "web1", [world.nic(1, 0, named("eth0")), unseen, world.nic(1, 2, Naming())], age=3.0)
    ages = values(scrape(world), "nicmap_interface_last_seen_seconds", "alias")
    assert ages == {"net0": 3.0, "net1": 300.0}


def test_the_daemons_own_troubles_are_seen() -> None:
    world = make_world()
    well = scrape(world)
    for name, value in {
        "nicmap_degraded": 0,
        "nicmap_libvirt_up": 1,
        "nicmap_db_up": 1,
        "nicmap_event_streams": 0,
    }.items():
        assert values(well, name) == {"": value}, name
    world.service.degrade("connection refused")
    store = StoreStatus(False, "disk full", "sqlite", suppressed={uuid_of(1): 3, uuid_of(2): 4}, unsaved=2)
    world.service.daemon = replace(world.service.daemon, store=store)
    ill = scrape(world)
    expected = {
        "nicmap_degraded": 1,
        "nicmap_libvirt_up": 0,
        "nicmap_db_up": 0,
        "nicmap_db_unsaved_vms": 2,
        "nicmap_db_suppressed_changes_total": 7,
    }
    for name, value in expected.items():
        assert values(ill, name) == {"": value}, name


def test_what_has_happened_is_counted() -> None:
    meter, web1 = Meter(), VmRef(uuid_of(1), "web1")
    renamed = Change(ChangeKind.NIC_RENAMED, "eth0 renamed to lan0")
    meter.passed(Outcome(web1, AgentState.OK, "", (renamed, renamed), asked=True, answered=True, seconds=0.02))
    meter.passed(Outcome(web1, AgentState.UNRESPONSIVE, "", asked=True, seconds=7.0))
    meter.passed(Outcome(web1, AgentState.OFF, ""))
    meter.passed(Outcome(web1, AgentState.OFF, "", gone=True))
    meter.failed(defect=False)
    meter.failed(defect=True)
    meter.told(EventKind.AGENT)
    meter.followed(0.3)
    found = scrape(empty_world(), meter)
    assert values(found, "nicmap_poll_total", "result") == dict.fromkeys(RESULTS, 1)
    assert values(found, "nicmap_changes_total", "kind")["nic.renamed"] == 2
    assert values(found, "nicmap_events_total", "kind")["agent"] == 1
    assert values(found, "nicmap_poll_duration_seconds_sum", "result", result="unanswered") == {"unanswered": 7.0}
    lag = values(found, "nicmap_event_lag_seconds_bucket", "le")
    assert (lag["0.25"], lag["0.5"], lag["+Inf"]) == (0, 1, 1)


def test_who_follows_the_events_is_counted() -> None:
    world = make_world()
    app = create_app(world.board, world.store, world.service, world.clock, world.feed)

    async def ask_beside_a_stream() -> bytes:
        reader = await world.feed.open(None, None)
        try:
            return (await ask_here(app, "/metrics")).body
        finally:
            reader.close()

    assert values(parse(asyncio.run(ask_beside_a_stream())), "nicmap_event_streams") == {"": 1}


# -- what guests and administrators can do to it


def test_hostile_names_stay_inside_their_labels() -> None:
    world = make_world()
    nasty = 'x"} 1\nnicmap_degraded 1\n\\'
    world.vm(7, nasty, [world.nic(7, 0, named(clean(nasty)), network='a"\n')])
    found = scrape(world)
    assert values(found, "nicmap_degraded") == {"": 0}
    names = values(found, "nicmap_interface_info", "guest_name", uuid=uuid_of(3))
    assert set(names) == {clean(name) for name in HOSTILE_NAMES}
    assert clean(nasty) in values(found, "nicmap_agent_up", "domain")
    assert HOSTILE not in values(found, "nicmap_agent_up", "domain")
    for _, labels, _ in found:
        assert all(value.isprintable() and len(value) <= MAX_NAME for value in labels.values())


def test_no_two_series_have_the_same_labels() -> None:
    world = make_world()
    mac = "52:54:00:aa:aa:ab"
    twins = [world.nic(7, index, named(f"eth{index}"), mac=mac, live=False) for index in range(2)]
    off = [replace(twin, nic=replace(twin.nic, alias=None)) for twin in twins]
    world.vm(7, "off", off, state=DomainState.OFF, agent=AgentState.OFF)
    found = scrape(world)
    series = Counter((name, tuple(sorted(labels.items()))) for name, labels, _ in found)
    assert [one for one, count in series.items() if count > 1] == []
    assert values(found, "nicmap_interfaces_omitted") == {"": 1}


def test_a_vm_of_many_nics_has_no_more_series_than_its_share() -> None:
    world = empty_world()
    world.vm(1, "wide", [world.nic(1, index, named(f"eth{index}")) for index in range(MAX_NICS_PER_VM + 10)])
    world.vm(2, "web1", [world.nic(2, 0, named("eth0"))])
    found = scrape(world)
    assert len(values(found, "nicmap_interface_info", "mac", domain="wide")) == MAX_NICS_PER_VM
    assert values(found, "nicmap_interface_info", "guest_name", domain="web1") == {"eth0": 1}
    assert values(found, "nicmap_interfaces_omitted") == {"": 10}


def test_a_guest_that_renames_all_the_time_makes_few_series() -> None:
    world = empty_world()
    app = create_app(world.board, world.store, world.service, world.clock)
    seen: set[str] = set()
    for number in range(200):
        world.vm(1, "churn", [world.nic(1, 0, named(f"eth{number}"))])
        seen |= set(values(parse(ask(app, "/metrics").body), "nicmap_interface_info", "guest_name"))
    assert seen == {"", *(f"eth{number}" for number in range(CHANGES + 1))}
    world.clock.move(SECONDS)
    assert set(values(parse(ask(app, "/metrics").body), "nicmap_interface_info", "guest_name")) == {"eth199"}


def test_the_limit_forgets_nics_that_are_gone() -> None:
    limit = NameLimit()
    for number in range(CHANGES + 2):
        limit.admit("nic1", f"eth{number}", 0.0)
    assert limit.admit("nic1", "eth0", 1.0) == ""
    limit.keep_only(())
    assert limit.admit("nic1", "eth0", 1.0) == "eth0"


def test_the_loop_answers_others_while_thousands_of_series_are_written() -> None:
    world = empty_world()
    for number in range(1500):
        world.vm(number, f"vm{number}", [world.nic(number, index, named(f"eth{index}")) for index in range(2)])
    app = create_app(world.board, world.store, world.service, world.clock)

    async def both() -> tuple[int, bool]:
        slow = asyncio.ensure_future(ask_here(app, "/metrics"))
        await asyncio.sleep(0)
        alive = await ask_here(app, "/healthz")
        first = not slow.done()
        return len(parse((await slow).body)) if alive.status == 200 else 0, first

    series, first = asyncio.run(both())
    assert first
    assert series > 1500 * 8


def test_a_question_with_a_mistyped_key_is_refused() -> None:
    world = make_world()
    app = create_app(world.board, world.store, world.service, world.clock)
    assert ask(app, "/metrics?nmae=x").status == 400


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_the_answer_says_that_it_is_prometheus_text(method: str) -> None:
    world = make_world()
    app = create_app(world.board, world.store, world.service, world.clock)
    answer = ask(app, "/metrics", method=method)
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert bool(answer.body) == (method == "GET")
