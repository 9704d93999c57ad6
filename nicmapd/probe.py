"""Which device bears a name in the guest: asked of its sysfs, through the agent's file commands.

The path of PCI slots from bus 0 to the device is the same in the guest and in the domain XML, whatever bus numbers
the guest's firmware gave; a MAC can be changed, this cannot. Source: Linux, Documentation/ABI/testing/sysfs-class-net
and the uevent files of drivers/pci.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from nicmapd.agent import is_no_such_file, result_of
from nicmapd.errors import AgentFailure
from nicmapd.model import AgentState, Probe, StackKind
from nicmapd.text import clean, normal_mac

#: Bytes read of a file: a PCI device's uevent has some 200.
MAX_BYTES = 4096
#: Most bridges looked at above a device.
MAX_LEVELS = 4

_PCI_ADDRESS = re.compile(r"([0-9a-f]{4,8}):([0-9a-f]{2}):([01][0-9a-f])\.([0-7])")
#: Linux' own rule (dev_valid_name in net/core/dev.c), and no control characters: the name becomes part of a path.
_NAME = re.compile(r"[^/:\s\x00-\x1f\x7f]+")
_MAX_NAME_BYTES = 15

#: DEVTYPE in /sys/class/net/NAME/uevent. Plain devices and dummies have none.
_KINDS = {
    "bond": StackKind.BOND,
    "vlan": StackKind.VLAN,
    "bridge": StackKind.BRIDGE,
    "macvlan": StackKind.MACVLAN,
    "macvtap": StackKind.MACVLAN,
}

Ask = Callable[[str], str]


def probe_interface(ask: Ask, name: str, *, contested: bool = False) -> Probe:
    """What the guest's sysfs says of the interface `name`.

    `ask` sends one agent command (JSON text) and gives the raw reply, or raises `AgentFailure`. A virtio NIC on bus 0
    costs 3 calls, one behind a root port 6, a NIC of another kind 6, an interface of software 4. `contested`: another
    interface has the same device, so that it is also asked whom it is enslaved to (1 or 3 calls). What cannot be read
    stays unknown; that the agent may not read files at all, or does not answer, goes up as `AgentFailure`. Files are
    closed again in each case.
    """
    if not _NAME.fullmatch(name) or name in (".", "..") or len(name.encode("utf-8", "replace")) > _MAX_NAME_BYTES:
        return Probe()
    try:
        files = _Files(ask)
        found = _probe(files, f"/sys/class/net/{name}")
        return replace(found, master=_master(files, f"/sys/class/net/{name}")) if contested else found
    except _Unreadable:
        return Probe()


def closes(command: str) -> bool:
    """Whether a command of this module closes a file: that is owed, whatever hurry there is."""
    return command.startswith('{"execute": "guest-file-close"')


def read_file(ask: Ask, path: str) -> str | None:
    """The first `MAX_BYTES` of a text file in the guest; None if it cannot be read. Raises `AgentFailure`."""
    try:
        return _Files(ask).read(path)
    except _Unreadable:
        return None


class _Unreadable(Exception):
    """The guest did not let a file be read: nothing follows from that."""


@dataclass(frozen=True, slots=True)
class _PciAddress:
    text: str
    on_root: bool
    slot: tuple[int, int]


@dataclass(frozen=True, slots=True)
class _Uevent:
    """What a uevent file in sysfs says, as far as it is used here."""

    driver: str
    kind: str
    pci_class: str
    pci: _PciAddress | None
    interface: str

    @property
    def bridge(self) -> bool:
        """A bridge between PCI buses: class 06, "60400" without leading zeros."""
        return self.driver == "pcieport" or (len(self.pci_class) == 5 and self.pci_class.startswith("6"))


def _probe(files: _Files, interface: str) -> Probe:
    # One file tells most: above a virtio device is its PCI function. Above a PCI device is a bridge, or nothing.
    function = f"{interface}/device/.."
    above = files.uevent(function)
    if above is None:
        return _software(files, interface)
    if above.pci is None or above.bridge:
        function = f"{interface}/device"
    own = files.uevent(function)
    if own is None or own.pci is None:
        return Probe(device=True, permanent_mac=_permanent_mac(files, interface))
    slots = _slots(files, function, own.pci)
    permanent_mac = None if slots else _permanent_mac(files, interface)
    return Probe(device=True, pci=own.pci.text, slots=slots, permanent_mac=permanent_mac)


def _software(files: _Files, interface: str) -> Probe:
    """An interface without a device, if it is there at all: a guest without sysfs has none of these files."""
    uevent = files.uevent(interface)
    if uevent is None:
        return Probe()
    return Probe(device=False, kind=_KINDS.get(uevent.kind, StackKind.OTHER) if uevent.kind else None)


def _slots(files: _Files, path: str, own: _PciAddress) -> tuple[tuple[int, int], ...]:
    """The way from bus 0 to a device. Empty if it does not lead there: slots behind another root repeat themselves."""
    address, slots = own, [own.slot]
    while not address.on_root:
        if len(slots) > MAX_LEVELS:
            return ()
        path += "/.."
        try:
            above = files.uevent(path)
        except _Unreadable:
            return ()
        if above is None or above.pci is None:
            return ()
        address = above.pci
        slots.append(address.slot)
    return tuple(reversed(slots))


def _permanent_mac(files: _Files, interface: str) -> str | None:
    """The MAC of a bond's member before the bond took it over."""
    try:
        return normal_mac((files.read(f"{interface}/bonding_slave/perm_hwaddr") or "").strip())
    except _Unreadable:
        return None


def _master(files: _Files, interface: str) -> str:
    """The interface that this one is enslaved to, "" if to none."""
    uevent = files.uevent(f"{interface}/master")
    return uevent.interface if uevent is not None else ""


class _Files:
    """The guest's files, each read once."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._uevents: dict[str, _Uevent | None] = {}

    def uevent(self, folder: str) -> _Uevent | None:
        """The uevent file of a folder in sysfs; None if there is none. Raises `_Unreadable`, `AgentFailure`."""
        if folder not in self._uevents:
            text = self.read(f"{folder}/uevent")
            self._uevents[folder] = None if text is None else _parse_uevent(text)
        return self._uevents[folder]

    def read(self, path: str) -> str | None:
        """The beginning of a file; None if there is no such file. Raises `_Unreadable`, `AgentFailure`."""
        try:
            handle = self._call("guest-file-open", path=path, mode="r")
        except AgentFailure as error:
            if is_no_such_file(error):
                return None
            raise _passable(error) from None
        if type(handle) is not int:
            raise _Unreadable
        try:
            answer = self._call("guest-file-read", handle=handle, count=MAX_BYTES)
        except AgentFailure as error:
            raise _passable(error) from None
        finally:
            self._close(handle)
        return _content(answer)

    def _close(self, handle: int) -> None:
        try:
            self._call("guest-file-close", handle=handle)
        except AgentFailure as error:
            if error.state == AgentState.UNRESPONSIVE:
                raise

    def _call(self, command: str, **arguments: object) -> object:
        return result_of(self._ask(json.dumps({"execute": command, "arguments": arguments})))


def _passable(error: AgentFailure) -> Exception:
    """`error`, if it is about the agent; else `_Unreadable`, for it is about this one file."""
    return _Unreadable() if error.state == AgentState.BAD_REPLY else error


def _content(answer: object) -> str:
    text = answer.get("buf-b64", "") if isinstance(answer, dict) else None
    if not isinstance(text, str):
        raise _Unreadable
    try:
        # Four characters for three bytes: an agent that sends more than was asked is cut off.
        data = base64.b64decode(text[: (MAX_BYTES + 2) // 3 * 4])
    except (binascii.Error, ValueError):
        raise _Unreadable from None
    return data.decode("utf-8", "replace")


def _parse_uevent(text: str) -> _Uevent:
    values: dict[str, str] = {}
    for line in text.splitlines():
        key, equals, value = line.partition("=")
        if equals:
            values.setdefault(key, value)
    return _Uevent(
        driver=values.get("DRIVER", ""),
        kind=values.get("DEVTYPE", ""),
        pci_class=values.get("PCI_CLASS", ""),
        pci=_parse_pci(values.get("PCI_SLOT_NAME", "")),
        interface=clean(values.get("INTERFACE", "")),
    )


def _parse_pci(text: str) -> _PciAddress | None:
    match = _PCI_ADDRESS.fullmatch(text)
    if match is None:
        return None
    domain, bus, slot, function = (int(digits, 16) for digits in match.groups())
    return _PciAddress(text, domain == 0 and bus == 0, (slot, function))
