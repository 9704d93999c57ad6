"""When to look at a VM again."""

from __future__ import annotations

import pytest

from nicmapd.config import PollConfig
from nicmapd.model import AgentState, Outcome, VmRef
from nicmapd.pace import QUICK_PASSES, SETTLING, Pace

VM = VmRef("00000000-0000-0000-0000-000000000001", "web1")


def outcome(state: AgentState) -> Outcome:
    return Outcome(VM, state, "web1: said something")


@pytest.fixture
def pace() -> Pace:
    return Pace(PollConfig(interval=10, resync=60, backoff_max=600))


def test_a_settled_guest_is_polled_within_the_interval_never_later(pace: Pace) -> None:
    waits = {pace.after(outcome(AgentState.OK), 0) for _ in range(200)}
    assert 9 <= min(waits) < max(waits) <= 10


def test_after_an_event_it_is_followed_closely_then_less_and_less(pace: Pace) -> None:
    now = 100.0
    pace.disturbed(now)
    looks: list[float] = []
    while len(looks) < len(SETTLING):
        now += pace.after(outcome(AgentState.OK), now)
        looks.append(now - 100)
    assert looks == pytest.approx(SETTLING)
    assert pace.after(outcome(AgentState.OK), now) >= 9


@pytest.mark.parametrize("state", [AgentState.UNRESPONSIVE, AgentState.BUSY, AgentState.BAD_REPLY])
def test_a_failing_guest_is_asked_ever_more_seldom(pace: Pace, state: AgentState) -> None:
    waits = [pace.after(outcome(state), 0) for _ in range(9)]
    assert waits == [10, 20, 40, 80, 160, 320, 600, 600, 600]
    assert pace.suspect


def test_a_guest_that_fails_for_years_overflows_nothing(pace: Pace) -> None:
    pace.failures = 10**6
    assert pace.after(outcome(AgentState.UNRESPONSIVE), 0) == 600


def test_an_answer_or_a_new_connection_clears_a_suspect(pace: Pace) -> None:
    pace.after(outcome(AgentState.UNRESPONSIVE), 0)
    pace.after(outcome(AgentState.OK), 0)
    assert not pace.suspect
    pace.after(outcome(AgentState.UNRESPONSIVE), 0)
    pace.reconnected()
    assert not pace.suspect


def test_a_hung_guest_is_not_followed_closely(pace: Pace) -> None:
    pace.disturbed(0)
    assert pace.after(outcome(AgentState.UNRESPONSIVE), 0.1) == 10


@pytest.mark.parametrize(
    "state", [AgentState.OFF, AgentState.NO_CHANNEL, AgentState.NOT_CONNECTED, AgentState.DISABLED]
)
def test_a_guest_that_cannot_answer_waits_for_its_event(pace: Pace, state: AgentState) -> None:
    assert pace.after(outcome(state), 0) == 60


def test_an_agent_that_libvirt_has_not_reached_yet_is_looked_at_again_soon(pace: Pace) -> None:
    now = 100.0
    pace.libvirt_came(now)
    looks: list[float] = []
    while len(looks) < len(SETTLING):
        now += pace.after(outcome(AgentState.NOT_CONNECTED), now)
        looks.append(now - 100)
    assert looks == pytest.approx(SETTLING)
    assert pace.after(outcome(AgentState.NOT_CONNECTED), now) == 60


def test_guests_that_answer_are_not_followed_closely_because_libvirt_came(pace: Pace) -> None:
    pace.libvirt_came(100.0)
    assert pace.after(outcome(AgentState.OK), 100.0) >= 9
    assert pace.after(outcome(AgentState.OFF), 100.0) == 60


def test_a_slow_guest_is_a_suspect_until_it_was_quick_three_times_and_is_asked_as_often(pace: Pace) -> None:
    assert pace.after(outcome(AgentState.OK), 0, slow=True) <= 10
    assert pace.suspect
    assert not pace.failing
    for _ in range(QUICK_PASSES - 1):
        pace.after(outcome(AgentState.OK), 0)
    assert pace.suspect, "who is quick every other time is not trusted"
    pace.after(outcome(AgentState.OK), 0, slow=True)
    for _ in range(QUICK_PASSES):
        assert pace.suspect
        pace.after(outcome(AgentState.OK), 0)
    assert not pace.suspect


def test_a_slow_guest_whose_agent_connects_again_is_no_less_slow(pace: Pace) -> None:
    pace.after(outcome(AgentState.OK), 0, slow=True)
    pace.reconnected()
    assert pace.suspect
