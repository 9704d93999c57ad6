"""Puts the api together: routes, the edge around them, the OpenAPI document."""

from __future__ import annotations

import functools
import inspect
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from nicmapd import __version__
from nicmapd.api.context import Context
from nicmapd.api.door import edge
from nicmapd.api.door.access import Access
from nicmapd.api.feed import Feed
from nicmapd.api.forms import documents, rendering
from nicmapd.api.resources import changing, events, health, history, metrics, networks, pages, reading
from nicmapd.api.routes import ETAG, NIC, VM, Route, add, components
from nicmapd.api.service import Service
from nicmapd.board import Board
from nicmapd.meter import Meter
from nicmapd.ports import Clock, NicStore

_DESCRIPTION = """\
Which NIC of a VM is `eth0` in the guest: by VM, by MAC, by guest name, by address, now and in the past.

A GET never calls a guest: it reads the map, and every entry says how old it is. What guests say is bounded and
escaped, and is still only what a guest said. Unknown, repeated and empty query keys are refused. HEAD works wherever
GET does. No path ends with a slash. Clients must take members that they do not know.
"""

_IF_NONE_MATCH = {
    "name": "If-None-Match",
    "in": "header",
    "required": False,
    "description": "ETags that the client has; 304 if one is that of the NIC",
    "schema": {"type": "string"},
}


_TOKEN = {
    "type": "http",
    "scheme": "bearer",
    "description": "Over TCP, as the daemon is configured; on its Unix socket the caller's user and groups count.",
}


def create_app(
    board: Board,
    store: NicStore,
    service: Service,
    clock: Clock,
    feed: Feed | None = None,
    *,
    meter: Meter | None = None,
    access: Access | None = None,
) -> FastAPI:
    """The application. Its ASGI state needs `peer` (server.py sees to that); without one it only reads.

    `feed` must be told (`announce`) of what is added to the store's log, and to `end` before the server stops. `meter`
    has what the daemon counts, for /metrics. `access` decides who may do what; without it only root and the
    daemon's own user may change anything.
    """
    app = FastAPI(
        title="nicmapd",
        version=__version__,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        **_without_tracing(),
    )
    app.add_middleware(edge.Edge, access=access or Access())
    edge.add_handlers(app)
    context = Context(board, store, service, clock, Feed(store) if feed is None else feed)
    encoded = functools.cache(lambda: rendering.encode(app.openapi()))
    read, past = reading.Reading(context), history.Histories(context)
    web = pages.Pages()
    handlers = health.Health(context, encoded, web)
    for route in [
        *_nic_routes(read),
        *_vm_routes(read),
        *_list_routes(read),
        *changing.routes(changing.Changing(context)),
        *networks.routes(networks.NetworkViews(context)),
        *_history_routes(past),
        _event_route(events.Events(context)),
        *_health_routes(handlers),
        _metrics_route(metrics.Metrics(context, meter or Meter())),
        *_pointer_routes(handlers, web),
    ]:
        add(app, route)
    app.add_route("/static/{file}", web.file, methods=["GET"], include_in_schema=False)
    document = functools.cache(lambda: _openapi(app))
    app.openapi = document  # type: ignore[method-assign]
    return app


def _without_tracing() -> dict[str, Any]:
    """Newer FastAPI traces every request; older has no word for it."""
    known = "telemetry" in inspect.signature(FastAPI.__init__).parameters
    return {"telemetry": {"tracing": False}} if known else {}


def _openapi(app: FastAPI) -> dict[str, Any]:
    found = get_openapi(
        title="nicmapd",
        version=__version__,
        openapi_version="3.1.0",
        summary="The map from a VM's NICs to the names that its guest gives them",
        description=_DESCRIPTION,
        routes=app.routes,
    )
    found["components"] = {"schemas": components(), "securitySchemes": {"token": _TOKEN}}
    found["security"] = [{"token": []}, {}]
    return found


def _nic_routes(read: reading.Reading) -> list[Route]:
    return [
        Route(
            "/vms/{vm}/interfaces/{nic}",
            read.nic,
            "getInterface",
            "One NIC",
            "By guest name, MAC, alias or host side device. Where a name moved, the 404 has `renamed_to`; where more "
            "than one NIC fits, the 409 has `candidates`.",
            documents.Nic,
            "interfaces",
            path_keys=(VM, NIC),
            extra=(_IF_NONE_MATCH,),
            headers=ETAG,
            problems=(304, 400, 404, 409, 413),
        ),
        Route(
            "/vms/{vm}/interfaces",
            read.nics_of_vm,
            "listInterfacesOfVm",
            "The NICs of a VM",
            "In the order of the domain XML. Filters match exactly, several must all hold. With `at`, the map as it "
            "was, also of a VM that is gone.",
            documents.NicList,
            "interfaces",
            path_keys=(VM,),
            query_keys=reading.NICS_OF_VM_KEYS,
            problems=(400, 404, 409, 413, 503),
        ),
    ]


def _vm_routes(read: reading.Reading) -> list[Route]:
    return [
        Route(
            "/vms/{vm}",
            read.vm,
            "getVm",
            "One VM",
            "By name or UUID.",
            documents.Vm,
            "vms",
            path_keys=(VM,),
            problems=(400, 404, 409, 413),
        ),
        Route(
            "/vms/{vm}/refresh",
            read.refresh,
            "refreshVm",
            "Ask the guest now",
            "Takes at most the agent's time-outs. 503 with the reason if the guest gives no usable answer; the map is "
            "untouched then.",
            documents.Refreshed,
            "vms",
            method="POST",
            path_keys=(VM,),
            problems=(400, 403, 404, 409, 413, 503),
        ),
    ]


def _list_routes(read: reading.Reading) -> list[Route]:
    return [
        Route(
            "/vms",
            read.vms,
            "listVms",
            "The VMs of this host",
            "By name, in pages.",
            documents.VmPage,
            "vms",
            query_keys=reading.VM_KEYS,
            problems=(400, 413),
        ),
        Route(
            "/interfaces",
            read.nics,
            "listInterfaces",
            "The NICs of all VMs",
            "By VM name, in pages. Which NIC has this MAC, this address, this name?",
            documents.NicPage,
            "interfaces",
            query_keys=reading.NICS_OF_ALL_KEYS,
            problems=(400, 413, 503),
        ),
    ]


def _history_routes(past: history.Histories) -> list[Route]:
    return [
        Route(
            "/vms/{vm}/history",
            past.of_vm,
            "getVmHistory",
            "The past of a VM's NICs",
            "Newest first; also of a VM that is gone.",
            documents.History,
            "history",
            path_keys=(VM,),
            query_keys=history.HISTORY_KEYS,
            problems=(400, 404, 409, 413, 503),
        ),
        Route(
            "/vms/{vm}/interfaces/{nic}/history",
            past.of_nic,
            "getInterfaceHistory",
            "The past of a NIC",
            "Newest first; also of a NIC that is detached, by what it was called last.",
            documents.History,
            "history",
            path_keys=(VM, NIC),
            query_keys=history.HISTORY_KEYS,
            problems=(400, 404, 409, 413, 503),
        ),
    ]


def _event_route(handlers: events.Events) -> Route:
    return Route(
        "/events",
        handlers.stream,
        "followEvents",
        "What changes, as it does",
        "Server-sent events: `id` is the number in the log of changes, `event` the kind, `data` the document. Starts "
        "with what comes from now on, or after `Last-Event-ID`. 410: what follows that number is not in the log; "
        "read the map and follow without a number.",
        documents.FeedEvent,
        "events",
        query_keys=events.EVENT_KEYS,
        extra=(events.LAST_EVENT_ID,),
        problems=(400, 404, 409, 410, 413, 503),
        media_type="text/event-stream",
    )


def _health_routes(handlers: health.Health) -> list[Route]:
    return [
        Route(
            "/status",
            handlers.status,
            "getStatus",
            "The daemon and the map in figures",
            "Degraded means: no libvirt, a store that cannot be written, or passes that do not finish. A guest that "
            "does not answer is counted, and is not the daemon's fault.",
            documents.Status,
            "daemon",
            problems=(400, 413),
        ),
        Route(
            "/healthz",
            handlers.alive,
            "getAlive",
            "Whether the process answers",
            "For a liveness probe.",
            documents.Alive,
            "daemon",
            problems=(400, 413),
        ),
        Route(
            "/readyz",
            handlers.ready,
            "getReady",
            "Whether the map can be relied on",
            "503 with the reasons if not.",
            documents.Ready,
            "daemon",
            problems=(400, 413, 503),
        ),
    ]


def _metrics_route(handlers: metrics.Metrics) -> Route:
    return Route(
        "/metrics",
        handlers.metrics,
        "getMetrics",
        "Series for Prometheus",
        "Prometheus' text format.",
        None,
        "daemon",
        problems=(400, 413),
        media_type="text/plain",
    )


def _pointer_routes(handlers: health.Health, web: pages.Pages) -> list[Route]:
    return [
        Route(
            "/openapi.json",
            handlers.openapi,
            "getOpenApi",
            "This document",
            "OpenAPI 3.1.",
            None,
            "daemon",
            problems=(400, 413),
        ),
        Route(
            "/",
            handlers.root,
            "getRoot",
            "The web page, or what there is",
            "The page if `Accept` prefers text/html to application/json, as browsers do; else where to read on.",
            documents.Pointer,
            "daemon",
            problems=(304, 400, 413),
            also=("text/html",),
        ),
        Route(
            "/docs",
            web.docs,
            "getDocs",
            "This document, to read",
            "A page that shows `/openapi.json`. It needs no other server.",
            None,
            "daemon",
            problems=(304, 400, 413),
            media_type="text/html",
        ),
    ]
