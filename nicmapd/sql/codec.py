"""The model's values as rows, and back: `decode(encode(x)) == x` for all that a row keeps (nicmapd.bounds).

Keys that this program does not know are ignored on reading, missing ones take the model's default. What cannot be read
is `Undecodable`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Row

from nicmapd.bounds import kept
from nicmapd.model import (
    AgentState,
    AgentStatus,
    Change,
    ChangeKind,
    DomainState,
    FeedItem,
    HostNic,
    NameSource,
    Naming,
    NicAddress,
    NicEntry,
    PastNic,
    StackKind,
    StackLayer,
    Verdict,
    VmEntry,
    VmRef,
)
from nicmapd.schema import decoding

_HOST_NIC_FIELDS = {field.name: field.default for field in dataclasses.fields(HostNic)}

#: What is told of a time for which the changes were too many to keep (docs/store.md, "Bounds").
UNKEPT = Naming(
    verdict=Verdict.AMBIGUOUS,
    reason="this NIC changed too often then; which name it had at that moment was not kept",
)


def vm_values(entry: VmEntry) -> dict[str, Any]:
    """The columns of `vms` but for its keys."""
    return {
        "name": entry.vm.name,
        "state": entry.state.value,
        "persistent": entry.persistent,
        "agent_state": entry.agent.state.value,
        "agent_since": entry.agent.since,
        "agent_message": entry.agent.message,
        "agent_version": entry.agent.version,
        "removed_at": None,
    }


def nic_values(nic: NicEntry, position: int) -> dict[str, Any]:
    """The columns of `nics` but for its keys."""
    return {
        "position": position,
        "attached_at": nic.attached_at,
        "name_since": nic.name_since,
        "seen_at": nic.seen_at,
        "detached_at": None,
    }


def span_values(nic: HostNic, naming: Naming) -> dict[str, Any]:
    """The columns of `spans` that say what was known, as far as that is kept."""
    naming = kept(naming)
    return {
        "mac": nic.mac,
        "host_nic": _host_nic_json(nic),
        "verdict": naming.verdict.value,
        "name": naming.name,
        "name_source": None if naming.source is None else naming.source.value,
        "guest_mac": naming.guest_mac,
        "reason": naming.reason,
        "reachable": naming.reachable,
        "evidence": list(naming.evidence),
        "candidates": list(naming.candidates),
        "addresses": [
            {"interface": item.interface, "family": item.family, "ip": item.ip, "prefix": item.prefix}
            for item in naming.addresses
        ],
        "stack": [{"name": item.name, "kind": item.kind.value, "mac": item.mac} for item in naming.stack],
    }


def change_values(change: Change) -> dict[str, Any]:
    """The columns of `changes` that say what became different."""
    return {
        "kind": change.kind.value,
        "sentence": change.sentence,
        "nic_id": change.nic_id,
        "mac": change.mac,
        "alias": change.alias,
        "old": change.old,
        "new": change.new,
        "details": dict(change.details),
    }


def _host_nic_json(nic: HostNic) -> dict[str, Any]:
    values = {name: getattr(nic, name) for name in _HOST_NIC_FIELDS}
    return {name: value for name, value in values.items() if value != _HOST_NIC_FIELDS[name]}


@decoding
def host_nic(values: Mapping[str, Any]) -> HostNic:
    """A HostNic from its JSON object."""
    known = {name: value for name, value in values.items() if name in _HOST_NIC_FIELDS}
    if "slots" in known:
        known["slots"] = tuple((slot, function) for slot, function in known["slots"])
    return HostNic(**known)


@decoding
def naming(row: Row[Any]) -> Naming:
    """The Naming of a row of `spans`."""
    return Naming(
        verdict=Verdict(row.verdict),
        name=row.name,
        source=None if row.name_source is None else NameSource(row.name_source),
        reason=row.reason,
        evidence=_texts(row.evidence),
        candidates=_texts(row.candidates),
        guest_mac=row.guest_mac,
        addresses=tuple(
            NicAddress(item["interface"], item["family"], item["ip"], item["prefix"]) for item in row.addresses
        ),
        stack=tuple(StackLayer(item["name"], StackKind(item["kind"]), item["mac"]) for item in row.stack),
        reachable=row.reachable,
    )


def _texts(values: list[str]) -> tuple[str, ...]:
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise TypeError("not a list of texts")
    return tuple(values)


def nic_entry(nic: Row[Any], span: Row[Any]) -> NicEntry:
    """A NIC of the map from its row of `nics` and its open row of `spans`."""
    return NicEntry(
        id=nic.id,
        nic=host_nic(span.host_nic),
        naming=naming(span),
        attached_at=nic.attached_at,
        name_since=nic.name_since,
        seen_at=nic.seen_at,
    )


@decoding
def vm_entry(row: Row[Any], nics: Iterable[NicEntry]) -> VmEntry:
    """A VM of the map from its row of `vms`."""
    return VmEntry(
        vm=VmRef(row.uuid, row.name),
        host=row.host,
        state=DomainState(row.state),
        persistent=row.persistent,
        agent=AgentStatus(
            state=AgentState(row.agent_state),
            since=row.agent_since,
            message=row.agent_message,
            version=row.agent_version,
        ),
        nics=tuple(nics),
    )


def past_nics(row: Row[Any], *, vm_name: str) -> list[PastNic]:
    """What a row of `spans` says, newest first: two entries where its beginning was not kept."""
    vm, nic = VmRef(row.vm_uuid, vm_name), host_nic(row.host_nic)

    def past(what: Naming, since: datetime, until: datetime | None) -> PastNic:
        return PastNic(vm=vm, nic_id=row.nic_id, nic=nic, naming=what, since=since, until=until)

    if row.exact_at is None:
        return [past(naming(row), row.from_at, row.to_at)]
    return [past(naming(row), row.exact_at, row.to_at), past(UNKEPT, row.from_at, row.exact_at)]


@decoding
def feed_item(row: Row[Any]) -> FeedItem:
    """A FeedItem from its row of `changes`."""
    return FeedItem(
        id=row.id,
        at=row.at,
        host=row.host,
        vm=VmRef(row.vm_uuid, row.vm_name),
        change=Change(
            kind=ChangeKind(row.kind),
            sentence=row.sentence,
            nic_id=row.nic_id,
            mac=row.mac,
            alias=row.alias,
            old=row.old,
            new=row.new,
            details=row.details,
        ),
    )
