"""The outermost layer of the api: what is true of every request, whatever route it is for.

Paths are matched as they stand in the request (paths.py). Every failure leaves here as a problem document. HEAD is
answered like GET without the body, and bodies are bounded.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nicmapd.api import problems
from nicmapd.api.door import audit
from nicmapd.api.door.access import SAFE_METHODS, Access, NoToken
from nicmapd.api.paths import canonical_path, instance_of, raw_path
from nicmapd.errors import Invalid, NicmapError, NotFound, Unavailable
from nicmapd.text import clean, printable

_log = logging.getLogger(__name__)

#: No request of this api needs more: an attach is some 200 bytes.
MAX_BODY = 64 * 1024
#: Request line and headers together. The longest legal path (a 256-character name, percent-encoded) has 3 kB.
MAX_HEAD = 16 * 1024
#: A header's colon, blank and end of line.
_HEADER_EXTRA = 4

#: On every answer that does not say otherwise: nothing is kept, guessed, framed, run or embedded by another page.
_HEADERS = [
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
]


class _TooLarge(Exception):
    """The body passed `MAX_BODY` while it came in."""


class _TooSlow(Exception):
    """The body did not come in time."""


class Edge:
    """ASGI middleware around the application. Nothing reaches that from whom `access` does not let.

    `body_seconds`: a client must have sent its body by then, once somebody waits for it.
    """

    def __init__(self, app: ASGIApp, access: Access, *, body_seconds: float = 10.0) -> None:
        self._app = app
        self._access = access
        self._body_seconds = body_seconds
        self._audit = audit.Audit()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        peer = self._access.judge(scope.get("state", {}).get("peer"), scope["headers"])
        scope = {**scope, "state": {**scope.get("state", {}), "peer": peer}}
        if scope["method"] in SAFE_METHODS:
            await self._answer(scope, receive, _Answer(send, head=scope["method"] == "HEAD"))
        else:
            await self._answer_audited(scope, receive, _Answer(send))

    async def _answer_audited(self, scope: Scope, receive: Receive, answer: _Answer) -> None:
        """As `_answer`, and one line in the log of who asked for what, and what came of it."""
        begun = time.monotonic()
        body = b""

        async def overheard() -> Message:
            nonlocal body
            message = await receive()
            body += message.get("body", b"")[: audit.BODY_BYTES - len(body)]
            return message

        try:
            await self._answer(scope, overheard, answer)
        finally:
            self._audit.write(
                scope["state"]["peer"],
                method=scope["method"],
                path=raw_path(scope),
                body=body,
                status=answer.status,
                reason=answer.reason,
                seconds=time.monotonic() - begun,
            )

    async def _answer(self, scope: Scope, receive: Receive, answer: _Answer) -> None:
        try:
            await self._serve(scope, receive, answer)
        except asyncio.CancelledError:
            # Only the server's stop cancels a request; nothing above waits for this task.
            if not answer.started:
                await problems.of_error(Unavailable("nicmapd is stopping"))(scope, receive, answer)
        except Exception as error:
            # The one place where any defect ends: the log gets all of it, the client gets a problem.
            if answer.started:
                raise
            problem = self._problem(error, scope)
            answer.reason = error.message if isinstance(error, NicmapError) else ""
            await problem(scope, receive, answer)

    async def _serve(self, scope: Scope, receive: Receive, answer: _Answer) -> None:
        _check_head(scope)
        path = canonical_path(raw_path(scope))
        scope = {**scope, "path": path}
        self._access.admit(scope["state"]["peer"], method=scope["method"], path=path, headers=scope["headers"])
        if scope["method"] == "HEAD":
            scope |= {"method": "GET", "nicmapd.head": True}
        if len(path) > 1 and path.endswith("/"):
            raise NotFound(
                f"there is nothing at {printable(path)}: no path here ends with a slash. "
                f"Is a variable empty? Without it this is {printable(path.rstrip('/') or '/')}"
            )
        await self._app(scope, _bounded(scope, receive, seconds=self._body_seconds), answer)

    def _problem(self, error: Exception, scope: Scope) -> Response:
        instance = instance_of(scope)
        if isinstance(error, NoToken):
            challenge = {"WWW-Authenticate": error.challenge}
            return problems.of_status(401, error.message, instance=instance, headers=challenge)
        if isinstance(error, NicmapError):
            return problems.of_error(error, instance=instance)
        if isinstance(error, _TooLarge):
            return problems.of_status(413, f"the body is larger than {MAX_BODY} bytes", instance=instance)
        if isinstance(error, _TooSlow):
            detail = f"the body has not come within {self._body_seconds:g} s; nothing was changed"
            return problems.of_status(408, detail, instance=instance, headers={"Connection": "close"})
        _log.error("request %s %s failed", scope["method"], printable(instance), exc_info=error)
        return problems.response("internal", problems.INTERNAL_DETAIL, instance=instance)


class _Answer:
    """`send`, with our headers on every answer and no body on a HEAD."""

    def __init__(self, send: Send, *, head: bool = False) -> None:
        self._send = send
        self._head = head
        self.started = False
        #: What was answered, 0 if nothing, and why it failed, if it did.
        self.status = 0
        self.reason = ""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            self.status = message["status"]
            given = {name for name, _ in message["headers"]}
            added = [header for header in _HEADERS if header[0] not in given]
            message = {**message, "headers": [*message["headers"], *added]}
        elif self._head and message["type"] == "http.response.body":
            message = {**message, "body": b""}
        await self._send(message)


def _check_head(scope: Scope) -> None:
    """Raises `Invalid` if it is too large. h11 bounds only what has not come in whole yet (server.py)."""
    size = len(scope["raw_path"]) + len(scope["query_string"])
    size += sum(len(name) + len(value) + _HEADER_EXTRA for name, value in scope["headers"])
    if size > MAX_HEAD:
        raise Invalid(f"the request's line and headers have {size} bytes; up to {MAX_HEAD} are taken")


def _bounded(scope: Scope, receive: Receive, *, seconds: float) -> Receive:
    """`receive` that raises `_TooLarge` at once for a body announced too large, else where it gets so, and `_TooSlow`
    for one that has not come `seconds` after it was first waited for."""
    announced = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
    if announced.isdigit() and int(announced) > MAX_BODY:
        raise _TooLarge
    taken = 0
    whole = False
    end: float | None = None

    async def bounded() -> Message:
        nonlocal taken, whole, end
        if whole:
            return await receive()  # the wait for the client to go: that may take as long as it likes
        end = end or asyncio.get_running_loop().time() + seconds
        try:
            async with asyncio.timeout_at(end):
                message = await receive()
        except TimeoutError:
            raise _TooSlow from None
        whole = not message.get("more_body", False)
        taken += len(message.get("body", b""))
        if taken > MAX_BODY:
            raise _TooLarge
        return message

    return bounded


def add_handlers(app: Any) -> None:
    """Makes the framework's own refusals (no such path, wrong method, wrong body) problem documents too."""

    async def refuse(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        instance = instance_of(request.scope)
        headers = dict(error.headers or {})
        detail = None
        if error.status_code == 404:
            detail = f"there is nothing at {clean(instance, limit=300)}; /openapi.json lists what there is"
        elif error.status_code == 405:
            allowed = _allowed_methods(app, request.scope)
            headers["Allow"] = ", ".join(allowed)
            method = clean(request.scope["method"], limit=40)
            detail = f"{method} is not for {clean(instance, limit=300)}; allowed: {headers['Allow']}"
        elif error.status_code == 415:
            detail = error.detail
        return problems.of_status(error.status_code, detail, instance=instance, headers=headers)

    async def refuse_body(_request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        raise Invalid("; ".join(_fault(one) for one in error.errors()[:5]))

    app.add_exception_handler(HTTPException, refuse)
    app.add_exception_handler(RequestValidationError, refuse_body)


def _fault(one: Mapping[str, Any]) -> str:
    """One finding of pydantic: where, what, what is allowed."""
    place = ".".join(str(part) for part in one["loc"])
    return f"{clean(place)}: {clean(str(one['msg']))}"


def _allowed_methods(app: Any, scope: Scope) -> list[str]:
    """The methods of all routes of this path; HEAD goes with GET."""
    found: set[str] = set()
    for route in app.router.routes:
        expression = getattr(route, "path_regex", None)
        if expression is not None and expression.match(scope["path"]):
            found |= set(route.methods or ())
    if "GET" in found:
        found.add("HEAD")
    return sorted(found)
