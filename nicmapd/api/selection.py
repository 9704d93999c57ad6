"""Finds what a reader means: `{vm}`, `{nic}`, the filters, the place in a list.

`{nic}` is read in this order: a MAC, `alias:...`, `dev:...`, else a guest name. The form decides, not what there is:
a guest that calls its NIC `52:54:00:00:00:01` or `alias:net0` cannot make that mean itself.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

from nicmapd.api import query
from nicmapd.board import Board
from nicmapd.errors import Ambiguous, Invalid, NotFound
from nicmapd.model import HostNic, NameState, Naming, NicEntry, Verdict, VmEntry
from nicmapd.text import clean

T = TypeVar("T")

#: Some milliseconds of work.
_BREATH = 250


def find_vm(board: Board, name_or_uuid: str) -> VmEntry:
    """The VM of that UUID or name; the name may be given as it is shown, escaped.

    Raises `NotFound`, `Ambiguous`.
    """
    try:
        return board.find(name_or_uuid)
    except NotFound:
        if "\\" not in name_or_uuid:
            raise
        found = [entry for entry in board.entries() if clean(entry.vm.name) == name_or_uuid]
        if not found:
            raise
        if len(found) > 1:
            raise Ambiguous(
                f'{len(found)} VMs are shown as "{clean(name_or_uuid)}"; give the UUID',
                candidates=[entry.vm.uuid for entry in found],
            ) from None
        return found[0]


def selector(nic: HostNic, naming: Naming, nics: Sequence[NicEntry]) -> str:
    """The shortest `{nic}` that means this NIC and no other of the VM."""
    if sum(1 for entry in nics if entry.nic.mac == nic.mac) == 1:
        return nic.mac
    if nic.alias is not None:
        return f"alias:{nic.alias}"
    if nic.target is not None:
        return f"dev:{nic.target}"
    return naming.name or nic.mac


def is_name(text: str) -> bool:
    """Whether `{nic}` is a guest's name, and not something that libvirt knows a NIC by."""
    return not query.looks_like_mac(text) and not text.startswith(("alias:", "dev:"))


def find_nic(entry: VmEntry, text: str) -> NicEntry:
    """The NIC of `entry` that `text` means. Raises `NotFound` (with `vm_uuid`: the VM is there), or `Ambiguous` with
    the `candidates`.

    A certain name means the NIC that bears it, also where another NIC of the VM lists it among its candidates:
    certain is certain. A name that is only a candidate, of one NIC or of several, is ambiguous; then it may be a NIC
    that the guest does not show, too (members of a bond share one NIC's MAC, and the other's is nowhere).
    """
    if query.looks_like_mac(text):
        return _by_mac(entry, query.mac(text))
    kind, separator, value = text.partition(":")
    if separator and kind == "alias":
        return _only(entry, [one for one in entry.all_nics if one.nic.alias == value], text)
    if separator and kind == "dev":
        return _only(entry, [one for one in entry.all_nics if one.nic.target == value], text)
    name = clean(text)
    bearers = [one for one in entry.all_nics if one.naming.name == name]
    if bearers:
        return _only(entry, bearers, name)
    maybe = [one for one in entry.all_nics if name in one.naming.candidates]
    if maybe:
        maybe += [one for one in entry.nics if one.naming.verdict is Verdict.UNSEEN and one not in maybe]
        _ambiguous(
            entry,
            maybe,
            f'"{name}" may be {_count(maybe)} of {_vm(entry)}, but that is not certain: {maybe[0].naming.reason}; '
            "give a MAC, alias:... or dev:...",
        )
    raise NotFound(f'{_vm(entry)} has no NIC named "{name}"; {_what_there_is(entry)}', vm_uuid=entry.vm.uuid)


def _by_mac(entry: VmEntry, mac: str) -> NicEntry:
    found = [one for one in entry.all_nics if one.nic.mac == mac]
    if not found:
        users = [one for one in entry.all_nics if one.naming.guest_mac == mac]
        if users:
            used = selector(users[0].nic, users[0].naming, entry.all_nics)
            raise NotFound(
                f"{_vm(entry)} has no NIC with the MAC {mac} in its domain XML; its guest uses it on {used}",
                vm_uuid=entry.vm.uuid,
                nic=used,
            )
    return _only(entry, found, mac)


def _only(entry: VmEntry, found: Sequence[NicEntry], text: str) -> NicEntry:
    if not found:
        _deny(entry, clean(text))
    if len(found) > 1:
        many = f"{len(found)} NICs of {_vm(entry)} are {clean(text)}"
        clear = _clear(entry, found)
        advice = "give alias:..., dev:... or a name" if clear else "give each a MAC of its own first (virsh edit)"
        _ambiguous(entry, found, f"{many}; {advice}")
    return found[0]


def _deny(entry: VmEntry, text: str) -> NoReturn:
    """There is no such MAC, alias or device; a guest may call one of its NICs so, and that is said."""
    bearers = [one for one in entry.all_nics if one.naming.name == text]
    if bearers:
        used = selector(bearers[0].nic, bearers[0].naming, entry.all_nics)
        raise NotFound(
            f"{_vm(entry)} has no NIC {text}; its guest calls {used} so, but a name of this form is not taken for one",
            vm_uuid=entry.vm.uuid,
            nic=used,
        )
    raise NotFound(f"{_vm(entry)} has no NIC {text}; {_what_there_is(entry)}", vm_uuid=entry.vm.uuid)


def _ambiguous(entry: VmEntry, found: Sequence[NicEntry], message: str) -> NoReturn:
    raise Ambiguous(message, candidates=_clear(entry, found))


def _clear(entry: VmEntry, found: Sequence[NicEntry]) -> list[str]:
    """What means one of `found` and no other, for each that has such a word: of equal MACs in a VM that is off none."""
    shared = {mac for mac, count in Counter(one.nic.mac for one in entry.all_nics).items() if count > 1}
    words = [selector(one.nic, one.naming, entry.all_nics) for one in found]
    return [word for word in words if word not in shared and words.count(word) == 1]


def _count(found: Sequence[NicEntry]) -> str:
    return "a NIC" if len(found) == 1 else f"any of {len(found)} NICs"


def _vm(entry: VmEntry) -> str:
    return clean(entry.vm.name)


def _what_there_is(entry: VmEntry) -> str:
    """The names or MACs of its NICs, for the text of an error."""
    shown = [one.naming.name or one.nic.mac for one in entry.all_nics[:6]]
    if not shown:
        return "it has no NICs at all"
    return f"it has {', '.join(shown)}{', ...' if len(entry.all_nics) > len(shown) else ''}"


# -- filters of lists of NICs


@dataclass(frozen=True, slots=True)
class Filter:
    """A query key, and whether a NIC as the host and as the guest show it fits the value."""

    key: query.Key
    fits: Callable[[HostNic, Naming, Any], bool]


_MAC_SCHEMA = {"type": "string", "pattern": "^[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}$|^[0-9A-Fa-f]{2}(-[0-9A-Fa-f]{2}){5}$"}
_IP_SCHEMA = {"type": "string", "anyOf": [{"format": "ipv4"}, {"format": "ipv6"}]}

_FILTERS = (
    Filter(
        query.Key("type", "libvirt's type of the NIC", query.text, example="network"),
        lambda nic, _naming, value: nic.type == value,
    ),
    Filter(
        query.Key("network", "name of the libvirt network", query.text, example="default"),
        lambda nic, _naming, value: nic.network == value,
    ),
    Filter(
        query.Key("source", "what the NIC is connected to: bridge, host device, address", query.text, example="br0"),
        lambda nic, _naming, value: nic.source == value,
    ),
    Filter(
        query.Key("mac", "MAC of the domain XML, any case, ':' or '-'", query.mac, _MAC_SCHEMA, "52:54:00:3f:2e:b8"),
        lambda nic, _naming, value: nic.mac == value,
    ),
    Filter(
        query.Key("guest_mac", "MAC that the guest uses instead of that of the XML", query.mac, _MAC_SCHEMA),
        lambda _nic, naming, value: naming.guest_mac == value,
    ),
    Filter(
        query.Key("name", "guest name, where it is certain", query.text, example="eth0"),
        lambda _nic, naming, value: naming.name == value,
    ),
    Filter(
        query.Key("target", "host side device", query.text, example="vnet1"),
        lambda nic, _naming, value: nic.target == value,
    ),
)

_IP = Filter(
    query.Key("ip", "address of the NIC or of what stands on it", query.ip, _IP_SCHEMA, "192.168.122.10"),
    lambda _nic, naming, value: any(address.ip == value for address in naming.addresses),
)

#: Of a name's state: it follows from ages too, so it is looked at apart.
_STATE = query.Key(
    "state",
    "name_state",
    query.one_of(NameState),
    {"type": "string", "enum": [state.value for state in NameState]},
    "fresh",
)

_FITS = {one.key.name: one.fits for one in (*_FILTERS, _IP)}

#: Keys that filter the NICs of one VM, and of all VMs.
OF_VM = (*(one.key for one in _FILTERS), _STATE)
OF_ALL = (*OF_VM, _IP.key)

AT = query.Key(
    "at",
    "the map as it was at this moment (RFC 3339); a moment to come is answered with what is known now",
    query.when,
    {"type": "string", "format": "date-time"},
    "2026-11-24T19:10:00Z",
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """The filters of one request."""

    state: NameState | None
    _active: tuple[tuple[Callable[[HostNic, Naming, Any], bool], Any], ...]

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Wanted:
        """Those that are given in `values` of a query."""
        active = ((_FITS[name], value) for name, value in values.items() if name in _FITS and value is not None)
        return cls(values["state"], tuple(active))

    def fits(self, nic: HostNic, naming: Naming) -> bool:
        """Whether all filters hold, the state aside."""
        return all(fits(nic, naming, value) for fits, value in self._active)


async def unhurried(found: Iterable[T]) -> AsyncIterator[T]:
    """`found`, with a pause for others in the loop now and then: a search over 10,000 VMs takes a tenth of a second."""
    for number, one in enumerate(found, start=1):
        yield one
        if number % _BREATH == 0:
            await asyncio.sleep(0)


# -- pages

LIMIT = query.Key(
    "limit",
    "at most this many items",
    query.number(1, 1000),
    {"type": "integer", "minimum": 1, "maximum": 1000},
    default=100,
)


def _cursor(text: str) -> list[str]:
    try:
        found = json.loads(base64.b64decode(text, altchars=b"-_", validate=True))
    except (ValueError, binascii.Error, RecursionError):
        found = None
    if not isinstance(found, list) or len(found) not in (2, 3) or not all(isinstance(one, str) for one in found):
        raise ValueError("the `next` of an earlier answer")
    return found


CURSOR = query.Key("cursor", "`next` of the page before", _cursor)


def make_cursor(*place: str) -> str:
    """The place after which the next page begins, opaque to the client."""
    return base64.urlsafe_b64encode(json.dumps(place).encode("ascii")).decode("ascii")


def check_cursor(place: list[str] | None, length: int) -> None:
    """Raises `Invalid` if the cursor is one of another list."""
    if place is not None and len(place) != length:
        raise Invalid("cursor: must be the `next` of an earlier answer of this list", key="cursor")


def after_vm(entries: Sequence[VmEntry], place: Sequence[str] | None) -> Iterator[VmEntry]:
    """The VMs that come after `place` (name, UUID), in their order."""
    for entry in entries:
        if place is None or (entry.vm.name, entry.vm.uuid) > (place[0], place[1]):
            yield entry
