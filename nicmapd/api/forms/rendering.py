"""The model as JSON: the documents of docs/rest.md, as plain dicts, made once per request.

Built by hand and not through pydantic: these are the hot paths, and `documents.py` (the same shapes as models, for
OpenAPI) is held against them by a test. Times are RFC 3339 UTC with milliseconds, ages are seconds.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import fields
from datetime import UTC, datetime

from starlette.responses import Response

from nicmapd.board import Sight
from nicmapd.model import (
    AgentState,
    Change,
    FeedItem,
    HostNic,
    NameState,
    Naming,
    NicEntry,
    Outcome,
    PastNic,
    Statistics,
    Verdict,
)
from nicmapd.pending import pending
from nicmapd.ports import Network
from nicmapd.status import DaemonStatus

Json = dict[str, object]

#: Members of a NIC that move with every poll: they are in the document, not in its ETag.
VOLATILE = frozenset({"seen_at", "age", "statistics"})


#: Made once: json.dumps makes a new one for every call with other than its own defaults.
_ENCODER = json.JSONEncoder(separators=(",", ":"), allow_nan=False)

_COUNTERS = tuple(one.name for one in fields(Statistics))

#: VMs named in the status for changing too often: the noisiest.
MAX_NOISY = 10


def encode(content: object) -> bytes:
    """JSON in ASCII: whatever a name holds, `curl` on a terminal shows it escaped."""
    return _ENCODER.encode(content).replace("\x7f", "\\u007f").encode("ascii")


def reply(content: object, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(encode(content), status_code=status, media_type="application/json", headers=headers)


def moment(value: datetime | None) -> str | None:
    """RFC 3339, UTC, milliseconds."""
    if value is None:
        return None
    if value.tzinfo is not UTC:
        value = value.astimezone(UTC)
    return value.isoformat(timespec="milliseconds")[:-6] + "Z"


def seconds(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


#: What ends by an event or another configuration: there is no moment at which such a guest is asked next.
_NOT_ASKED = (AgentState.OFF, AgentState.PAUSED, AgentState.OPTED_OUT, AgentState.NO_CHANNEL, AgentState.NOT_CONNECTED)


def vm(sight: Sight) -> Json:
    """A VM."""
    entry = sight.entry
    return {
        "name": entry.vm.name,
        "uuid": entry.vm.uuid,
        "host": entry.host,
        "state": entry.state.value,
        "persistent": entry.persistent,
        "agent": {
            "state": entry.agent.state.value,
            "since": moment(entry.agent.since),
            "message": entry.agent.message,
            "last_success": moment(sight.last_success),
            "last_attempt": moment(sight.last_attempt),
            "next_attempt": None if entry.agent.state in _NOT_ASKED else moment(sight.next_attempt),
            "version": entry.agent.version,
        },
        "freshness": sight.freshness.value,
        "age": seconds(sight.age),
        "nic_count": len(entry.nics),
    }


def nic(sight: Sight, entry: NicEntry, *, now: datetime) -> Json:
    """A NIC as it is known now. `age` counts from when the guest last showed it."""
    seen_at = sight.seen_at(entry)
    age = None if seen_at is None else max(0.0, (now - seen_at).total_seconds())
    if entry.naming.present and sight.age is not None:
        age = sight.age
    return {
        "vm": sight.entry.vm.name,
        "vm_uuid": sight.entry.vm.uuid,
        "host": sight.entry.host,
        "id": entry.id or None,
        **_host_side(entry.nic),
        **_guest_side(entry.naming, sight.name_state(entry)),
        "reason": _reason(sight, entry),
        "name_since": moment(entry.name_since),
        "seen_at": moment(seen_at),
        "age": seconds(age),
        "agent_state": sight.entry.agent.state.value,
        "statistics": _counters(entry.statistics),
        "pending": _pending(sight, entry),
    }


def _pending(sight: Sight, entry: NicEntry) -> Json | None:
    """What the VM's next boot changes of a NIC."""
    found = pending(sight.entry, entry)
    return None if found is None else {"kind": found.kind.value, "differs": dict(found.differs)}


def _reason(sight: Sight, entry: NicEntry) -> str:
    """Why the name is what it is; where the guest was never asked, why not."""
    agent, naming = sight.entry.agent, entry.naming
    if sight.entry.state.alive and entry in (sight.entry.coming or ()):
        return "it comes with the next boot: only the VM's configuration has it"
    if naming.verdict is not Verdict.NEVER or agent.state in (AgentState.OK, AgentState.UNKNOWN):
        return naming.reason
    return f"nothing is known yet: {agent.message}"


def past_nic(past: PastNic, *, host: str | None) -> Json:
    """A NIC as it was known at some moment: the same members, and from when to when that was known."""
    return {
        "vm": past.vm.name,
        "vm_uuid": past.vm.uuid,
        "host": host,
        "id": past.nic_id,
        **_host_side(past.nic),
        **_guest_side(past.naming, past_state(past)),
        "name_since": None,
        "seen_at": None,
        "age": None,
        "agent_state": None,
        "statistics": None,
        "pending": None,
        "from": moment(past.since),
        "to": moment(past.until),
    }


def history_item(past: PastNic) -> Json:
    """One stretch of time in which the same was known of a NIC."""
    naming = past.naming
    return {
        "name": naming.name,
        "mac": past.nic.mac,
        "from": moment(past.since),
        "to": moment(past.until),
        "vm": past.vm.name,
        "vm_uuid": past.vm.uuid,
        "id": past.nic_id,
        "alias": past.nic.alias,
        "type": past.nic.type,
        "network": past.nic.network,
        "source": past.nic.source,
        "target": past.nic.target,
        "link": past.nic.link,
        "name_source": naming.source.value if naming.source else None,
        "name_state": past_state(past).value,
        "candidates": list(naming.candidates),
        "guest_mac": naming.guest_mac,
        "addresses": _addresses(naming),
        "reason": naming.reason,
    }


def past_state(past: PastNic) -> NameState:
    """How fresh a name was in the past is not kept: a name of then is `last_known`."""
    if past.naming.verdict is Verdict.NAMED:
        return NameState.LAST_KNOWN
    return NameState(past.naming.verdict.value)


def _host_side(nic: HostNic) -> Json:
    return {
        "mac": nic.mac,
        "alias": nic.alias,
        "pci": nic.pci,
        "type": nic.type,
        "network": nic.network,
        "source": nic.source,
        "bridge": nic.bridge,
        "model": nic.model,
        "target": nic.target,
        "link": nic.link,
    }


def _guest_side(naming: Naming, state: NameState) -> Json:
    return {
        "name": naming.name,
        "name_source": naming.source.value if naming.source else None,
        "name_state": state.value,
        "candidates": list(naming.candidates),
        "reason": naming.reason,
        "evidence": list(naming.evidence),
        "reachable": naming.reachable,
        "guest_mac": naming.guest_mac,
        "addresses": _addresses(naming),
        "stack": [{"name": layer.name, "kind": layer.kind.value, "mac": layer.mac} for layer in naming.stack],
    }


def _counters(counters: Statistics | None) -> Json | None:
    return None if counters is None else {name: getattr(counters, name) for name in _COUNTERS}


def _addresses(naming: Naming) -> list[Json]:
    return [
        {"ip": address.ip, "prefix": address.prefix, "family": address.family, "interface": address.interface}
        for address in naming.addresses
    ]


def etag(document: Json) -> str:
    """A strong ETag of what is known of a NIC. Contact times and counters do not count: else it would be new with
    every poll, and neither If-None-Match nor If-Match would ever be of use."""
    lasting = {key: value for key, value in document.items() if key not in VOLATILE}
    return f'"{hashlib.blake2b(encode(lasting), digest_size=12).hexdigest()}"'


def network(one: Network, nics: Iterable[Json]) -> Json:
    """A libvirt network, with the NICs on it."""
    return {
        "name": one.name,
        "uuid": one.uuid,
        "active": one.active,
        "persistent": one.persistent,
        "autostart": one.autostart,
        "bridge": one.bridge,
        "forward": one.forward,
        "interfaces": list(nics),
    }


def nic_on_network(sight: Sight, entry: NicEntry) -> Json:
    """A NIC in the list of its network: whose it is, what the guest calls it, and what it is reached by."""
    return {
        "vm": sight.entry.vm.name,
        "vm_uuid": sight.entry.vm.uuid,
        "mac": entry.nic.mac,
        "alias": entry.nic.alias,
        "target": entry.nic.target,
        "model": entry.nic.model,
        "link": entry.nic.link,
        "name": entry.naming.name,
        "name_state": sight.name_state(entry).value,
        "addresses": _addresses(entry.naming),
        "pending": _pending(sight, entry),
    }


def items(documents: Iterable[Json]) -> Json:
    return {"items": list(documents)}


def change(one: Change) -> Json:
    return {
        "kind": one.kind.value,
        "sentence": one.sentence,
        "nic_id": one.nic_id,
        "mac": one.mac,
        "alias": one.alias,
        "old": one.old,
        "new": one.new,
    }


def feed_item(item: FeedItem) -> Json:
    """An item of the change feed. `name` is what the guest calls the NIC after the change (before it, if detached)."""
    details = dict(item.change.details)
    name = details.pop("name", None)
    return {
        "id": item.id,
        "at": moment(item.at),
        "host": item.host,
        "vm": item.vm.name or None,
        "vm_uuid": item.vm.uuid or None,
        "name": name,
        **change(item.change),
        "details": details,
    }


def outcome(result: Outcome, nics: Iterable[Json]) -> Json:
    """What asking the guest came to, and its NICs after that."""
    return {
        "items": list(nics),
        "sentence": result.sentence,
        "agent_state": result.agent.value,
        "changes": [change(one) for one in result.changes],
        "seconds": seconds(result.seconds),
    }


def status(daemon: DaemonStatus, sights: Iterable[Sight]) -> Json:
    """The daemon, and the map in figures."""
    reasons = daemon.degraded()
    seen = list(sights)
    return {
        "state": "degraded" if reasons else "ok",
        "reasons": reasons,
        "version": daemon.version,
        "pid": daemon.pid,
        "started": moment(daemon.started),
        "uptime": seconds(daemon.uptime),
        "host": daemon.host,
        **_parts(daemon),
        "vms": {
            "total": len(seen),
            "by_agent_state": Counter(sight.entry.agent.state.value for sight in seen),
            "by_freshness": Counter(sight.freshness.value for sight in seen),
        },
        "nics": {
            "total": sum(len(sight.entry.nics) for sight in seen),
            "named": sum(1 for sight in seen for entry in sight.entry.nics if entry.naming.name is not None),
        },
        "oldest": _oldest(seen),
    }


def _parts(daemon: DaemonStatus) -> Json:
    """The state of each part of the daemon."""
    libvirt, watch = daemon.libvirt, daemon.watch
    return {
        "libvirt": {
            "connected": libvirt.connected,
            "since": moment(libvirt.since),
            "message": libvirt.message,
            "version": libvirt.version,
            "uri": libvirt.uri,
            "rx_filter": libvirt.rx_filter,
        },
        "store": {
            "state": "ok" if daemon.store.ok else "degraded",
            "message": daemon.store.message,
            "backend": daemon.store.backend,
            "suppressed": dict(Counter(daemon.store.suppressed).most_common(MAX_NOISY)),
        },
        "passes": {
            "last_age": seconds(watch.last_pass_age),
            "count": watch.passes,
            "queue": watch.queue,
            "interval": seconds(watch.interval),
            "lateness": seconds(watch.lateness),
            "overdue": watch.overdue,
        },
    }


def _oldest(sights: list[Sight]) -> Json | None:
    """The running VM that has not answered for longest."""
    running = [sight for sight in sights if sight.age is not None and sight.entry.state.value == "running"]
    if not running:
        return None
    oldest = max(running, key=lambda sight: sight.age or 0.0)
    return {"vm": oldest.entry.vm.name, "uuid": oldest.entry.vm.uuid, "age": seconds(oldest.age)}
