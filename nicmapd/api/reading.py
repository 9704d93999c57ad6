"""The reading half of the api: VMs and NICs as they are known now, and `refresh`. No GET ever calls a guest.

All but the past is answered from the board, in memory, in the event loop; the store is asked only for what was.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from nicmapd.api import history, query, rendering, selection
from nicmapd.api.context import Context
from nicmapd.api.edge import segment
from nicmapd.api.rendering import Json
from nicmapd.api.selection import AT, CURSOR, LIMIT, OF_ALL, OF_VM, Shown
from nicmapd.board import Sight
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
NICS_OF_VM_KEYS = (*(one.key for one in OF_VM.values()), AT)
NICS_OF_ALL_KEYS = (*(one.key for one in OF_ALL.values()), AT, LIMIT, CURSOR)


class Reading:
    """The handlers."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._board = context.board

    async def vms(self, request: Request) -> Response:
        values = query.read(request, VM_KEYS)
        place = values["cursor"]
        selection.check_cursor(place, 2)
        fitting = self._fitting_vms(values, place)
        page, following = _page(fitting, values["limit"])
        last = page[-1].entry.vm if following else None
        return rendering.reply(
            {
                "items": [rendering.vm(sight) for sight in page],
                "next": selection.make_cursor(last.name, last.uuid) if last else None,
            }
        )

    def _fitting_vms(self, values: dict[str, Any], place: list[str] | None) -> Iterator[Sight]:
        state, agent, text = values["state"], values["agent"], values["q"]
        for entry in selection.after_vm(self._board.entries(), place):
            if state is not None and entry.state is not state:
                continue
            if agent is not None and entry.agent.state is not agent:
                continue
            if text is not None and text not in clean(entry.vm.name).lower() and text not in entry.vm.uuid:
                continue
            yield self._board.sight(entry)

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
        return rendering.reply(rendering.items(document for _, document in self._documents(entry, values)))

    async def nics(self, request: Request) -> Response:
        values = query.read(request, NICS_OF_ALL_KEYS)
        place = values["cursor"]
        selection.check_cursor(place, 3)
        if values["at"] is not None:
            return await history.map_of_all(self._context, values["at"], values)
        found = self._after(place, values)
        page, following = _page(found, values["limit"])
        last = page[-1] if following else None
        cursor = selection.make_cursor(last[0].vm.name, last[0].vm.uuid, last[1].id) if last else None
        return rendering.reply({"items": [document for _, _, document in page], "next": cursor})

    def _after(self, place: list[str] | None, values: dict[str, Any]) -> Iterator[tuple[VmEntry, NicEntry, Json]]:
        """NICs over all VMs that come after `place` (VM name, VM UUID, NIC id)."""
        entries = self._board.entries()
        if place is None:
            rest = iter(entries)
        else:
            rest = selection.after_vm(entries, place[:2])
            same = self._board.entry(place[1])
            if same is not None and same.vm.name == place[0]:
                ids = [one.id for one in same.nics]
                # A NIC that was detached since: the rest of its VM is shown from its start, rather twice than never.
                start = ids.index(place[2]) + 1 if place[2] in ids else 0
                for nic, document in self._documents(same, values, start=start):
                    yield same, nic, document
        for entry in rest:
            for nic, document in self._documents(entry, values):
                yield entry, nic, document

    def _documents(self, entry: VmEntry, values: dict[str, Any], *, start: int = 0) -> Iterator[tuple[NicEntry, Json]]:
        """The NICs of a VM that fit the filters, and their documents."""
        sight = self._board.sight(entry)
        fits = selection.wanted(values)
        now = self._context.clock.now()
        for nic in entry.nics[start:]:
            if fits(Shown(nic.nic, nic.naming, sight.name_state(nic))):
                yield nic, rendering.nic(sight, nic, now=now)

    async def nic(self, request: Request) -> Response:
        query.read(request, ())
        entry = await history.current_vm(self._context, segment(request, "vm"))
        nic = await history.current_nic(self._context, entry, segment(request, "nic"))
        document = rendering.nic(self._board.sight(entry), nic, now=self._context.clock.now())
        etag = rendering.etag(document)
        if _matches(request.headers.get("if-none-match"), etag):
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
        documents = [document for _, document in self._documents(now, {})]
        return rendering.reply(rendering.outcome(outcome, documents))


def _page(found: Iterator[Any], limit: int) -> tuple[list[Any], bool]:
    """The first `limit` of `found`, and whether there are more."""
    page: list[Any] = []
    for one in found:
        if len(page) == limit:
            return page, True
        page.append(one)
    return page, False


def _matches(header: str | None, etag: str) -> bool:
    """Whether If-None-Match names this ETag (RFC 9110 section 13.1.2: weak comparison)."""
    if header is None:
        return False
    if header.strip() == "*":
        return True
    return any(one.strip().removeprefix("W/") == etag for one in header.split(","))
