"""What the lab tells libvirt: guests, NICs and networks as dataclasses, and their XML."""

from __future__ import annotations

import hashlib
import ipaddress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from xml.sax.saxutils import quoteattr

from tests.lab.image import Image

AGENT_CHANNEL = "org.qemu.guest_agent.0"
SHELL_CHANNEL = "org.nicmapd.lab.0"
FAKE_AGENT_CHANNEL = "org.nicmapd.lab.agent.0"

AgentMode = Literal["real", "fake", "none"]

# No console noise, no reboot loop after a panic that a deadline would not see, and nothing that costs an emulated CPU
# time for the sake of safety: together 1.5 s instead of 1.9 s until the guest's shell answers.
KERNEL_WORDS = "console=ttyS0 quiet net.ifnames=0 panic=-1 nokaslr mitigations=off audit=0 cryptomgr.notests"


@dataclass(frozen=True, slots=True, kw_only=True)
class Nic:
    """An `<interface>`: `user` needs nothing, `network` a LabHost.define_network() of that name.

    `alias` is a user alias ("ua-..."); `address` ("192.168.122.5/24") is set by the guest at boot; `guest_name` is the
    name that the guest gives it at boot, instead of ethN.
    """

    type: Literal["user", "network"] = "user"
    network: str = "default"
    mac: str = ""
    model: str = "virtio"
    alias: str = ""
    address: str = ""
    guest_name: str = ""

    def xml(self) -> str:
        source = f"<source network={quoteattr(self.network)}/>" if self.type == "network" else ""
        mac = f"<mac address={quoteattr(self.mac)}/>" if self.mac else ""
        alias = f"<alias name={quoteattr(self.alias)}/>" if self.alias else ""
        # No boot ROM: it costs boot time, and a file that a bare machine may not have.
        return (
            f"<interface type={quoteattr(self.type)}>{source}{mac}<model type={quoteattr(self.model)}/>"
            f"<rom enabled='no'/>{alias}</interface>"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestDefinition:
    """A tiny guest. `memory` in MiB: under 88 it panics. `agent_options` are options of qemu-ga, `kernel_options` words
    for the kernel, e.g. "acpiphp.disable=1" for one that ignores every unplug."""

    name: str
    uuid: str
    nics: tuple[Nic, ...] = (Nic(),)
    memory: int = 96
    spare_ports: int = 8
    agent_channel: bool = True
    agent: AgentMode = "real"
    agent_options: tuple[str, ...] = ()
    kernel_options: tuple[str, ...] = ()
    dhcp: bool = False

    def kernel_words(self) -> str:
        words = [KERNEL_WORDS, *self.kernel_options, f"nicmap.ports={3 if self.agent_channel else 2}"]
        names = [nic.guest_name or f"eth{number}" for number, nic in enumerate(self.nics)]
        renames = [f"eth{number}:{name}" for number, name in enumerate(names) if name != f"eth{number}"]
        addresses = [f"{name}={nic.address}" for name, nic in zip(names, self.nics, strict=True) if nic.address]
        words += [f"nicmap.names={','.join(renames)}"] if renames else []
        words += [f"nicmap.address={','.join(addresses)}"] if addresses else []
        words += ["nicmap.dhcp"] if self.dhcp else []
        options = ",".join(option.replace(",", "+") for option in self.agent_options)
        words += [f"nicmap.qga={options}"] if options else []
        words += {"real": [], "fake": ["nicmap.fakeagent"], "none": ["nicmap.noagent"]}[self.agent]
        return " ".join(words)

    def xml(self, *, image: Image, folder: Path) -> str:
        """The domain XML; `folder` is the LabHost's, for sockets and the console's log."""
        ports = len(self.nics) + 1 + self.spare_ports
        return f"""
<domain type='qemu'>
  <name>{self.name}</name>
  <uuid>{self.uuid}</uuid>
  <memory unit='MiB'>{self.memory}</memory>
  <vcpu>1</vcpu>
  <os>
    <type arch='x86_64' machine='q35'>hvm</type>
    <kernel>{image.kernel}</kernel>
    <initrd>{image.initrd}</initrd>
    <cmdline>{self.kernel_words()}</cmdline>
  </os>
  <features><acpi/><tcg><tb-cache unit='MiB'>32</tb-cache></tcg></features>
  <on_poweroff>destroy</on_poweroff>
  <on_reboot>restart</on_reboot>
  <on_crash>destroy</on_crash>
  <devices>
    <controller type='usb' model='none'/>
    <controller type='pci' model='pcie-root'/>
    {"<controller type='pci' model='pcie-root-port'/>" * ports}
    <memballoon model='none'/>
    <serial type='file'><source path={quoteattr(str(folder / "log" / f"{self.name}.console"))} append='on'/></serial>
    {self._channels(folder)}
    {"".join(nic.xml() for nic in self.nics)}
  </devices>
</domain>"""

    def _channels(self, folder: Path) -> str:
        agent = f"<channel type='unix'><target type='virtio' name='{AGENT_CHANNEL}'/></channel>"
        own = ((SHELL_CHANNEL, shell_socket(folder, self.name)), (FAKE_AGENT_CHANNEL, fake_socket(folder, self.name)))
        return (agent if self.agent_channel else "") + "".join(
            f"<channel type='unix'><source mode='bind' path={quoteattr(str(path))}/>"
            f"<target type='virtio' name='{name}'/></channel>"
            for name, path in own
        )


def shell_socket(folder: Path, name: str) -> Path:
    """Where QEMU listens for the lab's shell of that guest."""
    return folder / "ch" / f"{name}.sh"


def fake_socket(folder: Path, name: str) -> Path:
    """Where QEMU listens for the host's fake agent of that guest."""
    return folder / "ch" / f"{name}.ga"


def lab_mac(guest: str, number: int) -> str:
    """The MAC of a guest's NIC: the same in each run, of QEMU's range, different for each name and number."""
    digest = hashlib.sha256(f"{guest}/{number}".encode()).digest()
    return f"52:54:00:{digest[0]:02x}:{digest[1]:02x}:{digest[2]:02x}"


def network_xml(name: str, *, bridge: str, subnet: str, dhcp: bool, forward: str) -> str:
    """A libvirt network; the host has the first address of `subnet`, DHCP gives those from the 100th on."""
    network = ipaddress.ip_network(subnet)
    leases = f"<dhcp><range start='{network[100]}' end='{network[-2]}'/></dhcp>" if dhcp else ""
    return f"""
<network>
  <name>{name}</name>
  {f"<forward mode='{forward}'/>" if forward else ""}
  <bridge name='{bridge}' stp='off' delay='0'/>
  <ip address='{network[1]}' prefix='{network.prefixlen}'>{leases}</ip>
</network>"""
