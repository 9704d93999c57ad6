"""How a route is declared: everything that OpenAPI says of it stands beside its handler.

Handlers take the request and return a finished response; FastAPI routes them and writes the document. Parameters and
answers are declared here and not by signature: parsing by hand is what gives our own error texts, and the pydantic
models are only for the document.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from nicmapd.api import problems, query
from nicmapd.api.forms import documents
from nicmapd.api.forms.network_documents import NetworkList
from nicmapd.api.forms.wanted import SENT

Handler = Callable[[Request], Awaitable[Response]]

VM = {
    "name": "vm",
    "in": "path",
    "required": True,
    "description": "Name or UUID of the VM; percent-encode the name. A UUID wins over an equal name.",
    "schema": {"type": "string", "minLength": 1},
    "example": "web1",
}
NIC = {
    "name": "nic",
    "in": "path",
    "required": True,
    "description": (
        "The NIC by guest name (percent-encoded), MAC (any case, ':' or '-'), `alias:net0` or `dev:vnet1`. "
        "The form decides: what looks like a MAC, or begins with `alias:` or `dev:`, is never read as a guest name."
    ),
    "schema": {"type": "string", "minLength": 1},
    "example": "eth0",
}

ETAG = {
    "ETag": {
        "description": "Strong; the same as long as the same is known of the NIC (contact times and counters aside)",
        "schema": {"type": "string"},
    }
}

#: What each problem status means, for the document.
_PROBLEMS: Mapping[int, str] = {
    304: "Not changed since the ETag in If-None-Match",
    400: "The request is wrong: the text names what is wrong and what is allowed",
    401: "Over TCP, and the token is missing or wrong",
    403: "Not permitted to this client, or sent by a browser for another web page",
    404: "There is no such VM or NIC; `renamed_to` says what became of a name",
    409: "More than one NIC fits, `candidates` says which; or the state of the VM or NIC forbids it now",
    410: "What is asked for is not kept any more; `oldest` and `newest` say what is",
    412: "More is known of the NIC than in If-Match; nothing was changed",
    408: "The body came too slowly",
    413: "The body is too large",
    415: "The body is not JSON",
    501: "This libvirt or this kind of NIC cannot do it",
    503: "Not available now; nothing was changed",
}


@dataclass(frozen=True, slots=True)
class Route:
    """One operation. `answer` is the model of its `success`, `body` that of what it is given, `others` are further
    successes with their models, `problems` the statuses it may fail with."""

    path: str
    handler: Handler
    operation: str
    summary: str
    description: str
    answer: type[BaseModel] | None
    tag: str
    method: str = "GET"
    path_keys: Sequence[Mapping[str, Any]] = ()
    query_keys: Sequence[query.Key] = ()
    extra: Sequence[Mapping[str, Any]] = ()
    problems: Sequence[int] = ()
    example: Any = None
    headers: Mapping[str, Any] | None = None
    media_type: str = "application/json"
    #: Other media types of its 200, which have no schema.
    also: Sequence[str] = ()
    body: type[BaseModel] | None = None
    success: int = 200
    others: Mapping[int, tuple[str, type[BaseModel]]] = field(default_factory=dict)


def add(app: FastAPI, route: Route) -> None:
    """Makes `route` one of `app`."""
    app.add_api_route(
        route.path,
        route.handler,
        methods=[route.method],
        operation_id=route.operation,
        summary=route.summary,
        description=route.description,
        tags=[route.tag],
        response_model=None,
        response_class=Response,
        status_code=route.success,
        responses=_responses(route),
        openapi_extra=_extra(route),
    )


def _extra(route: Route) -> dict[str, Any]:
    """What OpenAPI says of the request."""
    found: dict[str, Any] = {}
    parameters = [*route.path_keys, *query.parameters(route.query_keys), *route.extra]
    if parameters:
        found["parameters"] = parameters
    if route.body is not None:
        found["requestBody"] = {"required": True, "content": {"application/json": {"schema": _reference(route.body)}}}
    return found


def _reference(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{model.__name__}"}


def _responses(route: Route) -> dict[int | str, dict[str, Any]]:
    content: dict[str, Any] = {}
    if route.answer is not None:
        content["schema"] = _reference(route.answer)
    if route.example is not None:
        content["example"] = route.example
    success: dict[str, Any] = {"description": route.summary}
    if route.success != 204:
        success["content"] = {route.media_type: content, **{media_type: {} for media_type in route.also}}
    if route.headers:
        success["headers"] = dict(route.headers)
    found: dict[int | str, dict[str, Any]] = {route.success: success}
    for status, (words, model) in route.others.items():
        found[status] = {"description": words, "content": {"application/json": {"schema": _reference(model)}}}
    anywhere = {401, 403} if route.method == "GET" else {401, 403, 408}
    for status in sorted({*route.problems, *anywhere}):
        answer: dict[str, Any] = {"description": _PROBLEMS[status]}
        if status >= 400:
            answer["content"] = {problems.MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
        found[status] = answer
    return found


def components() -> dict[str, Any]:
    """The schemas of all documents, for `components/schemas`."""
    from pydantic.json_schema import models_json_schema

    models: list[type[BaseModel]] = [*documents.ALL, *SENT, NetworkList]
    _, definitions = models_json_schema(
        [(model, "serialization") for model in models],
        ref_template="#/components/schemas/{model}",
    )
    found: dict[str, Any] = definitions["$defs"]
    return found
