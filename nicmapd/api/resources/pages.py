"""The web page, the API's manual and their files: read from the package once, served with ETags and a strict policy.

Nothing here knows the map: the page asks the API like every other client, so these files may be shown to anybody.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import PurePosixPath

from starlette.requests import Request
from starlette.responses import Response

from nicmapd.api import query
from nicmapd.api.conditional import matches
from nicmapd.api.paths import segment
from nicmapd.errors import NotFound
from nicmapd.text import clean

MEDIA_TYPES: Mapping[str, str] = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}

#: What a browser may do with our pages: run and show what came from here, ask this API, nothing else. `trusted-types`
#: makes the browser itself refuse to turn text into markup, should the page ever try.
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)

HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": POLICY,
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Kept, but asked for each time: after an upgrade no browser mixes old files with new ones.
    "Cache-Control": "no-cache",
}

#: Where the pages are; what they refer to is under /static/.
PAGES: Mapping[str, str] = {"/": "index.html", "/docs": "docs.html"}


@dataclass(frozen=True, slots=True)
class Asset:
    """One file, ready to be sent."""

    body: bytes
    media_type: str
    etag: str


def load() -> dict[str, Asset]:
    """The files of the package's folder `web`, by name."""
    found: dict[str, Asset] = {}
    for file in (resources.files("nicmapd") / "web").iterdir():
        media_type = MEDIA_TYPES.get(PurePosixPath(file.name).suffix)
        if media_type is not None:
            body = file.read_bytes()
            found[file.name] = Asset(body, media_type, f'"{hashlib.sha256(body).hexdigest()[:24]}"')
    return found


def wants_page(accept: str | None) -> bool:
    """Whether an Accept header prefers text/html to application/json; programs that accept anything do not."""
    quality = {"text/html": 0.0, "application/json": 0.0}
    for part in (accept or "").lower().split(","):
        kind, *parameters = (word.strip() for word in part.split(";"))
        if kind in quality:
            quality[kind] = max(quality[kind], _quality(parameters))
    return quality["text/html"] > quality["application/json"]


def _quality(parameters: list[str]) -> float:
    for one in parameters:
        name, _, value = one.partition("=")
        if name.strip() == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0


class Pages:
    """The handlers."""

    def __init__(self, assets: Mapping[str, Asset] | None = None) -> None:
        self._assets = load() if assets is None else assets

    def page(self, request: Request, path: str) -> Response:
        """The page at `path`, for a GET."""
        return self._answer(request, self._assets[PAGES[path]])

    async def docs(self, request: Request) -> Response:
        query.read(request, ())
        return self.page(request, "/docs")

    async def file(self, request: Request) -> Response:
        query.read(request, ())
        name = segment(request, "file")
        asset = self._assets.get(name)
        if asset is None:
            raise NotFound(f"there is no file {clean(name)} under /static/; the page is at /")
        return self._answer(request, asset)

    def _answer(self, request: Request, asset: Asset) -> Response:
        headers = {**HEADERS, "ETag": asset.etag}
        if matches(request.headers.get("if-none-match"), asset.etag):
            return Response(status_code=304, headers=headers)
        return Response(asset.body, media_type=asset.media_type, headers=headers)
