"""The `Hypervisor` port on libvirt: connects, reconnects, lists, reads XML, asks agents.

One connection carries the events and the lists of domains; what passes ask (XML, agent calls) runs on lines of its own,
so that no hung agent holds up the events or another's call.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, TypeVar

import libvirt
import libvirt_qemu

from nicmapd import agent
from nicmapd.errors import AgentFailure, NicmapError, NotFound, Unavailable
from nicmapd.hypervisor import rx_filter as filters
from nicmapd.hypervisor.events import listen_all
from nicmapd.hypervisor.lines import Line, Lines
from nicmapd.hypervisor.link import Link, describe
from nicmapd.model import ConnectionStatus, Domain, DomainState, VmRef
from nicmapd.ports import Clock, DomainEvent, EventKind

_log = logging.getLogger(__name__)
_Answer = TypeVar("_Answer")

#: Seconds between attempts to connect: doubled from the first to the last, each with a jitter of a quarter.
RECONNECT_FIRST = 0.2
RECONNECT_LAST = 5.0

#: libvirt's error numbers (include/libvirt/virterror.h), which outlive the binding's constants.
NO_DOMAIN = 42
_CONNECTION_CODES = frozenset({38, 39, 1})
_CONNECTION_DOMAINS = frozenset({7, 13})  # VIR_FROM_RPC, VIR_FROM_REMOTE

_STATES = {
    1: DomainState.RUNNING,
    2: DomainState.RUNNING,  # blocked on a resource
    3: DomainState.PAUSED,
    4: DomainState.RUNNING,  # being shut down: still alive
    5: DomainState.OFF,
    6: DomainState.CRASHED,
    7: DomainState.SUSPENDED,
}


class LibvirtHypervisor:
    """libvirt at one URI. `start` connects in the background and keeps connected; `stop` ends that."""

    def __init__(self, uri: str, *, host: str, clock: Clock, agent_calls: int = 4, rx_filter: bool = False) -> None:
        self._uri = uri
        self._host = host
        self._clock = clock
        self._subscribers: list[Callable[[DomainEvent], None]] = []
        self._link: Link | None = None
        self._lines = Lines(uri, calls=agent_calls)
        self._rx_filter = rx_filter
        self._status = ConnectionStatus(False, clock.now(), "not connected yet", uri=uri)
        self._lost = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def host(self) -> str:
        return self._host

    def status(self) -> ConnectionStatus:
        return self._status

    def subscribe(self, callback: Callable[[DomainEvent], None]) -> None:
        self._subscribers.append(callback)

    # -- the life of the connection

    def start(self) -> None:
        """Begins to connect, in a thread of its own: opening may block as long as libvirtd likes."""
        self._thread = threading.Thread(target=self._stay_connected, name="libvirt-connect", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends the connection for events and XML. Agent calls in flight cannot be cancelled: theirs stay."""
        self._stopping.set()
        self._lost.set()

    def _stay_connected(self) -> None:
        delay = RECONNECT_FIRST
        while not self._stopping.is_set():
            try:
                self._connect()
            except NicmapError as error:
                self._say_disconnected(error.message)
                self._stopping.wait(delay * random.uniform(0.75, 1.25))
                delay = min(RECONNECT_LAST, delay * 2)
                continue
            delay = RECONNECT_FIRST
            self._lost.wait()
            self._disconnect()

    def _connect(self) -> None:
        self._lost.clear()
        link = Link(self._uri, on_close=self._on_close)
        try:
            listen_all(link, self._deliver)
            hints = self._rx_filter and filters.listen(link, self._deliver)
            version = _version(link.connection.getLibVersion())
        except libvirt.libvirtError as error:
            link.close()
            raise Unavailable(f"libvirt at {self._uri} broke off: {describe(error)}") from error
        self._link = link
        self._status = ConnectionStatus(True, self._clock.now(), f"connected to {self._uri}", version, self._uri, hints)
        _log.info("connected to libvirt %s at %s", version, self._uri)
        self._deliver(DomainEvent(EventKind.CONNECTED))

    def _on_close(self, reason: str) -> None:
        if not self._stopping.is_set():
            self._say_disconnected(f"libvirt at {self._uri} closed the connection ({reason}); reconnecting")
        self._lost.set()

    def _lose(self, link: Link | None, reason: str) -> None:
        """A caller found `link` dead. Nothing to do if it has been replaced meanwhile."""
        if link is not None and link is self._link:
            self._on_close(reason)

    def _disconnect(self) -> None:
        link, self._link = self._link, None
        self._lines.close()
        if link is not None:
            link.close()

    def _say_disconnected(self, message: str) -> None:
        before = self._status
        if before.connected or before.message != message:
            since = self._clock.now() if before.connected else before.since
            self._status = ConnectionStatus(False, since, message, before.version, self._uri)
            _log.warning("%s", message)
        if before.connected:
            self._deliver(DomainEvent(EventKind.DISCONNECTED, detail=message))

    def _deliver(self, event: DomainEvent) -> None:
        for callback in self._subscribers:
            callback(event)

    # -- reading

    def domains(self) -> Sequence[Domain]:
        link = self._link
        if link is None:
            raise self._without_link()
        try:
            with link.use() as connection:
                return _list_domains(connection)
        except libvirt.libvirtError as error:
            if smells_of_loss(error) and not link.alive():
                self._lose(link, "a call failed")
            raise Unavailable(f"cannot list the domains: {describe(error)}") from error

    def domain(self, uuid: str) -> Domain:
        def look(line: Line) -> Domain:
            # A handle that was kept would tell the name of before a rename.
            return domain_of(line.connection.lookupByUUIDString(uuid))

        return self._read(uuid, "look at", look)

    def domain_xml(self, uuid: str) -> str:
        return self._read(uuid, "read the XML of", lambda line: line.call(uuid, _xml))

    def config_xml(self, uuid: str) -> str:
        return self._read(uuid, "read the configuration of", lambda line: line.call(uuid, _config_xml))

    def rx_filter(self, uuid: str) -> Mapping[str, str]:
        if not self._rx_filter:
            return {}
        try:
            return self._read(uuid, "query the receive filters of", lambda line: line.call(uuid, filters.query))
        except Unavailable as error:
            if not self.status().connected:
                raise
            _log.debug("%s", error.message)  # not QEMU, or not now: the guest is asked all the same
            return {}

    def _read(self, uuid: str, what: str, read: Callable[[Line], _Answer]) -> _Answer:
        with self._line() as line:
            try:
                return read(line)
            except libvirt.libvirtError as error:
                words = f"cannot {what} domain {uuid}: {describe(error)}"
                if error.get_error_code() == NO_DOMAIN:
                    raise NotFound(words) from error
                if smells_of_loss(error) and not line.alive():
                    self._lose_if_dead("a call failed")
                raise Unavailable(words) from error
            except UnicodeDecodeError as error:  # of the binding
                raise Unavailable(f"cannot {what} domain {uuid}: the answer is not UTF-8") from error

    def _line(self) -> AbstractContextManager[Line]:
        if self._link is None:
            raise self._without_link()
        return self._lines.line()

    def _without_link(self) -> Unavailable:
        """Why there is no connection. At the stop the status still says that there is one."""
        if self._stopping.is_set():
            return Unavailable("nicmapd is stopping")
        status = self._status
        return Unavailable("the connection to libvirt is being closed" if status.connected else status.message)

    def _lose_if_dead(self, reason: str) -> bool:
        """A line broke: whether libvirt does not answer on the connection for events either, and is away."""
        link = self._link
        if link is not None and link.alive():
            return False
        self._lose(link, reason)
        return True

    # -- asking a guest

    def agent_command(self, uuid: str, command: str, *, timeout: int) -> str:
        with self._line() as line:
            try:
                return line.call(uuid, lambda domain: _ask(domain, command, max(1, timeout)))
            except libvirt.libvirtError as error:
                raise self._agent_error(error, line_alive=not smells_of_loss(error) or line.alive()) from error
            except UnicodeDecodeError as error:  # the binding makes a str of whatever the guest has sent
                raise AgentFailure(f"the agent's reply is not UTF-8 ({error.reason})", state="bad_reply") from error

    def _agent_error(self, error: libvirt.libvirtError, *, line_alive: bool) -> NicmapError:
        """What a failed agent call means. A guest can cause errors that look like a lost connection: so the other
        connection is asked before libvirt is believed to be away."""
        code = error.get_error_code()
        if code == NO_DOMAIN:
            return NotFound(f"there is no such domain any more: {describe(error)}")
        if line_alive:
            return agent.failure_of_error(code=code, domain=error.get_error_domain(), text=error.get_error_message())
        if self._lose_if_dead("an agent call failed"):
            return Unavailable(f"libvirt went away during an agent call: {describe(error)}")
        return AgentFailure(
            f"libvirt closed the connection of this agent call, and only that one: {describe(error)}", state="bad_reply"
        )


def _version(number: int) -> str:
    return f"{number // 1_000_000}.{number // 1000 % 1000}.{number % 1000}"


def smells_of_loss(error: libvirt.libvirtError) -> bool:
    """Whether an error may mean that the connection is gone. Guests can cause some of these: ask before acting."""
    return error.get_error_code() in _CONNECTION_CODES and (
        error.get_error_code() == 38 or error.get_error_domain() in _CONNECTION_DOMAINS
    )


def domain_of(domain: Any) -> Domain:
    """A virDomain as it is now. Raises libvirtError."""
    return _domain(domain, domain.state()[0], persistent=bool(domain.isPersistent()))


def _domain(domain: Any, state: int, *, persistent: bool) -> Domain:
    return Domain(VmRef(domain.UUIDString(), domain.name()), _STATES.get(state, DomainState.OFF), persistent)


def _xml(domain: Any) -> str:
    return str(domain.XMLDesc(0))


def _config_xml(domain: Any) -> str:
    return str(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))


def _ask(domain: Any, command: str, timeout: int) -> str:
    return str(libvirt_qemu.qemuAgentCommand(domain, command, timeout, 0))


def _list_domains(connection: Any) -> list[Domain]:
    """All domains with their states in five calls, however many there are (one state call each would not scale)."""

    def uuids(flag: int) -> set[str]:
        return {domain.UUIDString() for domain in connection.listAllDomains(flag)}

    transient = uuids(libvirt.VIR_CONNECT_LIST_DOMAINS_TRANSIENT)
    running = uuids(libvirt.VIR_CONNECT_LIST_DOMAINS_RUNNING)
    paused = uuids(libvirt.VIR_CONNECT_LIST_DOMAINS_PAUSED)
    off = uuids(libvirt.VIR_CONNECT_LIST_DOMAINS_SHUTOFF)
    found = []
    for domain in connection.listAllDomains(0):
        uuid = domain.UUIDString()
        if uuid in running:
            state = 1
        elif uuid in paused:
            state = 3
        elif uuid in off:
            state = 5
        else:
            try:
                state = domain.state()[0]  # crashed, asleep, or changed between the lists
            except libvirt.libvirtError:
                continue  # gone between the lists
        found.append(_domain(domain, state, persistent=uuid not in transient))
    return found
