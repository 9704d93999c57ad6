"""The use case at the centre: one VM, one pass, one Outcome.

A pass reads the whole truth about a VM (domain XML and the agent's reply), joins the two, and makes the store and
the board say so if anything is different. What goes wrong is an Outcome and an age, never a deletion: only libvirt's
own word that a domain does not exist removes it.
"""

from __future__ import annotations

import fnmatch
import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from nicmapd import changes, domxml
from nicmapd.board import Board, only_met
from nicmapd.causes import Causes
from nicmapd.config import AgentConfig
from nicmapd.entries import Entries, Heard
from nicmapd.errors import AgentFailure, Invalid, NotFound, Unavailable, without_frames
from nicmapd.interview import SLOW_TIMEOUTS, Answer, Interviewer, PassMemory, digest
from nicmapd.keeper import Keeper
from nicmapd.logs import about
from nicmapd.model import (
    AgentState,
    Change,
    ChangeKind,
    Domain,
    DomainState,
    HostNic,
    Outcome,
    VmEntry,
    VmRef,
)
from nicmapd.ports import Clock, Hypervisor
from nicmapd.text import printable

_log = logging.getLogger(__name__)

#: Seconds for which the configuration of a running VM to which nothing happens is not read again.
CONFIG_SECONDS = 60.0

#: Seconds for which the XML of a VM to which nothing happens is not read again. libvirt tells of all that comes, goes,
#: starts and stops; of a link or network that was changed it tells nobody, and this is how late that may be seen.
XML_SECONDS = 1.0

#: How often a pass begins anew because NICs came or went while the guest was asked.
NIC_ROUNDS = 3


class Refresher:
    """Runs passes. Thread-safe as long as two passes over one VM never run at once (watch.py sees to that)."""

    def __init__(
        self,
        hypervisor: Hypervisor,
        keeper: Keeper,
        board: Board,
        *,
        clock: Clock,
        settings: AgentConfig,
        new_id: Callable[[], str],
        causes: Causes | None = None,
        xml_seconds: float = XML_SECONDS,
    ) -> None:
        self._hypervisor = hypervisor
        self._keeper = keeper
        self._board = board
        self._clock = clock
        self._settings = settings
        self._interviewer = Interviewer(hypervisor, settings, clock)
        self._entries = Entries(hypervisor.host, new_id=new_id)
        self._causes = causes or Causes()
        self._xml_seconds = xml_seconds

    def configure(self, settings: AgentConfig) -> None:
        """Passes that begin from now on go by `settings`."""
        self._settings = settings
        self._interviewer.settings = settings

    def meet(self, vm: VmRef, memory: PassMemory) -> Outcome:
        """Makes a VM known which is not on the board, by what libvirt says: its guest may hang, others before it, too.

        The board alone has it until the first pass, whose names become one piece of its past with its being found. A
        guest that needs not be asked has its pass at once. Raises `Unavailable` as `run`.
        """
        started = self._clock.monotonic()
        try:
            domain, description = self._look_at_host(vm.uuid, memory)
        except NotFound:
            return self._remove(vm, started)
        if self._reason_not_to_ask(domain, description, memory) is not None:
            return self.run(vm, memory)
        failure = AgentFailure("the guest has not been asked yet", state=AgentState.UNKNOWN.value)
        heard = Heard(domain, description, memory.config, failure=failure)
        self._keeper.show(self._entries.after(None, heard, self._clock.now(), last_success=lambda: None))
        sentence = f"{printable(domain.vm.name)}: found with {len(description.nics)} NICs, its guest comes next"
        return Outcome(domain.vm, AgentState.UNKNOWN, sentence, seconds=self._clock.monotonic() - started)

    def run(self, vm: VmRef, memory: PassMemory) -> Outcome:
        """One pass. Raises `Unavailable` if libvirt is away (nothing is changed then)."""
        started = self._clock.monotonic()
        told: list[Change] = []
        memory.slow, memory.silent_at = False, None
        try:
            heard, asked = self._hear(vm, memory, told)
        except NotFound:
            return self._remove(vm, started)
        answer = heard.answer
        old = self._board.entry(vm.uuid)
        if old is not None and answer is not None and answer.same:
            entry = old
        else:
            last_success = functools.partial(self._last_success, vm.uuid)
            entry = self._entries.after(old, heard, self._clock.now(), last_success=last_success)
        self._note_contact(vm.uuid, started, asked=asked, answered=answer is not None)
        outcome = self._settle(old, entry, tuple(told), asked=asked, answered=answer is not None, started=started)
        memory.follow(heard.domain, answer)
        return outcome

    def _hear(self, vm: VmRef, memory: PassMemory, told: list[Change]) -> tuple[Heard, bool]:
        """What libvirt and the guest say of the same NICs, and whether the guest was asked. What is made known
        meanwhile is added to `told`. Raises `NotFound`, `Unavailable`.

        A guest may take seconds for its answer. If another NIC is in a slot by then, its name is not that of the NIC
        which was there before: so the guest is asked anew.
        """
        for _ in range(NIC_ROUNDS):
            remembered = memory.domain is not None
            domain, description = self._look(vm.uuid, memory)
            failure = self._reason_not_to_ask(domain, description, memory)
            answer, asked = None, failure is None
            if asked:
                told += self._tell_host_side(domain, description, memory)
                answer, failure = self._ask(domain, description, memory)
            if answer is None and (asked or remembered):
                # Nothing proves that it still runs, and what libvirt said of it may be seconds old by now.
                memory.domain = None
                domain, description = self._look(vm.uuid, memory)
                failure = self._reason_not_to_ask(domain, description, memory) or failure
            if answer is None or not self._outdated(vm.uuid, description, answer, memory):
                return Heard(domain, description, memory.config, answer, failure), asked
        raise Unavailable(f"the NICs of {printable(vm.name)} change faster than its guest answers")

    def _outdated(self, uuid: str, description: domxml.DomainDescription, answer: Answer, memory: PassMemory) -> bool:
        """Whether libvirt has other NICs than those that the guest was asked for. Asked only if it gives new names."""
        if answer.same or not _new_names(self._board.entry(uuid), answer):
            return False
        if digest(self._hypervisor.domain_xml(uuid)) == memory.xml_digest:
            return False
        memory.domain = None
        return self._look(uuid, memory)[1].nics != description.nics

    # -- what libvirt says

    def _look(self, uuid: str, memory: PassMemory) -> tuple[Domain, domxml.DomainDescription]:
        """What libvirt says now; in a settled pass its XML alone, which is most of what libvirt has to do for us."""
        domain, description = self._look_at_host(uuid, memory)
        if domain.state is not DomainState.RUNNING:
            return domain, description
        # Before the guest is asked: what it changes after that must be told by an event again.
        used = self._hypervisor.rx_filter(uuid)
        if not used:
            return domain, description
        return domain, replace(description, nics=tuple(_with_mac(nic, used) for nic in description.nics))

    def _look_at_host(self, uuid: str, memory: PassMemory) -> tuple[Domain, domxml.DomainDescription]:
        """What libvirt says of itself, without a word to the VM's QEMU, whose monitor may hang."""
        description = self._describe(uuid, memory)
        domain = memory.domain or self._hypervisor.domain(uuid)
        self._look_ahead(domain, memory)
        return domain, description

    def _describe(self, uuid: str, memory: PassMemory) -> domxml.DomainDescription:
        """What the XML says. Forgets the domain if that is not what it said before."""
        now = self._clock.monotonic()
        if memory.domain is not None and memory.description is not None and now - memory.xml_at < self._xml_seconds:
            return memory.description
        xml = self._hypervisor.domain_xml(uuid)
        found = digest(xml)
        if memory.description is None or found != memory.xml_digest:
            memory.domain = None
            try:
                memory.description = domxml.parse_domain(xml)
            except Invalid as error:
                raise Unavailable(f"libvirt's XML of domain {uuid} cannot be read: {error.message}") from error
            memory.xml_digest = found
        memory.xml_at = now
        return memory.description

    def _look_ahead(self, domain: Domain, memory: PassMemory) -> None:
        """What a running VM will boot with next, into `memory.config`: None if it has no configuration.

        libvirt tells nobody when a device is added to a configuration: so after all that happens, and now and then.
        """
        if not domain.persistent or not domain.state.alive:
            memory.config, memory.config_digest = None, b""
            return
        now = self._clock.monotonic()
        if memory.domain is not None and now - memory.config_at < CONFIG_SECONDS:
            return
        try:
            xml = self._hypervisor.config_xml(domain.vm.uuid)
            found = digest(xml)
            if found != memory.config_digest:
                memory.config, memory.config_digest = domxml.parse_domain(xml), found
            memory.config_at = now
        except (Invalid, Unavailable) as error:
            name = printable(domain.vm.name)
            _log.debug("%s: what is pending is not known: %s", name, error.message, extra=about(domain.vm))

    def _reason_not_to_ask(
        self, domain: Domain, description: domxml.DomainDescription, memory: PassMemory
    ) -> AgentFailure | None:
        def because(state: AgentState, message: str) -> AgentFailure:
            return AgentFailure(message, state=state.value)

        if domain.state in (DomainState.OFF, DomainState.CRASHED):
            return because(AgentState.OFF, f"the VM is {domain.state.value}")
        if description.opted_out or self._opted_out(domain.vm):
            return because(AgentState.OPTED_OUT, "nicmapd is told not to contact this guest")
        if description.agent_channel is None:
            return because(AgentState.NO_CHANNEL, "the domain XML has no channel org.qemu.guest_agent.0")
        if domain.state is not DomainState.RUNNING:
            return because(AgentState.PAUSED, f"the VM is {domain.state.value}")
        if description.agent_channel == "disconnected":
            return because(AgentState.NOT_CONNECTED, "qemu-guest-agent is not connected to its channel")
        return memory.disabled

    def _opted_out(self, vm: VmRef) -> bool:
        return any(
            fnmatch.fnmatchcase(vm.name, pattern) or fnmatch.fnmatchcase(vm.uuid, pattern.lower())
            for pattern in self._settings.opt_out
        )

    # -- what the guest says

    def _ask(
        self, domain: Domain, description: domxml.DomainDescription, memory: PassMemory
    ) -> tuple[Answer | None, AgentFailure | None]:
        """The guest's answer, or why there is none. Raises `NotFound`."""
        begun = self._clock.monotonic()
        try:
            return self._interviewer.ask(domain, description, self._board.entry(domain.vm.uuid), memory), None
        except AgentFailure as error:
            failure = without_frames(self._interviewer.look_closer(domain.vm, error))
            if failure.state == AgentState.DISABLED:
                memory.disabled = failure
            if failure.state == AgentState.UNRESPONSIVE:
                memory.silent_at = self._clock.monotonic()
            return None, failure
        finally:
            memory.slow = self._clock.monotonic() - begun > SLOW_TIMEOUTS * self._settings.timeout

    # -- what follows from both

    def _tell_host_side(
        self, domain: Domain, description: domxml.DomainDescription, memory: PassMemory
    ) -> tuple[Change, ...]:
        """Makes known which NICs libvirt has now, before the guest is asked, which may hang: what changed."""
        old = self._board.entry(domain.vm.uuid)
        if old is None or tuple(one.nic for one in old.nics) == description.nics:
            return ()
        entry = self._entries.host_side(old, Heard(domain, description, memory.config), self._clock.now())
        if only_met(old):
            self._keeper.show(entry)
            return ()
        different = self._causes.name(entry.vm.uuid, changes.diff(old, entry))
        self._keeper.keep(old, entry, different)
        return different

    def _last_success(self, uuid: str) -> datetime | None:
        entry = self._board.entry(uuid)
        return self._board.sight(entry).last_success if entry else None

    def _note_contact(self, uuid: str, started: float, *, asked: bool, answered: bool) -> None:
        if asked:
            known = self._board.contact(uuid)
            success = self._clock.monotonic() if answered else known.last_success
            self._board.touch(uuid, replace(known, last_attempt=started, last_success=success))

    # -- making it known

    def _settle(
        self,
        old: VmEntry | None,
        entry: VmEntry,
        told: tuple[Change, ...],
        *,
        asked: bool,
        answered: bool,
        started: float,
    ) -> Outcome:
        """`told`: what this pass has made known already."""
        known = None if old is None or only_met(old) else old
        different = self._causes.name(entry.vm.uuid, changes.diff(known, entry))
        written = self._keeper.keep(known, entry, different) or bool(told)
        different = (*told, *different)
        return Outcome(
            vm=entry.vm,
            agent=entry.agent.state,
            sentence=_sentence(entry, different, answered=answered),
            changes=different,
            asked=asked,
            answered=answered,
            written=written,
            seconds=self._clock.monotonic() - started,
        )

    def _remove(self, vm: VmRef, started: float) -> Outcome:
        old = self._board.entry(vm.uuid)
        different: tuple[Change, ...] = ()
        if old is not None and not only_met(old):
            different = (Change(ChangeKind.VM_REMOVED, f"{old.vm.name} is gone from this host", old=old.vm.name),)
        written = self._keeper.forget(vm.uuid, different)
        self._causes.forget(vm.uuid)
        return Outcome(
            vm=old.vm if old else vm,
            agent=AgentState.OFF,
            sentence=f"{printable(vm.name)}: gone from this host",
            changes=different,
            written=written,
            gone=True,
            seconds=self._clock.monotonic() - started,
        )


def _new_names(old: VmEntry | None, answer: Answer) -> bool:
    """Whether a NIC has a name, or a MAC in the guest, that the map does not have yet."""
    known = {(one.nic, one.naming.name, one.naming.guest_mac) for one in old.nics} if old is not None else set()
    new = ((one.nic, one.naming.name, one.naming.guest_mac) for one in answer.joined if one.naming.name is not None)
    return any(one not in known for one in new)


def _with_mac(nic: HostNic, used: Mapping[str, str]) -> HostNic:
    """`nic` with the MAC that the hypervisor sees in use, if that is not the XML's."""
    mac = used.get(nic.alias or "", nic.mac)
    return nic if mac == nic.mac else replace(nic, current_mac=mac)


def _sentence(entry: VmEntry, different: Sequence[Change], *, answered: bool) -> str:
    """What the pass came to, for the log, the status page and the tests."""
    if different:
        what = "; ".join(change.sentence for change in different)
    elif answered:
        named = sum(1 for nic in entry.nics if nic.naming.name is not None)
        what = f"{named} of {len(entry.nics)} NICs named, nothing new"
    else:
        what = f"agent {entry.agent.state.value} ({entry.agent.message}), what was known stays"
    return f"{printable(entry.vm.name)}: {what}"
