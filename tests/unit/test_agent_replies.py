"""What is made of the guest agent's replies: a table of them, and the edges of the other commands."""

from __future__ import annotations

import json

import pytest

from nicmapd import agent
from nicmapd.agent import Capabilities, parse_freeze_status, parse_info, parse_interfaces
from nicmapd.errors import AgentFailure
from nicmapd.model import AgentState, GuestInterface, Statistics
from tests.unit.replies import FAILING, HOSTILE, SYSTEMS, Case
from tests.unit.replies.case import MAC, Shown, entry

READ = [*SYSTEMS, *HOSTILE]


def named(case: Case) -> str:
    return case.id


def shown(interface: GuestInterface) -> Shown:
    addresses = (each.ip if each.prefix is None else f"{each.ip}/{each.prefix}" for each in interface.addresses)
    return (interface.name, interface.mac, tuple(addresses))


def test_the_table_is_long_enough_and_each_row_has_a_name() -> None:
    names = [case.id for case in (*READ, *FAILING)]
    assert len(names) == len(set(names)) >= 100


@pytest.mark.parametrize("case", READ, ids=named)
def test_a_reply_is_read(case: Case) -> None:
    reply = parse_interfaces(case.text, keep=case.keep)
    assert [shown(interface) for interface in reply.interfaces] == list(case.shown)
    assert reply.dropped == case.dropped
    assert len(reply.faults) == len(case.faults)
    for fault, words in zip(reply.faults, case.faults, strict=True):
        assert words in fault


@pytest.mark.parametrize("case", FAILING, ids=named)
def test_a_reply_is_refused(case: Case) -> None:
    with pytest.raises(AgentFailure) as caught:
        parse_interfaces(case.text)
    assert caught.value.state == case.state
    assert case.says in caught.value.message
    assert len(caught.value.message) < 500
    assert caught.value.message.isprintable()


@pytest.mark.parametrize("case", READ, ids=named)
def test_all_that_is_read_is_harmless_and_bounded(case: Case) -> None:
    reply = parse_interfaces(case.text, keep=case.keep)
    texts = [interface.name for interface in reply.interfaces] + list(reply.faults)
    assert all(text.isprintable() and len(text) <= 400 for text in texts)
    assert all(len(interface.name) <= 256 for interface in reply.interfaces)
    assert len(reply.faults) <= 20


@pytest.mark.parametrize("case", [case for case in READ if not isinstance(case.reply, str)], ids=named)
def test_the_order_of_entries_does_not_matter(case: Case) -> None:
    forward = parse_interfaces(json.dumps({"return": case.reply}), keep=case.keep)
    backward = parse_interfaces(json.dumps({"return": case.reply[::-1]}), keep=case.keep)
    assert forward.interfaces == backward.interfaces
    assert forward.dropped == backward.dropped
    if len(forward.faults) < 20:
        assert forward.faults == backward.faults


# --- counters


def counters(raw: object) -> Statistics | None:
    return parse_interfaces(json.dumps({"return": [{"name": "eth0", "statistics": raw}]})).interfaces[0].statistics


def test_all_counters_are_read() -> None:
    raw = {
        "rx-bytes": 1, "rx-packets": 2, "rx-errs": 3, "rx-dropped": 4,
        "tx-bytes": 5, "tx-packets": 6, "tx-errs": 7, "tx-dropped": 8,
    }  # fmt: skip
    assert counters(raw) == Statistics(1, 2, 3, 4, 5, 6, 7, 8)


@pytest.mark.parametrize(
    ("value", "read"),
    [(0, 0), (2**64 - 1, 2**64 - 1), (2**64, None), (-1, None), (1.0, None), ("1", None), (True, None), ([], None)],
)
def test_a_counter_is_a_number_of_64_bits(value: object, read: int | None) -> None:
    assert counters({"rx-bytes": value, "tx-bytes": 1}) == Statistics(rx_bytes=read, tx_bytes=1)


@pytest.mark.parametrize("raw", [None, {}, [], "x", 7, {"rx-bytes": "many"}])
def test_no_counters_are_none(raw: object) -> None:
    assert counters(raw) is None


def test_which_of_two_equal_interfaces_stays_does_not_depend_on_their_order() -> None:
    twice = [entry("eth0", MAC, statistics={"rx-bytes": number}) for number in (9, 10)]
    kept = {parse_interfaces(json.dumps({"return": order})).interfaces[0].statistics for order in (twice, twice[::-1])}
    assert len(kept) == 1


def test_equal_interfaces_are_one_whatever_their_counters() -> None:
    reply = parse_interfaces(
        json.dumps({"return": [entry("eth0", MAC, statistics={"rx-bytes": 1}), entry("eth0", MAC)]})
    )
    assert len(reply.interfaces) == 1


# --- guest-info


def info(**members: object) -> str:
    return json.dumps({"return": members})


def test_the_enabled_commands_are_allowed() -> None:
    capabilities = parse_info(
        info(
            version="10.0.2",
            supported_commands=[
                {"name": "guest-file-open", "enabled": True, "success-response": True},
                {"name": "guest-exec", "enabled": False, "success-response": True},
            ],
        )
    )
    assert capabilities == Capabilities("10.0.2", frozenset({"guest-file-open"}))
    assert capabilities.allows("guest-file-open")
    assert not capabilities.allows("guest-exec")
    assert not capabilities.allows("")


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "null",
        "[]",
        "{}",
        '{"return":null}',
        '{"return":[]}',
        '{"return":7}',
        '{"error":{"desc":"no"}}',
        "[" * 100_000,
        info(version=7),
        info(version="  "),
        info(supported_commands={"name": "x"}),
        info(supported_commands="guest-exec"),
        info(
            supported_commands=[
                None,
                7,
                [],
                {},
                {"name": 3, "enabled": True},
                {"name": "x"},
                {"name": "y", "enabled": 1},
            ]
        ),
        info(supported_commands=[{"name": "x" * 1000, "enabled": True}]),
    ],
)
def test_garbage_allows_nothing(reply: str) -> None:
    assert parse_info(reply) == Capabilities()


def test_what_an_agent_can_do_is_bounded_and_clean() -> None:
    commands = [{"name": f"guest-{number}", "enabled": True} for number in range(10_000)]
    capabilities = parse_info(info(version="\x1b" + "7" * 1000, supported_commands=commands))
    assert len(capabilities.commands) == agent.MAX_COMMANDS
    assert capabilities.version is not None
    assert capabilities.version.startswith("\\x1b7")
    assert len(capabilities.version) == 64


# --- guest-fsfreeze-status


def test_the_freeze_status_is_read() -> None:
    assert parse_freeze_status('{"return":"frozen"}') is True
    assert parse_freeze_status('{"return":"thawed"}') is False


@pytest.mark.parametrize("reply", ["", '{"return":{}}', '{"return":[]}', '{"return":"FROZEN"}', '{"return":true}'])
def test_another_freeze_status_is_refused(reply: str) -> None:
    with pytest.raises(AgentFailure) as caught:
        parse_freeze_status(reply)
    assert caught.value.state == AgentState.BAD_REPLY


def test_the_requests_are_commands_of_the_agent() -> None:
    requests = (agent.INTERFACES_REQUEST, agent.INFO_REQUEST, agent.FREEZE_STATUS_REQUEST)
    names = [json.loads(request)["execute"] for request in requests]
    assert names == ["guest-network-get-interfaces", "guest-info", "guest-fsfreeze-status"]
