"""A tiny real guest of a LabHost: its life, its agent, its NICs; what it is told from inside comes from links.py."""

from __future__ import annotations

import contextlib
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import libvirt
import libvirt_qemu

from tests.lab.definitions import AGENT_CHANNEL, AgentMode, GuestDefinition, Nic, fake_socket, shell_socket
from tests.lab.fake_agent import FakeAgent
from tests.lab.links import GuestNetwork
from tests.lab.shell import GuestGone, LabShell
from tests.lab.waiting import Deadline, LabTimeout, eventually

if TYPE_CHECKING:
    from tests.lab.host import LabHost

# Seconds; a boot takes 2 s alone and about 2 s more for each guest that boots at the same time on two cores.
BOOT = 60.0
LIVE_AND_CONFIG = libvirt.VIR_DOMAIN_AFFECT_LIVE | libvirt.VIR_DOMAIN_AFFECT_CONFIG


class Guest(GuestNetwork):
    """A guest of the lab, made by LabHost.guest(); `run` never goes through its guest agent."""

    def __init__(self, host: LabHost, definition: GuestDefinition) -> None:
        self.host = host
        self.definition = definition
        self.name = definition.name
        self.uuid = definition.uuid
        self.shell = LabShell(shell_socket(host.folder, definition.name))
        self._defined_xml = ""
        self._booted_nics: list[tuple[str, ...]] = []

    def __repr__(self) -> str:
        return f"Guest({self.name!r})"

    @property
    def macs(self) -> tuple[str, ...]:
        """The MACs of the NICs that the guest was defined with, in order."""
        return tuple(nic.mac for nic in self.definition.nics)

    @property
    def domain(self) -> libvirt.virDomain:
        """libvirt's domain, looked up now on the lab's own connection."""
        return self.host.connection.lookupByUUIDString(self.uuid)

    # --- life ---

    def define(self) -> None:
        """Define it (again) as at first."""
        xml = self.definition.xml(image=self.host.image, folder=self.host.folder)
        domain = self.host.connection.defineXML(xml)
        self._defined_xml = domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)

    def create(self) -> None:
        """Start QEMU and return; see wait_ready."""
        self.domain.create()

    def start(self, *, within: float = BOOT) -> Guest:
        """Boot and wait until it is ready."""
        self.create()
        self.wait_ready(within=within)
        return self

    def wait_ready(self, *, within: float = BOOT) -> None:
        """Wait until the shell answers and a real agent is connected; else destroy the guest, raise LabTimeout."""
        deadline = Deadline(within)
        try:
            self._wait_shell(deadline)
            if self.definition.agent == "real" and self.definition.agent_channel:
                self.wait_agent(within=max(1.0, deadline.left))
        except (LabTimeout, GuestGone) as error:
            with contextlib.suppress(libvirt.libvirtError):
                self.destroy()
            raise LabTimeout(f"{self.name} did not boot within {within:g} s: {error}\n{self.console()}") from error
        self._booted_nics = self._live_nics()

    def _wait_shell(self, deadline: Deadline) -> None:
        """What reaches a restored guest's channel before its devices run may be lost, so it is said again."""
        while True:
            try:
                self.shell.run("true", within=min(4.0, max(1.0, deadline.left)))
            except LabTimeout:
                if deadline.over:
                    raise
                self.shell.close()
            else:
                return

    def wait_agent(self, *, within: float = 10.0, connected: bool = True) -> None:
        """Wait until libvirt sees an agent connected to the channel (or not). Sends the agent nothing."""
        what = f"agent of {self.name} {'connected' if connected else 'disconnected'}"
        eventually(lambda: self.agent_connected() == connected, within=within, what=what)

    def wait_answer(self, *, within: float = 10.0) -> None:
        """Wait until the agent answers a guest-ping.

        Needed after a restart of libvirtd, whose XML says "connected" before it is, and after a kill of the agent, of
        which QEMU may tell up to 1 s late.
        """

        def answers() -> bool:
            try:
                return bool(libvirt_qemu.qemuAgentCommand(self.domain, '{"execute":"guest-ping"}', 5, 0))
            except libvirt.libvirtError:
                return False

        eventually(answers, within=within, what=f"answer of the agent of {self.name}")

    def agent_connected(self) -> bool:
        """What libvirt's XML says of the agent's channel."""
        path = f"devices/channel/target[@name='{AGENT_CHANNEL}'][@state='connected']"
        return self._live_xml().find(path) is not None

    def destroy(self) -> None:
        """Pull the plug."""
        self.shell.close()
        self.domain.destroy()

    def undefine(self) -> None:
        """Destroy it if it runs, and let libvirt forget it."""
        if self.is_running():
            self.destroy()
        self.domain.undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE)
        self.host.guests.pop(self.name, None)

    def forget(self) -> None:
        """Undefine it, whatever a test has done to it: it may be transient or gone."""
        with contextlib.suppress(libvirt.libvirtError):
            self.destroy()
        with contextlib.suppress(libvirt.libvirtError):
            self.undefine()
        self.host.guests.pop(self.name, None)

    def is_running(self) -> bool:
        """True also while it is paused."""
        return bool(self.domain.isActive())

    def suspend(self) -> None:
        self.domain.suspend()

    def resume(self) -> None:
        self.domain.resume()

    def save(self) -> Path:
        """Save its memory to a file (some 85 MB, in the lab's folder) and stop it; the file, for restore()."""
        path = self.host.folder / f"{self.name}.save"
        self.shell.close()
        self.domain.save(str(path))
        return path

    def restore(self, path: Path, *, within: float = BOOT) -> None:
        """Start it from such a file, wait until it is ready, remove the file."""
        self.host.connection.restore(str(path))
        path.unlink()
        self.wait_ready(within=within)

    def reset(self) -> None:
        """Put it back to how it was after its boot: 0.1 s if that can be done inside, else it boots anew (2 s)."""
        try:
            domain = self.domain
        except libvirt.libvirtError:
            self.define()
            domain = self.domain
        if domain.name() != self.name or domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE) != self._defined_xml:
            self._redefine(domain)
        if not self._reset_in_place():
            if self.is_running():
                self.destroy()
            self.start()

    def console(self) -> str:
        """The last lines of the guest's serial console."""
        log = self.host.folder / "log" / f"{self.name}.console"
        return log.read_text(errors="replace")[-2000:] if log.exists() else ""

    # --- commands ---

    def run(self, script: str, *, within: float = 10.0) -> tuple[int, str]:
        """(exit status, output and errors) of a shell script as root, through the lab's channel; see LabShell.run."""
        return self.shell.run(script, within=within)

    def check(self, script: str, *, within: float = 10.0) -> str:
        """Run a script, which must succeed; what it printed."""
        status, output = self.run(script, within=within)
        assert status == 0, f"{self.name}: status {status} of: {script}\n{output}"
        return output

    # --- agent ---

    def hang_agent(self) -> None:
        """SIGSTOP: the channel stays connected, nobody answers."""
        self.check("killall -STOP qemu-ga && until grep -q '^State:.T' /proc/$(pidof qemu-ga)/status; do :; done")

    def resume_agent(self) -> None:
        """SIGCONT after hang_agent()."""
        self.check("killall -CONT qemu-ga")

    def kill_agent(self) -> None:
        """SIGKILL; the guest starts another one 0.1 s later."""
        self.check("killall -KILL qemu-ga")

    def freeze_agent(self) -> None:
        """Restart the agent in frozen state, as during a backup; guest-fsfreeze-thaw or reset() ends that."""
        before = self.check("pidof qemu-ga")
        self.check("touch /run/qga.state.isfrozen && killall -KILL qemu-ga")
        eventually(lambda: self.run("pidof qemu-ga")[1] not in ("", before), what=f"{self.name}: a new agent")
        self.wait_answer()

    def set_agent(self, mode: AgentMode, *options: str) -> None:
        """Switch to the real agent with these options, to the host's fake or to none, and wait until it is so.

        E.g. `set_agent("real", "-b", "guest-network-get-interfaces")`. In mode "none" libvirt sees the agent
        disconnected; in the other modes connected.
        """
        self.check(f"lab-agent {mode} {' '.join(options)}")
        if self.definition.agent_channel:
            self.wait_agent(connected=mode != "none")

    @contextmanager
    def fake_agent(self) -> Iterator[FakeAgent]:
        """Let a FakeAgent of this process answer instead of qemu-ga, until the block ends."""
        with FakeAgent(fake_socket(self.host.folder, self.name)) as agent:
            self.set_agent("fake")
            try:
                yield agent
            finally:
                # A guest that the test has destroyed or paused is reset()'s to mend.
                with contextlib.suppress(GuestGone, LabTimeout, libvirt.libvirtError):
                    self.set_agent("real", *self.definition.agent_options)

    # --- NICs ---

    def attach(self, nic: Nic, *, persistent: bool = False, within: float = 5.0) -> str:
        """Plug in a NIC and wait until the guest has it; its name in the guest."""
        before = set(self.devices())
        flags = LIVE_AND_CONFIG if persistent else libvirt.VIR_DOMAIN_AFFECT_LIVE
        self.domain.attachDeviceFlags(nic.xml(), flags)
        new = eventually(lambda: set(self.devices()) - before, within=within, what="new NIC in the guest")
        return self.devices()[new.pop()].name

    def detach(self, mac: str, *, persistent: bool = False, within: float = 5.0) -> None:
        """Unplug the NIC with that MAC and wait until libvirt has it no more."""
        flags = LIVE_AND_CONFIG if persistent else libvirt.VIR_DOMAIN_AFFECT_LIVE
        self.domain.detachDeviceFlags(self.interface_xml(mac), flags)
        eventually(lambda: mac not in self.live_macs(), within=within, what=f"NIC {mac} detached")

    def interface_xml(self, mac: str) -> str:
        """The `<interface>` of the live XML with that MAC; KeyError if there is none."""
        for interface in self._live_xml().iterfind("devices/interface"):
            address = interface.find("mac")
            if address is not None and address.get("address") == mac:
                return ElementTree.tostring(interface, encoding="unicode")
        raise KeyError(mac)

    def live_macs(self) -> list[str]:
        """The MACs of the live XML, in order."""
        return [nic[0] for nic in self._live_nics()]

    # --- private ---

    def _live_xml(self) -> ElementTree.Element:
        return ElementTree.fromstring(self.domain.XMLDesc())

    def _live_nics(self) -> list[tuple[str, ...]]:
        """Of each NIC what a test can change of it, the MAC first."""
        ways = (("mac", "address"), ("source", "network"), ("model", "type"), ("alias", "name"), ("link", "state"))
        found = []
        for interface in self._live_xml().iterfind("devices/interface"):
            elements = ((interface.find(tag), key) for tag, key in ways)
            found.append(tuple("" if e is None else e.get(key, "") for e, key in elements))
        return found

    def _heal_agent(self) -> None:
        """Let libvirt see the agent go and come if it does not answer.

        After garbage libvirt talks to an agent no more until its port closes, and QEMU, which tells of a port at most
        once a second, leaves out a close that an open follows within that second.
        """
        try:
            self.wait_answer(within=1.5)
        except LabTimeout:
            self.set_agent("none")
            self.set_agent("real", *self.definition.agent_options)
            self.wait_answer()

    def _redefine(self, domain: libvirt.virDomain) -> None:
        if domain.name() != self.name:
            if domain.isActive():
                self.destroy()
            domain.undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE)
        self.define()

    def _reset_in_place(self) -> bool:
        """True if the guest is as after its boot again, without a boot."""
        state, _ = self.domain.state()
        if state == libvirt.VIR_DOMAIN_PAUSED:
            self.resume()
        elif state != libvirt.VIR_DOMAIN_RUNNING:
            return False
        extra = [nic[0] for nic in self._live_nics() if nic not in self._booted_nics]
        try:
            for mac in extra:
                if mac not in self.macs:
                    self.detach(mac)
            if self._live_nics() != self._booted_nics or self.run("lab-reset")[0] != 0:
                return False
            if self.definition.agent_channel:
                self.wait_agent(connected=self.definition.agent != "none")
                if self.definition.agent == "real":
                    self._heal_agent()
        except (LabTimeout, GuestGone, libvirt.libvirtError):
            return False
        return True
