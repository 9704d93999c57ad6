"""How the daemon does, and what there is to read: the routes beside the map."""

from __future__ import annotations

from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import Response

from nicmapd import __version__
from nicmapd.api import query
from nicmapd.api.context import Context
from nicmapd.api.forms import rendering
from nicmapd.api.resources.pages import Pages, wants_page
from nicmapd.api.selection import unhurried
from nicmapd.errors import Unavailable

#: What `/` points at.
LINKS = {
    "vms": "/vms",
    "interfaces": "/interfaces",
    "networks": "/networks",
    "events": "/events",
    "status": "/status",
    "alive": "/healthz",
    "ready": "/readyz",
    "metrics": "/metrics",
    "openapi": "/openapi.json",
    "docs": "/docs",
}


class Health:
    """The handlers. `openapi` gives the encoded document, `web` the page."""

    def __init__(self, context: Context, openapi: Callable[[], bytes], web: Pages) -> None:
        self._context = context
        self._openapi = openapi
        self._web = web

    async def status(self, request: Request) -> Response:
        query.read(request, ())
        board = self._context.board
        sights = [board.sight(entry) async for entry in unhurried(board.entries())]
        peer = getattr(request.state, "peer", None)
        you = {"may_change": peer is not None and peer.may_change}
        return rendering.reply({**rendering.status(self._context.service.status(), sights), "you": you})

    async def alive(self, request: Request) -> Response:
        query.read(request, ())
        return rendering.reply({"status": "alive"})

    async def ready(self, request: Request) -> Response:
        query.read(request, ())
        reasons = self._context.service.readiness()
        if reasons:
            raise Unavailable(f"not ready: {'; '.join(reasons)}", reasons=reasons)
        return rendering.reply({"status": "ready"})

    async def openapi(self, request: Request) -> Response:
        query.read(request, ())
        return Response(self._openapi(), media_type="application/json")

    async def root(self, request: Request) -> Response:
        query.read(request, ())
        if wants_page(request.headers.get("accept")):
            answer = self._web.page(request, "/")
        else:
            answer = rendering.reply({"name": "nicmapd", "version": __version__, "links": LINKS})
        answer.headers["Vary"] = "Accept"
        return answer
