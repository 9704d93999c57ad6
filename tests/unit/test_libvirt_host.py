"""The reading side on libvirt's own test driver: what it says when libvirt, its binding or a guest misbehaves."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import libvirt
import libvirt_qemu
import pytest

from nicmapd.clock import SystemClock
from nicmapd.errors import AgentFailure, Unavailable
from nicmapd.hypervisor import LibvirtHypervisor, link
from nicmapd.ports import DomainEvent, EventKind
from tests.unit.test_libvirt_changes import DRIVER, UUID


class Host:
    """A connected hypervisor and the events that it told."""

    def __init__(self, uri: str) -> None:
        self.hypervisor = LibvirtHypervisor(uri, host="host1", clock=SystemClock())
        self.events: list[DomainEvent] = []
        connected = threading.Event()

        def take(event: DomainEvent) -> None:
            self.events.append(event)
            connected.set()

        self.hypervisor.subscribe(take)
        self.hypervisor.start()
        assert connected.wait(10)

    def stop(self) -> None:
        self.hypervisor.stop()
        for thread in threading.enumerate():
            if thread.name == "libvirt-connect":
                thread.join(10)


@pytest.fixture
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    path = tmp_path_factory.mktemp("driver") / "node.xml"
    path.write_text(DRIVER)
    made = Host(f"test://{path}")
    yield made
    made.stop()


def test_after_the_stop_the_reason_is_the_stop(host: Host) -> None:
    assert "web1" in host.hypervisor.domain_xml(UUID)
    host.stop()
    for ask in (host.hypervisor.domains, lambda: host.hypervisor.domain_xml(UUID)):
        with pytest.raises(Unavailable, match=r"^nicmapd is stopping$"):
            ask()


def test_the_event_that_libvirt_went_says_why(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise Unavailable("not again")

    monkeypatch.setattr("nicmapd.hypervisor.libvirt_host.Link", refuse)
    host.hypervisor._on_close("end of file")
    (event,) = [one for one in host.events if one.kind is EventKind.DISCONNECTED]
    assert "closed the connection (end of file)" in event.detail


def _garbled(*_: object) -> str:
    return b"\xff\xfe".decode()


def test_a_reply_that_is_not_utf8_is_a_bad_reply(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libvirt_qemu, "qemuAgentCommand", _garbled)
    with pytest.raises(AgentFailure, match="not UTF-8") as caught:
        host.hypervisor.agent_command(UUID, "{}", timeout=1)
    assert caught.value.state == "bad_reply"
    assert "web1" in host.hypervisor.domain_xml(UUID)


def test_an_xml_that_is_not_utf8_is_no_defect(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libvirt.virDomain, "XMLDesc", _garbled)
    with pytest.raises(Unavailable, match="not UTF-8"):
        host.hypervisor.domain_xml(UUID)


def test_libvirts_event_loop_goes_on_after_a_failure(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Enough(Exception):
        pass

    here, runs = threading.current_thread(), iter([libvirt.libvirtError("poll failed"), None, Enough()])

    def run_once() -> Any:
        if threading.current_thread() is not here:  # that of the other tests
            return libvirt.virEventRunDefaultImpl()
        failure = next(runs)
        if failure is not None:
            raise failure
        return 0

    loop = SimpleNamespace(virEventRunDefaultImpl=run_once, libvirtError=libvirt.libvirtError)
    monkeypatch.setattr(link, "libvirt", loop)
    monkeypatch.setattr(link, "LOOP_PAUSE", 0.0)
    with pytest.raises(Enough):
        link._run_event_loop()
    assert [record.levelname for record in caplog.records if "event loop failed" in record.getMessage()] == ["ERROR"]
