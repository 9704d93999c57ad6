"""The api with what changes NICs answered by a script: for clients, in answers that no guest gives on demand."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from nicmapd.api.problems import MEDIA_TYPE


@dataclass(frozen=True, slots=True)
class Asked:
    """One request that would have changed something."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: Any


@dataclass(slots=True)
class Scripted:
    """An ASGI application: POST, PATCH and DELETE of interfaces get `answer`; everything else goes to `app`.

    `answer` is a status and a document, or a function of the request that gives them. `delay`: seconds until then.
    """

    app: Any
    answer: tuple[int, Any] | Callable[[Asked], tuple[int, Any]] = (204, None)
    delay: float = 0.0
    asked: list[Asked] = field(default_factory=list)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD") or "/interfaces" not in scope["path"]:
            await self.app(scope, receive, send)
            return
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        asked = Asked(scope["method"], scope["raw_path"].decode(), headers, json.loads(body) if body else None)
        self.asked.append(asked)
        await asyncio.sleep(self.delay)
        status, document = self.answer(asked) if callable(self.answer) else self.answer
        kind = MEDIA_TYPE if status >= 400 else "application/json"
        content = b"" if document is None else json.dumps(document).encode()
        await send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [(b"content-type", kind.encode()), (b"content-length", str(len(content)).encode())],
            }
        )
        await send({"type": "http.response.body", "body": content})


def problem(status: int, code: str, detail: str, **members: object) -> tuple[int, dict[str, object]]:
    """An answer that says no."""
    return status, {
        "type": f"urn:nicmapd:problem:{code}",
        "title": code,
        "status": status,
        "detail": detail,
        "code": code,
    } | members
