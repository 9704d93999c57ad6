"""A hypervisor without libvirt, fast enough that what is measured is nicmapd: XML and replies are made beforehand.

As a program (`python -m tests.bench.simulated GUESTS INTERVAL`) it is the daemon without API on that hypervisor, with
the real SQLite store: it starts cold, prints one JSON object of that, polls, and prints another of the steady state for
each line of its input, a number of seconds.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import secrets
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from nicmapd import agent, store
from nicmapd.board import Board
from nicmapd.clock import SystemClock
from nicmapd.config import Config, LogConfig, PollConfig
from nicmapd.keeper import Keeper
from nicmapd.logs import start_logging
from nicmapd.model import ConnectionStatus, Domain, DomainState, VmRef
from nicmapd.ports import DomainEvent, EventKind
from nicmapd.refresh import Refresher
from nicmapd.watch import Watcher
from tests.bench.ground import resident_mb

NICS = 2

#: Passes that wait in the steady state, at most.
LATE_PASSES = 20

_INFO = json.dumps(
    {
        "return": {
            "version": "7.2.22",
            "supported_commands": [
                {"name": name, "enabled": True}
                for name in (
                    "guest-info",
                    "guest-network-get-interfaces",
                    "guest-fsfreeze-status",
                    "guest-file-open",
                    "guest-file-read",
                    "guest-file-close",
                )
            ],
        }
    }
)
_NO_FILE = json.dumps(
    {"error": {"class": "GenericError", "desc": "failed to open file '/sys': No such file or directory"}}
)
_DONE = json.dumps({"return": {}})


_PORTS_XML = "".join(
    f"<controller type='pci' index='{index}' model='pcie-root-port'><model name='pcie-root-port'/>"
    f"<target chassis='{index}' port='0x{7 + index:x}'/><alias name='pci.{index}'/><address type='pci' "
    f"domain='0x0000' bus='0x00' slot='0x{index:02x}' function='0x0'/></controller>"
    for index in range(1, 9)
)
_NIC_XML = (
    "<interface type='network'><mac address='%s'/><source network='default' portid='%s' bridge='virbr0'/>"
    "<target dev='vnet%d'/><model type='virtio'/><alias name='net%d'/><address type='pci' domain='0x0000' "
    "bus='0x%02x' slot='0x00' function='0x0'/></interface>"
)
_DOMAIN_XML = (
    "<domain type='kvm' id='%d'><name>%s</name><uuid>%s</uuid><memory unit='KiB'>2097152</memory>"
    "<vcpu placement='static'>2</vcpu><os><type arch='x86_64' machine='pc-q35-7.2'>hvm</type></os><devices>"
    f"<controller type='pci' index='0' model='pcie-root'/>{_PORTS_XML}<disk type='file' device='disk'><driver "
    "name='qemu' type='qcow2'/><source file='/var/lib/libvirt/images/%s.qcow2' index='1'/><target dev='vda' "
    "bus='virtio'/><alias name='virtio-disk0'/></disk>%s<channel type='unix'><source mode='bind' "
    "path='/run/libvirt/qemu/channel/1/org.qemu.guest_agent.0'/><target type='virtio' name='org.qemu.guest_agent.0' "
    "state='connected'/><alias name='channel0'/></channel></devices></domain>"
)


def _mac(number: int, nic: int) -> str:
    return f"52:54:{nic:02x}:{number >> 16 & 255:02x}:{number >> 8 & 255:02x}:{number & 255:02x}"


def _xml(number: int, vm: VmRef) -> str:
    """What libvirt writes of a plain q35 guest, with the devices that nicmapd does not look at."""
    nics = "".join(
        _NIC_XML
        % (
            _mac(number, nic),
            uuid.UUID(int=number * NICS + nic),
            number * NICS + nic,
            nic,
            nic + 1,
        )
        for nic in range(NICS)
    )
    return _DOMAIN_XML % (number + 1, vm.name, vm.uuid, vm.name, nics)


def _reply(number: int) -> str:
    """A reply with `%d` in the place of each counter that moves."""
    entries = [
        {"name": "lo", "hardware-address": "00:00:00:00:00:00", "ip-addresses": _addresses("127.0.0.1", "::1")},
        *(
            {
                "name": f"eth{nic}",
                "hardware-address": _mac(number, nic),
                "ip-addresses": _addresses(f"10.{nic}.{number >> 8 & 255}.{number & 255}", f"fe80::{number:x}:{nic:x}"),
            }
            for nic in range(NICS)
        ),
    ]
    counters = ",".join(
        f'"{way}-{what}": {"%d" if what in ("bytes", "packets") else 0}'
        for way in ("rx", "tx")
        for what in ("bytes", "packets", "errs", "dropped")
    )
    listed = ", ".join(f'{json.dumps(entry)[:-1]}, "statistics": {{{counters}}}}}' for entry in entries)
    return f'{{"return": [{listed}]}}'


def _addresses(ipv4: str, ipv6: str) -> list[dict[str, object]]:
    return [
        {"ip-address-type": "ipv4", "ip-address": ipv4, "prefix": 24},
        {"ip-address-type": "ipv6", "ip-address": ipv6, "prefix": 64},
    ]


def _files() -> dict[str, str]:
    """What sysfs says of the NICs, the same in each guest: path -> reply to a read."""
    files: dict[str, str] = {}
    for nic in range(NICS):
        device = f"/sys/class/net/eth{nic}/device"
        files[f"{device}/../uevent"] = f"DRIVER=virtio-pci\nPCI_CLASS=20000\nPCI_SLOT_NAME=0000:0{nic + 1}:00.0\n"
        files[f"{device}/../../uevent"] = f"DRIVER=pcieport\nPCI_CLASS=60400\nPCI_SLOT_NAME=0000:00:0{nic + 1}.0\n"
    return {path: _read_reply(text) for path, text in files.items()}


def _read_reply(text: str) -> str:
    return json.dumps(
        {"return": {"count": len(text), "buf-b64": base64.b64encode(text.encode()).decode(), "eof": True}}
    )


class SimulatedHypervisor:
    """`guests` running guests that answer at once. Thread-safe as far as passes need it."""

    def __init__(self, guests: int, *, host: str = "simulated") -> None:
        self._host = host
        self._listed = [
            Domain(VmRef(str(uuid.UUID(int=number + 1)), f"guest{number:05d}"), DomainState.RUNNING, True)
            for number in range(guests)
        ]
        self._domains = {domain.vm.uuid: domain for domain in self._listed}
        self._numbers = {domain.vm.uuid: number for number, domain in enumerate(self._listed)}
        self._replies = {domain.vm.uuid: _reply(number) for number, domain in enumerate(self._listed)}
        self._counters = _reply(0).count("%d")
        self._contents = list(_files().items())
        self._handles = {path: json.dumps({"return": number}) for number, (path, _) in enumerate(self._contents)}
        self._asked = 0
        self._subscribers: list[Callable[[DomainEvent], None]] = []

    @property
    def host(self) -> str:
        return self._host

    def status(self) -> ConnectionStatus:
        return ConnectionStatus(True, None, "simulated", "9.0.0", "simulated:///")

    def subscribe(self, callback: Callable[[DomainEvent], None]) -> None:
        self._subscribers.append(callback)

    def connect(self) -> None:
        for callback in self._subscribers:
            callback(DomainEvent(EventKind.CONNECTED))

    def domains(self) -> Sequence[Domain]:
        return list(self._listed)

    def domain(self, uuid: str) -> Domain:
        return self._domains[uuid]

    def domain_xml(self, uuid: str) -> str:
        # Made anew each time, as by libvirt: what comes from there is in the caches, what nicmapd remembers may not be.
        return _xml(self._numbers[uuid], self._domains[uuid].vm)

    def config_xml(self, uuid: str) -> str:
        return self.domain_xml(uuid)

    def rx_filter(self, uuid: str) -> Mapping[str, str]:  # noqa: ARG002  as the port says
        return {}

    def agent_command(self, uuid: str, command: str, *, timeout: int) -> str:  # noqa: ARG002  it answers at once
        if command == agent.INTERFACES_REQUEST:
            self._asked += 1
            return self._replies[uuid] % ((self._asked,) * self._counters)
        if command == agent.INFO_REQUEST:
            return _INFO
        request = json.loads(command)
        arguments = request.get("arguments", {})
        if request["execute"] == "guest-file-open":
            return self._handles.get(arguments["path"], _NO_FILE)
        if request["execute"] == "guest-file-read":
            return str(self._contents[arguments["handle"]][1])
        return _DONE


def _resident() -> float:
    return resident_mb(os.getpid())


class Run:
    """The daemon's machinery on a simulated hypervisor."""

    def __init__(self, guests: int, interval: float, folder: Path) -> None:
        start_logging(LogConfig(level="info"))
        self._clock = SystemClock()
        self._guests = guests
        self._hypervisor = SimulatedHypervisor(guests)
        self._memory_before = _resident()
        self._board = Board(self._clock)
        self._store = store.open_store(f"sqlite:///{folder / 'map.db'}", host="simulated", clock=self._clock)
        self._keeper = Keeper(self._store, self._board, clock=self._clock)
        config = Config(poll=PollConfig(interval=interval, resync=3600))
        refresher = Refresher(
            self._hypervisor,
            self._keeper,
            self._board,
            clock=self._clock,
            settings=config.agent,
            new_id=lambda: secrets.token_hex(8),
            xml_seconds=0,  # as with any usual interval, also where few guests are polled often
        )
        self._watcher = Watcher(
            self._hypervisor, refresher, self._keeper, self._board, clock=self._clock, config=config
        )

    async def measure(self, seconds: float) -> dict[str, float]:
        """The steady state, once the passes that are late have been made up for."""
        await asyncio.sleep(0.2)
        while self._watcher.status().queue > LATE_PASSES:
            await asyncio.sleep(0.05)
        found = await self._steady(seconds)
        found |= await self._rounds(found["pass_cpu"])
        return found | {"memory_mb": _resident() - self._memory_before}

    async def stop(self) -> None:
        await self._watcher.stop()
        self._store.close()

    async def start(self) -> dict[str, float]:
        self._watcher.start()
        cpu, started = time.process_time(), time.perf_counter()
        self._hypervisor.connect()
        while self._watcher.status().passes < self._guests:
            await asyncio.sleep(0.01)
        found = {"cold_seconds": time.perf_counter() - started, "cold_cpu": time.process_time() - cpu}
        named = sum(1 for entry in self._board.entries() for nic in entry.nics if nic.naming.name is not None)
        if named != self._guests * NICS:
            raise RuntimeError(f"{named} of {self._guests * NICS} NICs are named after the first passes")
        return found

    async def _steady(self, seconds: float) -> dict[str, float]:
        """CPU per pass while every guest is polled in its turn."""
        passes, cpu, started = self._watcher.status().passes, time.process_time(), time.perf_counter()
        await asyncio.sleep(seconds)
        made = self._watcher.status().passes - passes
        spent, took = time.process_time() - cpu, time.perf_counter() - started
        return {"pass_cpu": spent / made, "passes_per_second": made / took, "cpu_share": spent / took}

    async def _rounds(self, pass_cpu: float) -> dict[str, float]:
        """CPU of what is done once a minute for all: a full comparison, and writing when each guest was seen. Passes go
        on meanwhile; what they cost is taken off."""
        loop = asyncio.get_running_loop()
        cpu, passes, tasks = time.process_time(), self._watcher.status().passes, asyncio.all_tasks()
        self._watcher.resync()
        await asyncio.gather(*(asyncio.all_tasks() - tasks))
        await loop.run_in_executor(None, self._keeper.flush_seen)
        spent, made = time.process_time() - cpu, self._watcher.status().passes - passes
        return {"minute_cpu": max(0.0, spent - made * pass_cpu)}


async def _main(guests: int, interval: float) -> None:
    loop = asyncio.get_running_loop()
    with tempfile.TemporaryDirectory() as folder:
        run = Run(guests, interval, Path(folder))
        print(json.dumps(await run.start()), flush=True)
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            print(json.dumps(await run.measure(float(line))), flush=True)
        await run.stop()


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1]), float(sys.argv[2])))
