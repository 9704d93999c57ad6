"""The reading half of the api: VMs and NICs as they are known now, and `refresh`. No GET ever calls a guest.

All but the past is answered from the board, in memory, in the event loop; the store is asked only for what was.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from nicmapd.api import query, selection
from nicmapd.api.conditional import matches
from nicmapd.api.context import Context
from nicmapd.api.forms import rendering
from nicmapd.api.forms.rendering import Json
from nicmapd.api.paths import segment
from nicmapd.api.resources import history
from nicmapd.api.selection import AT, CURSOR, LIMIT, OF_ALL, OF_VM, Wanted, unhurried
from nicmapd.errors import AgentFailure, NotFound
from nicmapd.model import AgentState, DomainState, NicEntry, VmEntry
from nicmapd.text import clean


def _search(text: str) -> str:
    return clean(text).lower()


VM_KEYS = (
    query.Key(
        "state",
        "what libvirt says of the VM",
        query.one_of(DomainState),
        {"type": "string", "enum": [state.value for state in DomainState]},
        "running",
    ),
    query.Key(
        "agent",
        "state of its guest agent",
        query.one_of(AgentState),
        {"type": "string", "enum": [state.value for state in AgentState]},
        "ok",
    ),
    query.Key("q", "text in the VM's name (any case) or UUID", _search, example="web"),
    LIMIT,
    CURSOR,
)
NICS_OF_VM_KEYS = (*OF_VM, AT)
NICS_OF_ALL_KEYS = (*OF_ALL, AT, LIMIT, CURSOR)


class Reading:
    """The handlers."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._board = context.board

    async def vms(self, request: Request) -> Response:
        values = query.read(request, VM_KEYS)
        place, limit = values["cursor"], values["limit"]
        selection.check_cursor(place, 2)
        found: list[VmEntry] = []
        async for entry in unhurried(selection.after_vm(self._board.entries(), place)):
            if _fits(entry, values):
                found.append(entry)
            if len(found) > limit:
                break
        page = found[:limit]
        last = page[-1].vm if len(found) > limit else None
        return rendering.reply(
            {
                "items": [rendering.vm(self._board.sight(entry)) for entry in page],
                "next": selection.make_cursor(last.name, last.uuid) if last else None,
            }
        )

    async def vm(self, request: Request) -> Response:
        query.read(request, ())
        entry = await history.current_vm(self._context, segment(request, "vm"))
        return rendering.reply(rendering.vm(self._board.sight(entry)))

    async def nics_of_vm(self, request: Request) -> Response:
        values = query.read(request, NICS_OF_VM_KEYS)
        name = segment(request, "vm")
        at: datetime | None = values["at"]
        if at is not None:
            return await history.map_of_vm(self._context, name, at, values)
        entry = await history.current_vm(self._context, name)
        fitting = self._fitting(entry, Wanted.of(values))
        return rendering.reply(rendering.items(await self._documents([(entry, nic) for nic in fitting])))

    async def nics(self, request: Request) -> Response:
        values = query.read(request, NICS_OF_ALL_KEYS)
        place, limit = values["cursor"], values["limit"]
        selection.check_cursor(place, 3)
        if values["at"] is not None:
            return await history.map_of_all(self._context, values["at"], values)
        wanted = Wanted.of(values)
        found: list[tuple[VmEntry, NicEntry]] = []
        async for entry, start in unhurried(self._starting_at(place)):
            found.extend((entry, nic) for nic in self._fitting(entry, wanted, start=start))
            if len(found) > limit:
                break
        page = found[:limit]
        cursor = None
        if len(found) > limit:
            entry, nic = page[-1]
            cursor = selection.make_cursor(entry.vm.name, entry.vm.uuid, nic.id)
        return rendering.reply({"items": await self._documents(page), "next": cursor})

    def _starting_at(self, place: list[str] | None) -> Iterator[tuple[VmEntry, int]]:
        """VMs with NICs that come after `place` (VM name, VM UUID, NIC id), and the number of the first of those."""
        entries = self._board.entries()
        if place is not None:
            same = self._board.entry(place[1])
            if same is not None and same.vm.name == place[0]:
                ids = [one.id for one in same.all_nics]
                # A NIC that was detached since: its VM is shown from the start again, rather twice than never.
                yield same, ids.index(place[2]) + 1 if place[2] in ids else 0
            place = place[:2]
        for entry in selection.after_vm(entries, place):
            yield entry, 0

    def _fitting(self, entry: VmEntry, wanted: Wanted, *, start: int = 0) -> list[NicEntry]:
        """The NICs of a VM, from `start` on, that are wanted."""
        found = [nic for nic in entry.all_nics[start:] if wanted.fits(nic.nic, nic.naming)]
        if found and wanted.state is not None:
            sight = self._board.sight(entry)
            found = [nic for nic in found if sight.name_state(nic) is wanted.state]
        return found

    async def _documents(self, nics: Sequence[tuple[VmEntry, NicEntry]]) -> list[Json]:
        now = self._context.clock.now()
        sights = {entry.vm.uuid: self._board.sight(entry) for entry, _ in nics}
        return [rendering.nic(sights[entry.vm.uuid], nic, now=now) async for entry, nic in unhurried(nics)]

    async def nic(self, request: Request) -> Response:
        query.read(request, ())
        entry = await history.current_vm(self._context, segment(request, "vm"))
        nic = await history.current_nic(self._context, entry, segment(request, "nic"))
        document = rendering.nic(self._board.sight(entry), nic, now=self._context.clock.now())
        etag = rendering.etag(document)
        if matches(request.headers.get("if-none-match"), etag):
            return Response(status_code=304, headers={"ETag": etag})
        return rendering.reply(document, headers={"ETag": etag})

    async def refresh(self, request: Request) -> Response:
        query.read(request, ())
        entry = await history.current_vm(self._context, segment(request, "vm"))
        outcome = await self._context.service.refresh(entry.vm.uuid)
        now = self._board.entry(entry.vm.uuid)
        if outcome.gone or now is None:
            raise NotFound(f"the VM {clean(entry.vm.name)} is gone from this host")
        if not outcome.answered:
            raise AgentFailure(outcome.sentence, state=outcome.agent.value)
        documents = await self._documents([(now, nic) for nic in now.all_nics])
        return rendering.reply(rendering.outcome(outcome, documents))


def _fits(entry: VmEntry, values: dict[str, Any]) -> bool:
    state, agent, text = values["state"], values["agent"], values["q"]
    return (
        (state is None or entry.state is state)
        and (agent is None or entry.agent.state is agent)
        and (text is None or text in clean(entry.vm.name).lower() or text in entry.vm.uuid)
    )
