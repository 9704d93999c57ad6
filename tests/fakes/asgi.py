"""Asks an ASGI application in-process, with the request target exactly as given."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nicmapd.api.door.peer import Peer

LOCAL = Peer("unix", pid=1, uid=0, gid=0)
REMOTE = Peer("tcp")


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def with_peer(app: Any, peer: Peer | None) -> Any:
    """`app` as the server would call it for that peer."""

    async def wrapped(scope: Any, receive: Any, send: Any) -> None:
        if peer is not None:
            scope = {**scope, "state": {**scope.get("state", {}), "peer": peer}}
        await app(scope, receive, send)

    return wrapped


def ask(
    app: Any,
    target: str,
    *,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
    peer: Peer | None = LOCAL,
) -> Answer:
    """The answer of `app` to one request."""
    return asyncio.run(ask_here(app, target, method=method, headers=headers, body=body, peer=peer))


async def ask_here(
    app: Any,
    target: str,
    *,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
    peer: Peer | None = LOCAL,
) -> Answer:
    """As `ask`, in a loop that runs already."""
    raw_path, _, query_string = target.partition("?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": raw_path,  # the edge reads raw_path
        "raw_path": raw_path.encode("latin-1"),
        "query_string": query_string.encode("latin-1"),
        "root_path": "",
        "headers": [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()],
        "server": None,
        "client": None,
        "state": {},
    }
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    await with_peer(app, peer)(scope, receive, send)
    found = {name.decode().lower(): value.decode() for name, value in sent[0]["headers"]}
    return Answer(sent[0]["status"], found, b"".join(one.get("body", b"") for one in sent[1:]))
