"""Agents that list their interfaces and do not say what else they can do."""

from __future__ import annotations

import pytest

from nicmapd.agent import failure_of_error
from nicmapd.errors import AgentFailure
from nicmapd.model import AgentState, NameSource
from tests.fakes.hypervisor import FakeHypervisor, FakeVm
from tests.unit.test_refresh import PROBE_CALLS, make


class _Taciturn(FakeHypervisor):
    """`guest-info` fails so: qemu-ga --allow-rpcs=guest-network-get-interfaces, or an agent of another kind."""

    info: AgentFailure | None = None
    refused = (
        "internal error: unable to execute QEMU agent command 'guest-info': "
        "Command guest-info has been disabled: the command is not allowed"
    )

    def _answer(self, vm: FakeVm, request: dict[str, object], timeout: int) -> str:
        answer = super()._answer(vm, request, timeout)
        if request["execute"] == "guest-info" and self.info is not None:
            raise self.info
        return answer


@pytest.mark.parametrize(
    "failure",
    [
        failure_of_error(code=1, domain=10, text=_Taciturn.refused),
        AgentFailure("the reply is no JSON", state="bad_reply"),
    ],
)
def test_an_agent_that_lists_its_interfaces_but_not_its_commands_is_believed(failure: AgentFailure) -> None:
    hypervisor = _Taciturn()
    hypervisor.info = failure
    bench = make(hypervisor=hypervisor)
    vm = hypervisor.add("web1")
    outcome = bench.run(vm)
    assert (outcome.agent, bench.names(vm)) == (AgentState.OK, ["eth0"])
    entry = bench.board.entry(vm.uuid)
    assert entry is not None
    assert (entry.nics[0].naming.source, entry.agent.version) == (NameSource.AGENT, None)
    assert not PROBE_CALLS & set(vm.calls)
    bench.run(vm)
    assert vm.calls.count("guest-info") == 1
    hypervisor.info = None
    bench.memories[vm.uuid].agent_restarted()
    bench.run(vm)
    assert bench.board.entry(vm.uuid).agent.version == "7.2.22"  # type: ignore[union-attr]


@pytest.mark.parametrize("state", ["unresponsive", "busy"])
def test_an_agent_that_is_silent_when_asked_what_it_can_do_has_not_answered(state: str) -> None:
    hypervisor = _Taciturn()
    hypervisor.info = AgentFailure("no answer", state=state)
    bench = make(hypervisor=hypervisor)
    vm = hypervisor.add("web1")
    outcome = bench.run(vm)
    assert (outcome.agent, outcome.answered) == (AgentState(state), False)
