"""libvirt's networks, each with the NICs on it, by VM and guest name."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response

from nicmapd.api import query
from nicmapd.api.context import Context
from nicmapd.api.forms import network_documents, rendering
from nicmapd.api.paths import segment
from nicmapd.api.routes import Route
from nicmapd.errors import NotFound
from nicmapd.ports import Network
from nicmapd.text import clean

NETWORK = {
    "name": "network",
    "in": "path",
    "required": True,
    "description": "Name of the libvirt network, percent-encoded",
    "schema": {"type": "string", "minLength": 1},
    "example": "default",
}

#: Names of networks in the text of an error: more is no help.
_SHOWN = 20


class NetworkViews:
    """The handlers. libvirt is asked for its networks, the map for the NICs; no guest is."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._changer = context.service.changer

    async def all(self, request: Request) -> Response:
        query.read(request, ())
        found = await self._changer.networks()
        by_network = self._nics()
        return rendering.reply(
            rendering.items(rendering.network(one, by_network.get(one.name, [])) for one in found),
        )

    async def one(self, request: Request) -> Response:
        query.read(request, ())
        name = segment(request, "network")
        found = await self._changer.networks()
        network = next((one for one in found if one.name == name), None)
        if network is None:
            raise NotFound(f'there is no libvirt network "{clean(name)}" on this host; {_what_there_is(found)}')
        return rendering.reply(rendering.network(network, self._nics().get(name, [])))

    def _nics(self) -> dict[str, list[rendering.Json]]:
        """The NICs of all VMs by the network that they are on, in the order of the VMs' names."""
        found: dict[str, list[rendering.Json]] = {}
        board = self._context.board
        for entry in board.entries():
            sight = board.sight(entry)
            for nic in entry.all_nics:
                if nic.nic.network is not None:
                    found.setdefault(nic.nic.network, []).append(rendering.nic_on_network(sight, nic))
        return found


def _what_there_is(found: Sequence[Network]) -> str:
    names = [clean(one.name) for one in found]
    if not names:
        return "there is none at all"
    return f"there are {', '.join(names[:_SHOWN])}{', ...' if len(names) > _SHOWN else ''}"


def routes(handlers: NetworkViews) -> list[Route]:
    """What can be asked of networks."""
    return [
        Route(
            "/networks",
            handlers.all,
            "listNetworks",
            "libvirt's networks and the NICs on them",
            "By name; the NICs by VM and guest name. 503 while libvirt is away.",
            network_documents.NetworkList,
            "networks",
            problems=(400, 413, 503),
        ),
        Route(
            "/networks/{network}",
            handlers.one,
            "getNetwork",
            "One libvirt network",
            "With the NICs on it.",
            network_documents.Network,
            "networks",
            path_keys=(NETWORK,),
            problems=(400, 404, 413, 503),
        ),
    ]
