"""What one guest says in one pass: its interfaces, verified in its sysfs as far as its agent allows.

The agent is asked for its interfaces; once after each connect for what it can do; and, where the join has questions,
for what its sysfs says. Nothing here decides a name: join.py does.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from nicmapd import agent, changes, domxml, join, probe, shapes
from nicmapd.config import AgentConfig
from nicmapd.errors import AgentFailure, NotFound
from nicmapd.logs import about
from nicmapd.model import AgentState, Domain, GuestReply, Naming, Probe, Verdict, VmEntry, VmRef
from nicmapd.numbers import Verified
from nicmapd.ports import Clock, Hypervisor
from nicmapd.text import printable

_log = logging.getLogger(__name__)

#: How often a pass begins to verify anew because names changed meanwhile.
PROBE_ROUNDS = 3

#: A guest whose answers take so many times `agent.timeout` in a pass is slow.
SLOW_TIMEOUTS = 1.5

#: Looking into a guest's sysfs may take so many times `agent.timeout` in a pass: a guest that answers each call just
#: before its time-out would else hold a place for minutes. What is left then is for the next pass.
LOOK_TIMEOUTS = 3

_SLOWLY = "the guest answers slowly, and not all of its interfaces could be verified yet"

#: What the agent must allow for looking into the guest's sysfs.
_FILE_COMMANDS = ("guest-file-open", "guest-file-read", "guest-file-close")


def digest(text: str) -> bytes:
    """Tells whether a text is the one of before. A collision is for nobody to find."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


@dataclass(frozen=True, slots=True)
class Inputs:
    """All that a pass makes an entry of, beside the guest's reply. `known`: the entry before."""

    domain: Domain
    description: domxml.DomainDescription
    config: domxml.DomainDescription | None
    known: VmEntry | None
    join: join.Memory
    capabilities: agent.Capabilities | None
    settings: AgentConfig


@dataclass(slots=True)
class PassMemory:
    """What passes over one VM remember between them; lost without harm.

    `domain` is set while it is known to run: since libvirt said so, its XML has stayed the same and its agent has
    answered every time, which no guest does that is paused or off. `description` is of the XML that was read at
    `xml_at`, `config` its configuration, read at `config_at` (both in seconds, monotonic). Of both XML texts only
    digests are kept: with thousands of VMs the texts would be most of what the daemon has in memory. `reply` is the
    digest of the last reply, and `inputs` what was made of it with if that was the reply of before, too. `slow`: in the
    last pass it took the guest so long to answer that others should not stand behind it. `silent_at`: when it was
    given up in the last pass, if it was.
    """

    domain: Domain | None = None
    config: domxml.DomainDescription | None = None
    config_digest: bytes = b""
    config_at: float = 0.0
    xml_digest: bytes = b""
    xml_at: float = 0.0
    description: domxml.DomainDescription | None = None
    capabilities: agent.Capabilities | None = None
    join: join.Memory = field(default_factory=join.Memory)
    verified: Verified = field(default_factory=Verified)
    disabled: AgentFailure | None = None
    booted: bool = False
    reply: bytes = b""
    inputs: Inputs | None = None
    slow: bool = False
    silent_at: float | None = None

    def domain_changed(self) -> None:
        """Something happened to the domain: libvirt is asked again what it is."""
        self.domain = None

    def agent_restarted(self) -> None:
        """The agent has connected anew, or may have: it may be another one, in a network that was restarted."""
        self.domain_changed()
        self.capabilities = None
        self.join = self.join.after_reconnect()
        self.verified = Verified()
        self.disabled = None

    def guest_booted(self) -> None:
        """The guest has started anew: what it called its NICs before tells nothing of what it calls them now."""
        self.agent_restarted()
        self.join = join.Memory()
        self.booted = True

    def follow(self, domain: Domain, answer: Answer | None) -> None:
        """What the next pass goes on with, once all of this one is known."""
        self.domain = domain if answer is not None else None
        self.inputs = answer.inputs if answer is not None else None
        if answer is not None:
            self.join, self.booted = answer.memory, False


@dataclass(frozen=True, slots=True)
class Answer:
    """What the guest said in one pass. `same`: nothing but what is known already; then there is nothing `joined`.

    `inputs`: all that it was made of beside the reply, if that was the reply of before and nothing else was asked.
    """

    joined: tuple[join.JoinedNic, ...]
    memory: join.Memory
    version: str | None
    faults: tuple[str, ...]
    inputs: Inputs | None = None
    same: bool = False


@dataclass(frozen=True, slots=True)
class _Looked:
    """What the guest shows, and what its sysfs said of it after the reply `asked`; `probing`: whether it says so.

    `alone`: there was nothing to ask beside the reply. `left`: the names that nobody asked of because the time
    for that was over.
    """

    reading: join.Reading
    asked: GuestReply
    probes: Mapping[str, Probe]
    probing: bool
    alone: bool = True
    left: tuple[str, ...] = ()


class _TimeIsOver(Exception):
    """This pass has looked into the guest for long enough."""


class Interviewer:
    """Asks guests. Thread-safe as long as one guest is not asked twice at once."""

    def __init__(self, hypervisor: Hypervisor, settings: AgentConfig, clock: Clock) -> None:
        self._hypervisor = hypervisor
        self._clock = clock
        #: May be exchanged: what is asked from then on goes by the new ones.
        self.settings = settings

    def ask(
        self, domain: Domain, description: domxml.DomainDescription, old: VmEntry | None, memory: PassMemory
    ) -> Answer:
        """The guest's interfaces, verified as far as the agent allows. Raises `AgentFailure`, `NotFound`."""
        vm = domain.vm
        raw = self._command(vm, agent.INTERFACES_REQUEST)
        # Whatever breaks this pass off: what was made of another reply is not what is made of this one.
        before, memory.inputs = memory.inputs, None
        repeated, memory.reply = memory.reply, digest(raw)
        inputs = Inputs(domain, description, memory.config, old, memory.join, memory.capabilities, self.settings)
        if memory.reply == repeated and not memory.booted and inputs == before:
            # What comes of a pass depends on the reply and on these, the last result among them: it is known.
            return Answer((), memory.join, None, (), inputs, same=True)
        reply = agent.parse_interfaces(raw, keep={nic.mac for nic in description.nics})
        capabilities = self._capabilities(vm, memory)
        probing = self.settings.probe == "auto" and all(capabilities.allows(name) for name in _FILE_COMMANDS)
        reading = join.Reading(description.nics, reply, memory.join)
        looked = _Looked(reading, reply, {}, probing)
        if probing:
            looked = self._probe(vm, description, reading, memory)
        matched = changes.match(old.nics if old else (), description.nics)
        previous = [None if entry is None or memory.booted else entry.naming for entry in matched]
        joined, remembered = join.join(
            looked.reading, probes=looked.probes, probing=looked.probing, asked=looked.asked, previous=previous
        )
        if looked.left:
            joined = tuple(_held_back(one, looked, before) for one, before in zip(joined, previous, strict=True))
        # A guest at work never repeats itself: for it nothing is kept. What sysfs says is no part of the inputs.
        kept = inputs if memory.reply == repeated and looked.alone else None
        return Answer(joined, remembered, capabilities.version, looked.reading.reply.faults, kept)

    def _interfaces(self, vm: VmRef, description: domxml.DomainDescription) -> GuestReply:
        raw = self._command(vm, agent.INTERFACES_REQUEST)
        return agent.parse_interfaces(raw, keep={nic.mac for nic in description.nics})

    def _command(self, vm: VmRef, command: str) -> str:
        return self._hypervisor.agent_command(vm.uuid, command, timeout=self.settings.timeout)

    def _capabilities(self, vm: VmRef, memory: PassMemory) -> agent.Capabilities:
        """What this agent can do, asked once for each time that it connects. If it will not say: nothing beyond
        its interfaces."""
        if memory.capabilities is None:
            try:
                memory.capabilities = agent.parse_info(self._command(vm, agent.INFO_REQUEST))
            except AgentFailure as error:
                if error.state not in (AgentState.DISABLED, AgentState.BAD_REPLY):
                    raise
                name = printable(vm.name)
                _log.info("%s: the agent does not say what it can do: %s", name, error.message, extra=about(vm))
                memory.capabilities = agent.Capabilities()
        return memory.capabilities

    def _probe(
        self, vm: VmRef, description: domxml.DomainDescription, reading: join.Reading, memory: PassMemory
    ) -> _Looked:
        """Verifies what the join wants verified.

        Names may change while we look, so the guest is asked again afterwards: what was learned under other names is
        thrown away, and asked anew a few times; then the next pass goes on.
        """
        asked, probes, alone, over = reading.reply, dict[str, Probe](), True, False
        end = self._clock.monotonic() + LOOK_TIMEOUTS * self.settings.timeout
        ask = self._until(vm, end)
        for _ in range(PROBE_ROUNDS):
            names = join.questions(reading, probes)
            if not names or over:
                break
            alone = False
            try:
                found, over = _look_at(ask, names, reading.reply, memory, contested=set(probes))
                probes.update(found)
            except AgentFailure as error:
                if error.state not in (AgentState.DISABLED, AgentState.BAD_REPLY):
                    raise
                name = printable(vm.name)
                _log.info("%s: the agent lets nothing be verified: %s", name, error.message, extra=about(vm))
                memory.capabilities = replace(self._capabilities(vm, memory), commands=frozenset())
                return _Looked(reading, reading.reply, {}, probing=False, alone=False)
            again = self._interfaces(vm, description)
            if not join.same_shape(reading.reply, again):
                asked, probes = again, {}
            reading = join.Reading(description.nics, again, memory.join)
            over = over or self._clock.monotonic() >= end
        left = join.questions(reading, probes) if over else ()
        return _Looked(reading, asked, probes, probing=True, alone=alone, left=left)

    def _until(self, vm: VmRef, end: float) -> probe.Ask:
        """Asks that guest, and raises `_TimeIsOver` from `end` on (seconds, monotonic)."""

        def ask(command: str) -> str:
            if self._clock.monotonic() >= end and not probe.closes(command):
                raise _TimeIsOver
            return self._command(vm, command)

        return ask

    def look_closer(self, vm: VmRef, failure: AgentFailure) -> AgentFailure:
        """Newer agents refuse a command with the same words whether it is disabled or the guest is frozen: ask."""
        if not agent.may_be_frozen(failure):
            return failure
        try:
            if agent.parse_freeze_status(self._command(vm, agent.FREEZE_STATUS_REQUEST)):
                return AgentFailure("the guest's file systems are frozen", state=AgentState.FROZEN.value)
        except (AgentFailure, NotFound):
            pass  # what we had is what we know
        return failure


def _look_at(
    ask: probe.Ask, names: Sequence[str], reply: GuestReply, memory: PassMemory, *, contested: Collection[str]
) -> tuple[dict[str, Probe], bool]:
    """What sysfs says of `names`, as far as the time allows, and whether that was over.

    Where two names seem to be one device the number of either tells nothing new.
    """
    found: dict[str, Probe] = {}

    def look(name: str) -> Probe:
        found[name] = probe.probe_interface(ask, name, contested=name in contested)
        return found[name]

    try:
        plain = [name for name in names if name not in contested]
        found |= memory.verified.look(plain, reply, memory.join, ask=ask, probe=look)
        for name in names:
            if name in contested:
                look(name)
    except _TimeIsOver:
        return found, True
    return found, False


def _held_back(one: join.JoinedNic, looked: _Looked, before: Naming | None) -> join.JoinedNic:
    """What may be said of a NIC where the guest was not asked everything: of two interfaces at its place, which are the
    master of a failover pair and its standby, only the wrong one may have been asked."""
    naming = one.naming
    if naming.verdict is not Verdict.NAMED:
        doubted = naming.candidates or looked.left  # what is not seen may be any of them
        return replace(one, naming=replace(naming, reason=_SLOWLY)) if {*doubted} & {*looked.left} else one
    macs = {one.nic.mac, one.nic.current_mac} - {None}
    believed = looked.reading.proved(looked.probes).probes
    others = {
        each.name
        for each in looked.reading.interfaces
        if each.mac in macs and each.name not in believed and shapes.linux_name(each.name)
    }
    proved_before = before is not None and before.name == naming.name and naming.name not in looked.probes
    if not others or proved_before:
        return one
    candidates = tuple(sorted(others | {naming.name or ""}))
    return join.JoinedNic(one.nic, Naming(Verdict.AMBIGUOUS, reason=_SLOWLY, candidates=candidates), None)
