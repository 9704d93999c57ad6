"""What was: the past of VMs and NICs, the map at a moment, and what became of a name that is not there any more."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from nicmapd.api import query, selection
from nicmapd.api.context import Context
from nicmapd.api.forms import rendering
from nicmapd.api.paths import segment
from nicmapd.api.selection import Wanted
from nicmapd.board import only_met
from nicmapd.errors import NotFound, Unavailable
from nicmapd.model import NicEntry, PastNic, VmEntry
from nicmapd.text import clean

SINCE = query.Key(
    "since",
    "only what was known after this moment (RFC 3339)",
    query.when,
    {"type": "string", "format": "date-time"},
    "2026-11-24T00:00:00Z",
)
HISTORY_KEYS = (SINCE, selection.LIMIT)

#: How far back a NIC that is not attached any more is looked for.
_LOOK_BACK = 1000


async def current_vm(context: Context, name: str) -> VmEntry:
    """The VM as it is known now.

    Raises `NotFound` (with a hint if it has a past, or if libvirt may have it all the same), `Ambiguous`.
    """
    try:
        return selection.find_vm(context.board, name)
    except NotFound as error:
        gaps = context.service.gaps()
        if gaps:
            raise NotFound(
                f'the VM "{clean(name)}" is not known, but not all VMs are yet: {gaps[0]}', incomplete=gaps
            ) from error
        uuid = await _removed(context, name)
        if uuid is None:
            raise
        raise NotFound(
            f"the VM {clean(name)} is not on this host any more",
            removed_uuid=uuid,
            history=f"/vms/{uuid}/history",
        ) from error


async def _removed(context: Context, name: str) -> str | None:
    try:
        return await _past_uuid(context, name)
    except Unavailable:
        return None  # only a hint


async def _past_uuid(context: Context, name: str) -> str | None:
    if "\0" in name:  # no VM has one in its name, and not every database takes it in a question
        return None
    return await context.recall(lambda store: store.find_vm(name))


async def current_nic(context: Context, entry: VmEntry, text: str) -> NicEntry:
    """The NIC as it is known now. Raises `Ambiguous`, or `NotFound` with what became of the name."""
    try:
        return selection.find_nic(entry, text)
    except NotFound as error:
        if not selection.is_name(text):
            raise
        if only_met(entry):
            raise NotFound(
                f"{error.message}: {entry.agent.message}", incomplete=[entry.agent.message], **error.details
            ) from error
        bearer = await _last_bearer(context, entry, clean(text))
        if bearer is None:
            raise
        raise _moved(entry, clean(text), bearer) from error


async def _last_bearer(context: Context, entry: VmEntry, name: str) -> PastNic | None:
    try:
        return await context.recall(lambda store: store.last_bearer(entry.vm.uuid, name))
    except Unavailable:
        return None  # only a hint


def _moved(entry: VmEntry, name: str, bearer: PastNic) -> NotFound:
    """The 404 of a name that was there."""
    vm = clean(entry.vm.name)
    until = rendering.moment(bearer.until)
    since = f" at {until}" if until else ""
    nic = next((one for one in entry.all_nics if one.id == bearer.nic_id), None)
    if nic is None:
        return NotFound(
            f'{vm} has no NIC named "{name}" any more: it was detached ({bearer.nic.mac}){since}',
            vm_uuid=entry.vm.uuid,
            mac=bearer.nic.mac,
            detached_at=until,
        )
    mac = selection.selector(nic.nic, nic.naming, entry.all_nics)
    if nic.naming.name is None:
        return NotFound(
            f'{vm} has no NIC named "{name}" any more{since}: what bore it ({mac}) has no certain name now: '
            f"{nic.naming.reason}",
            vm_uuid=entry.vm.uuid,
            mac=nic.nic.mac,
        )
    return NotFound(
        f'{vm} has no NIC named "{name}": it was renamed to "{nic.naming.name}"{since}',
        vm_uuid=entry.vm.uuid,
        renamed_to=nic.naming.name,
        renamed_at=until,
        mac=nic.nic.mac,
    )


# -- the map at a moment


async def map_of_vm(context: Context, name: str, at: datetime, values: dict[str, Any]) -> Response:
    """The NICs of one VM, which may be gone by now, as they were at `at`."""
    uuid = await known_uuid(context, name)
    found = await _map_at(context, at, uuid)
    return rendering.reply(rendering.items(_documents(context, found, values)))


async def map_of_all(context: Context, at: datetime, values: dict[str, Any]) -> Response:
    """The NICs of all VMs as they were at `at`, a page of them."""
    place, limit = values["cursor"], values["limit"]
    rest = _after(await _map_at(context, at, None), place)
    wanted = Wanted.of(values)
    fitting = [one for one in rest if _fits(one, wanted)]
    page = fitting[:limit]
    following = selection.make_cursor(*_place(page[-1])) if len(fitting) > limit else None
    documents = [rendering.past_nic(one, host=_host(context, one)) for one in page]
    return rendering.reply({"items": documents, "next": following})


async def _map_at(context: Context, at: datetime, uuid: str | None) -> Sequence[PastNic]:
    return await context.recall(lambda store: store.map_at(min(at, context.clock.now()), uuid=uuid))


def _after(found: Sequence[PastNic], place: list[str] | None) -> Sequence[PastNic]:
    """What comes after `place` (VM name, VM UUID, NIC id), which the past keeps unless it was pruned meanwhile."""
    if place is None:
        return found
    start = next((number + 1 for number, one in enumerate(found) if list(_place(one)) == place), None)
    return found[start:] if start is not None else [one for one in found if list(_place(one)[:2]) > place[:2]]


def _place(one: PastNic) -> tuple[str, str, str]:
    return one.vm.name, one.vm.uuid, one.nic_id


def _fits(one: PastNic, wanted: Wanted) -> bool:
    return wanted.fits(one.nic, one.naming) and wanted.state in (None, rendering.past_state(one))


def _documents(context: Context, found: Sequence[PastNic], values: dict[str, Any]) -> list[rendering.Json]:
    wanted = Wanted.of(values)
    return [rendering.past_nic(one, host=_host(context, one)) for one in found if _fits(one, wanted)]


def _host(context: Context, one: PastNic) -> str:
    """The store's rows are those of one host: ours."""
    entry = context.board.entry(one.vm.uuid)
    return entry.host if entry is not None else context.service.status().host


# -- the past of a VM or NIC


class Histories:
    """The handlers."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def of_vm(self, request: Request) -> Response:
        values = query.read(request, HISTORY_KEYS)
        uuid = await known_uuid(self._context, segment(request, "vm"))
        return await self._answer(uuid, None, values)

    async def of_nic(self, request: Request) -> Response:
        values = query.read(request, HISTORY_KEYS)
        uuid = await known_uuid(self._context, segment(request, "vm"))
        nic_id = await self._nic_id(uuid, segment(request, "nic"))
        return await self._answer(uuid, nic_id, values)

    async def _answer(self, uuid: str, nic_id: str | None, values: dict[str, Any]) -> Response:
        since, limit = values["since"], values["limit"]
        found = await self._context.recall(lambda store: store.history(uuid, nic_id=nic_id, since=since, limit=limit))
        return rendering.reply(rendering.items(rendering.history_item(one) for one in found))

    async def _nic_id(self, uuid: str, text: str) -> str:
        """The NIC that `text` means now, else the one that it meant last."""
        entry = self._context.board.entry(uuid)
        missing = NotFound(f"nothing is known of a NIC {clean(text)} of this VM, now or in the past")
        if entry is not None:
            try:
                return selection.find_nic(entry, text).id
            except NotFound as error:
                missing = error
        found = await self._context.recall(lambda store: store.history(uuid, limit=_LOOK_BACK))
        for one in found:
            if _meant(one, text):
                return one.nic_id
        raise missing


def _meant(one: PastNic, text: str) -> bool:
    if query.looks_like_mac(text):
        return one.nic.mac == query.mac(text)
    kind, separator, value = text.partition(":")
    if separator and kind == "alias":
        return one.nic.alias == value
    if separator and kind == "dev":
        return one.nic.target == value
    return one.naming.name == clean(text)


async def known_uuid(context: Context, name: str) -> str:
    """UUID of a VM that is or was on this host. Raises `NotFound`, `Ambiguous`."""
    try:
        return selection.find_vm(context.board, name).vm.uuid
    except NotFound:
        uuid = await _past_uuid(context, name)
        if uuid is None:
            raise
        return uuid
