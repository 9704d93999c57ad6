"""Old and new of one VM compared: which old NIC is which new one, and what is different, in words. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from nicmapd.model import Change, ChangeKind, HostNic, Naming, NicEntry, Verdict, VmEntry
from nicmapd.text import printable


def match(old: Sequence[NicEntry], nics: Sequence[HostNic]) -> list[NicEntry | None]:
    """For each of `nics` the old entry that is the same NIC, or None; no old entry twice.

    The same is, in this order: equal alias and MAC; equal PCI address and MAC (a VM that is off has no aliases, and a
    teaming pair shares its MAC); equal MAC where that is not ambiguous on either side; equal MAC in the same order
    (what is left of equals can only be told by their order in the XML); equal PCI address, model and network, and
    another MAC (that of a NIC was changed while the VM was off; `carried` says what is left of its name then).
    """
    found: list[NicEntry | None] = [None] * len(nics)
    left = list(old)
    for same in (_same_alias, _same_place, _same_mac, _same_slot):
        for number, nic in enumerate(nics):
            if found[number] is None:
                found[number] = next((entry for entry in left if same(entry.nic, nic)), None)
                if found[number] is not None:
                    left.remove(found[number])  # type: ignore[arg-type]
    return found


def carried(entry: NicEntry, nic: HostNic) -> NicEntry:
    """`entry` as it is with `nic`, which it was matched with. Its name goes only with its MAC: what has another one may
    be another device in the same place, and nobody has heard yet what the guest calls that."""
    if entry.nic.mac == nic.mac:
        return replace(entry, nic=nic)
    naming = Naming(reason=f"its MAC was {entry.nic.mac}, and the guest has not shown it with the new one yet")
    return replace(entry, nic=nic, naming=naming, name_since=None, statistics=None)


def match_coming(
    old: Sequence[NicEntry], live: Sequence[NicEntry | None], coming: Sequence[HostNic]
) -> list[NicEntry | None]:
    """As `match`, for NICs that only the configuration has. What a NIC of the running VM goes on with (`live`) is no
    other NIC's, also where libvirt gives both the same PCI address: they are there side by side."""
    taken = {entry.id for entry in live if entry is not None}
    return match([entry for entry in old if entry.id not in taken], coming)


def _same_alias(old: HostNic, new: HostNic) -> bool:
    return old.alias is not None and (old.alias, old.mac) == (new.alias, new.mac)


def _same_place(old: HostNic, new: HostNic) -> bool:
    return old.pci is not None and (old.pci, old.mac) == (new.pci, new.mac)


def _same_mac(old: HostNic, new: HostNic) -> bool:
    # Two aliases that differ are two devices, whatever their MAC: one was unplugged and another plugged in.
    return old.mac == new.mac and (old.alias is None or new.alias is None)


def _same_slot(old: HostNic, new: HostNic) -> bool:
    # libvirt gives a new NIC the first free address: that of one that was just taken out.
    alike = (old.pci, old.type, old.model, old.network) == (new.pci, new.type, new.model, new.network)
    return old.pci is not None and alike and (old.alias is None or new.alias is None)


def diff(old: VmEntry | None, new: VmEntry) -> tuple[Change, ...]:
    """What is different in `new`, in the order: the VM, its agent, its NICs."""
    return () if old is new else tuple(_changes(old, new))


def _changes(old: VmEntry | None, new: VmEntry) -> Iterator[Change]:
    if old is None:
        yield Change(ChangeKind.VM_ADDED, f"found on this host with {len(new.nics)} NICs", new=new.vm.name)
    else:
        yield from _vm_changes(old, new)
    before = {entry.id: entry for entry in old.nics} if old is not None else {}
    for entry in new.nics:
        earlier = before.pop(entry.id, None)
        yield from _attached(entry) if earlier is None else _nic_changes(earlier, entry)
    for entry in before.values():
        yield _nic_change(ChangeKind.NIC_DETACHED, entry, f"{_called(entry)} detached", old=entry.naming.name)
    if old is not None:
        yield from _coming_changes(old, new)


def _coming_changes(old: VmEntry, new: VmEntry) -> Iterator[Change]:
    """NICs that only the configuration has now, or had."""
    if old.coming is None or new.coming is None:
        return  # what was, or is, is not known
    details = {"scope": "config"}
    known = {entry.id for entry in old.all_nics}
    for entry in new.coming:
        if entry.id not in known:
            sentence = f"{entry.nic.mac} attached for the next boot ({printable(_place(entry))})"
            yield _nic_change(ChangeKind.NIC_ATTACHED, entry, sentence, details=details)
    left = {entry.id for entry in new.all_nics}
    for entry in old.coming:
        if entry.id not in left:
            sentence = f"{entry.nic.mac} will not come with the next boot"
            yield _nic_change(ChangeKind.NIC_DETACHED, entry, sentence, details=details)


def _vm_changes(old: VmEntry, new: VmEntry) -> Iterator[Change]:
    if old.vm.name != new.vm.name:
        sentence = f"renamed from {printable(old.vm.name)}"
        yield Change(ChangeKind.VM_RENAMED, sentence, old=old.vm.name, new=new.vm.name)
    if old.state is not new.state:
        sentence = f"was {old.state.value}, is {new.state.value}"
        yield Change(ChangeKind.VM_STATE, sentence, old=old.state.value, new=new.state.value)
    if old.agent.state is not new.agent.state:
        yield Change(
            ChangeKind.AGENT_STATE,
            f"agent was {old.agent.state.value}, is {new.agent.state.value}: {new.agent.message}",
            old=old.agent.state.value,
            new=new.agent.state.value,
            details={"message": new.agent.message},
        )


def _place(entry: NicEntry) -> str:
    return entry.nic.network or entry.nic.source or entry.nic.type


def _attached(entry: NicEntry) -> Iterator[Change]:
    yield _nic_change(ChangeKind.NIC_ATTACHED, entry, f"{entry.nic.mac} attached ({printable(_place(entry))})")
    if entry.naming.name is not None:
        yield _named(entry)


def _nic_changes(old: NicEntry, new: NicEntry) -> Iterator[Change]:
    yield from _host_side(old, new)
    before, after = old.naming.name, new.naming.name
    if before is None and after is not None:
        yield _named(new)
    elif before is not None and after is None:
        sentence = f"{before} ({new.nic.mac}) lost its name: {new.naming.reason}"
        details = {"reason": new.naming.reason, "candidates": list(new.naming.candidates)}
        yield _nic_change(ChangeKind.NIC_UNNAMED, new, sentence, old=before, details=details)
    elif before != after:
        yield _nic_change(
            ChangeKind.NIC_RENAMED, new, f"{before} renamed to {after} ({new.nic.mac})", old=before, new=after
        )
    yield from _guest_side(old, new)


def _host_side(old: NicEntry, new: NicEntry) -> Iterator[Change]:
    if old.nic.mac != new.nic.mac:
        sentence = f"{_called(new)}: MAC was {old.nic.mac}"
        yield _nic_change(ChangeKind.NIC_MAC, new, sentence, old=old.nic.mac, new=new.nic.mac)
    if (old.nic.link, old.nic.network, old.nic.source) != (new.nic.link, new.nic.network, new.nic.source):
        was, now = _cable(old), _cable(new)
        yield _nic_change(ChangeKind.NIC_LINK, new, f"{_called(new)}: was {was}, is {now}", old=was, new=now)


def _cable(entry: NicEntry) -> str:
    where = entry.nic.network or entry.nic.source
    return f"{entry.nic.link} on {printable(where)}" if where else entry.nic.link


def _guest_side(old: NicEntry, new: NicEntry) -> Iterator[Change]:
    if old.naming.guest_mac != new.naming.guest_mac and Verdict.NAMED is new.naming.verdict:
        now = new.naming.guest_mac or new.nic.mac
        yield _nic_change(
            ChangeKind.NIC_MAC,
            new,
            f"{_called(new)}: the guest uses MAC {now}",
            old=old.naming.guest_mac or old.nic.mac,
            new=now,
            details={"guest": True},
        )
    was, now_has = _addresses(old), _addresses(new)
    if was != now_has or _layers(old) != _layers(new):
        yield _nic_change(
            ChangeKind.NIC_ADDRESSES,
            new,
            f"{_called(new)}: {', '.join(now_has) or 'no addresses'}",
            old=" ".join(was),
            new=" ".join(now_has),
            details={"addresses": now_has, "stack": _layers(new)},
        )


def _layers(entry: NicEntry) -> list[str]:
    return [f"{layer.name} ({layer.kind.value})" for layer in entry.naming.stack]


def _addresses(entry: NicEntry) -> list[str]:
    """The addresses without the interfaces that have them: a rename changes no address."""
    texts = {
        address.ip if address.prefix is None else f"{address.ip}/{address.prefix}" for address in entry.naming.addresses
    }
    return sorted(texts)


def _called(entry: NicEntry) -> str:
    return f"{entry.naming.name} ({entry.nic.mac})" if entry.naming.name is not None else entry.nic.mac


def _named(entry: NicEntry) -> Change:
    sentence = f"{entry.nic.mac} is {entry.naming.name} in the guest"
    source = entry.naming.source.value if entry.naming.source else None
    return _nic_change(ChangeKind.NIC_NAMED, entry, sentence, new=entry.naming.name, details={"name_source": source})


def _nic_change(
    kind: ChangeKind,
    entry: NicEntry,
    sentence: str,
    *,
    old: str | None = None,
    new: str | None = None,
    details: Mapping[str, object] | None = None,
) -> Change:
    # The name as it is with this change: readers of the log cannot ask for it later.
    known = {"name": entry.naming.name, **(details or {})}
    return Change(kind, sentence, entry.id, entry.nic.mac, entry.nic.alias, old, new, known)
