"""The changing half of the api: attach, change, detach. What is changed and how is change/'s to know."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response

from nicmapd.api import preconditions, query, selection
from nicmapd.api.context import Context
from nicmapd.api.forms import bodies, documents, rendering, wanted
from nicmapd.api.paths import segment
from nicmapd.api.preconditions import IF_MATCH, PREFER
from nicmapd.api.resources import history
from nicmapd.api.routes import ETAG, NIC, VM, Route
from nicmapd.change import DetachVerdict, Selection
from nicmapd.errors import NotFound, PreconditionFailed
from nicmapd.model import NicEntry, VmEntry

#: Seconds that a DELETE waits for the guest if the client does not say: a healthy guest needs 0.1 s, a busy one some.
DETACH_WAIT = 30


class Changing:
    """The handlers."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._changer = context.service.changer

    async def attach(self, request: Request) -> Response:
        query.read(request, ())
        entry = await history.current_vm(self._context, segment(request, "vm"))
        order = await bodies.attach_order(request)
        wait = preconditions.wait_of(request)
        done = await self._changer.attach(entry.vm.uuid, order, who=_who(request), wait=wait or 0)
        headers = {"Location": _location(done.vm, done.nic), **preconditions.applied(wait)}
        return self._nic(done.vm, done.nic, status=201, headers=headers)

    async def change(self, request: Request) -> Response:
        query.read(request, ())
        entry = await history.current_vm(self._context, segment(request, "vm"))
        order = await bodies.update_order(request)
        done = await self._changer.update(entry.vm.uuid, self._selection(request), order, who=_who(request))
        return self._nic(done.vm, done.nic, headers={"Content-Location": _location(done.vm, done.nic)})

    async def detach(self, request: Request) -> Response:
        query.read(request, ())
        entry = await history.current_vm(self._context, segment(request, "vm"))
        wait = preconditions.wait_of(request)
        granted = DETACH_WAIT if wait is None else wait
        done = await self._changer.detach(entry.vm.uuid, self._selection(request), who=_who(request), wait=granted)
        headers = preconditions.applied(wait)
        if done.verdict is DetachVerdict.GONE:
            return Response(status_code=204, headers=headers)
        # What is told is what is known now: meanwhile a pass may have found more.
        now = self._context.board.entry(entry.vm.uuid)
        nic = next((one for one in now.all_nics if one.id == done.nic.id), None) if now is not None else None
        vm, shown = (now, nic) if now is not None and nic is not None else (done.vm, done.nic)
        return self._nic(vm, shown, status=202, headers={"Location": _location(vm, shown), **headers})

    def _selection(self, request: Request) -> Selection:
        """The NIC of the path, as If-Match has seen it."""
        text = segment(request, "nic")
        seen = request.headers.get("if-match")

        async def choice(entry: VmEntry) -> NicEntry:
            try:
                nic = await history.current_nic(self._context, entry, text)
            except NotFound as error:
                if seen is None:
                    raise
                raise PreconditionFailed(f"{error.message}; nothing was changed", **error.details) from error
            if seen is not None and not preconditions.still_matches(seen, self._etag(entry, nic)):
                shown = selection.selector(nic.nic, nic.naming, entry.all_nics)
                raise PreconditionFailed(
                    f"more is known of {shown} than when it was read; nothing was changed. Read it again",
                    etag=self._etag(entry, nic),
                )
            return nic

        return Selection(choice, by_name=selection.is_name(text), compared=seen is not None)

    def _document(self, entry: VmEntry, nic: NicEntry) -> rendering.Json:
        return rendering.nic(self._context.board.sight(entry), nic, now=self._context.clock.now())

    def _etag(self, entry: VmEntry, nic: NicEntry) -> str:
        return rendering.etag(self._document(entry, nic))

    def _nic(self, entry: VmEntry, nic: NicEntry, *, status: int = 200, headers: Mapping[str, str]) -> Response:
        document = self._document(entry, nic)
        return rendering.reply(document, status=status, headers={"ETag": rendering.etag(document), **headers})


def _who(request: Request) -> str:
    return str(request.state.peer.who)


def _location(entry: VmEntry, nic: NicEntry) -> str:
    chosen = selection.selector(nic.nic, nic.naming, entry.all_nics)
    return f"/vms/{entry.vm.uuid}/interfaces/{quote(chosen, safe=':')}"


_LOCATION = preconditions.document("Location", "Where the NIC is, by its MAC")
_APPLIED = preconditions.document("Preference-Applied", "The wait that was granted, if one was asked for")


def routes(handlers: Changing) -> list[Route]:
    """The operations that change a VM."""
    return [_attach(handlers), _change(handlers), _detach(handlers)]


def _attach(handlers: Changing) -> Route:
    return Route(
        "/vms/{vm}/interfaces",
        handlers.attach,
        "attachInterface",
        "Attach a NIC",
        "Answers as soon as libvirt has it; with `Prefer: wait=S` when the guest shows a name for it that stays, or "
        "after S seconds, with what is known then. A MAC is given if none is chosen. A network that does not exist is "
        "400 with the names of those that do, one that is not active is 409 for a VM that runs.",
        documents.Nic,
        "interfaces",
        method="POST",
        path_keys=(VM,),
        extra=(PREFER,),
        body=wanted.NewNic,
        success=201,
        headers={**ETAG, **_LOCATION, **_APPLIED},
        problems=(400, 403, 404, 409, 413, 415, 501, 503),
        example=None,
    )


def _change(handlers: Changing) -> Route:
    return Route(
        "/vms/{vm}/interfaces/{nic}",
        handlers.change,
        "changeInterface",
        "Change a NIC",
        "Its cable, its network (as the same device, while the VM runs), its MAC (only while the VM is off): all that "
        "is given, or nothing. By a guest's name only if that is certain now.",
        documents.Nic,
        "interfaces",
        method="PATCH",
        path_keys=(VM, NIC),
        extra=(IF_MATCH,),
        body=wanted.NicChange,
        headers={**ETAG, **preconditions.document("Content-Location", "Where the NIC is now")},
        problems=(400, 403, 404, 409, 412, 413, 415, 501, 503),
    )


def _detach(handlers: Changing) -> Route:
    return Route(
        "/vms/{vm}/interfaces/{nic}",
        handlers.detach,
        "detachInterface",
        "Detach a NIC",
        "204 once the guest has let it go; 202 with the NIC if it has not within `Prefer: wait=S` "
        f"({DETACH_WAIT} if not given): it goes later, at the latest when the VM stops. 409 with `refused` if the "
        "guest refuses: nothing is changed then. By a guest's name only if that is certain now: the guest is asked.",
        None,
        "interfaces",
        method="DELETE",
        path_keys=(VM, NIC),
        extra=(PREFER, IF_MATCH),
        success=204,
        others={202: ("The guest has been asked and has not let it go yet", documents.Nic)},
        headers=_APPLIED,
        problems=(400, 403, 404, 409, 412, 413, 501, 503),
    )
