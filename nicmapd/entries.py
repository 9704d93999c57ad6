"""What is known of a VM after a pass: what was known, what libvirt says and what the guest says become one entry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from nicmapd import changes, domxml, join, pending
from nicmapd.errors import AgentFailure
from nicmapd.interview import Answer
from nicmapd.model import AgentState, AgentStatus, Domain, HostNic, Naming, NicEntry, VmEntry


@dataclass(frozen=True, slots=True)
class Heard:
    """What one pass has heard. `config`: the description of the configuration, None if there is none or it is unknown.

    Without an `answer` of the guest there is a `failure`, which says why.
    """

    domain: Domain
    description: domxml.DomainDescription
    config: domxml.DomainDescription | None = None
    answer: Answer | None = None
    failure: AgentFailure | None = None


class Entries:
    """Makes entries of the VMs of `host`. `new_id` names a NIC that was not known before."""

    def __init__(self, host: str, *, new_id: Callable[[], str]) -> None:
        self._host = host
        self._new_id = new_id

    def after(
        self, old: VmEntry | None, heard: Heard, now: datetime, *, last_success: Callable[[], datetime | None]
    ) -> VmEntry:
        """What is known now. `last_success`: when the guest answered last before."""
        matched = changes.match(old.all_nics if old else (), heard.description.nics)
        if heard.answer is None:
            nics = self._unanswered(heard.description.nics, matched, now)
        else:
            nics = tuple(
                self._answered(joined, known, now, last_success)
                for joined, known in zip(heard.answer.joined, matched, strict=True)
            )
        entry = VmEntry(
            vm=heard.domain.vm,
            host=self._host,
            state=heard.domain.state,
            persistent=heard.domain.persistent,
            agent=_agent_status(old.agent if old else None, now, answer=heard.answer, failure=heard.failure),
            nics=nics,
        )
        return self._with_pending(entry, old, heard.config, now)

    def host_side(self, old: VmEntry, heard: Heard, now: datetime) -> VmEntry:
        """`old` with what libvirt says; of the guest nothing is heard yet."""
        matched = changes.match(old.all_nics, heard.description.nics)
        entry = replace(
            old,
            vm=heard.domain.vm,
            state=heard.domain.state,
            persistent=heard.domain.persistent,
            nics=self._unanswered(heard.description.nics, matched, now),
        )
        return self._with_pending(entry, old, heard.config, now)

    def _unanswered(
        self, nics: tuple[HostNic, ...], matched: list[NicEntry | None], now: datetime
    ) -> tuple[NicEntry, ...]:
        """The NICs in a pass without an answer: what was known stays."""
        return tuple(
            NicEntry(id=self._new_id(), nic=nic, naming=Naming(), attached_at=now)
            if known is None
            else changes.carried(known, nic)
            for nic, known in zip(nics, matched, strict=True)
        )

    def _answered(
        self,
        joined: join.JoinedNic,
        old: NicEntry | None,
        now: datetime,
        last_success: Callable[[], datetime | None],
    ) -> NicEntry:
        naming = joined.naming
        if old is None:
            since = now if naming.name is not None else None
            return NicEntry(self._new_id(), joined.nic, naming, now, name_since=since, statistics=joined.statistics)
        same = naming.name == old.naming.name
        vanished = old.naming.present and not naming.present
        return replace(
            old,
            nic=joined.nic,
            naming=naming,
            name_since=old.name_since if same else (now if naming.name is not None else None),
            seen_at=last_success() if vanished else old.seen_at,
            statistics=joined.statistics,
        )

    def _with_pending(
        self, entry: VmEntry, old: VmEntry | None, config: domxml.DomainDescription | None, now: datetime
    ) -> VmEntry:
        """`entry` with what its next boot will change."""
        if not entry.state.alive:
            return replace(entry, coming=())
        if config is None:
            return entry
        found, left = pending.counterparts([one.nic for one in entry.nics], config.nics)
        before = changes.match_coming(old.all_nics if old else (), entry.nics, left)
        return replace(
            entry,
            nics=tuple(
                one if one.planned == planned else replace(one, planned=planned)
                for one, planned in zip(entry.nics, found, strict=True)
            ),
            coming=tuple(
                NicEntry(known.id if known else self._new_id(), nic, Naming(), now, planned=nic)
                for nic, known in zip(left, before, strict=True)
            ),
        )


def _agent_status(
    old: AgentStatus | None, now: datetime, *, answer: Answer | None, failure: AgentFailure | None
) -> AgentStatus:
    version = answer.version if answer else (old.version if old else None)
    if failure is None:
        message = "answers" if answer is None or not answer.faults else f"answers; {answer.faults[0]}"
        state = AgentState.OK
    else:
        message, state = failure.message, AgentState(failure.state)
    since = old.since if old is not None and old.state is state else now
    return AgentStatus(state, since, message, version)
