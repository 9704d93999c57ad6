"""Requests that a foreign web page has a browser send: refused, whatever right the browser's user has.

Two ways lead a page to a daemon on its reader's host or network. With DNS rebinding the page's own name becomes our
address: the Host header still has that name. With CSRF the browser sends a request across: Origin and Sec-Fetch-Site
(set by the browser, not by the page) say so. There is no CORS: no answer says that another origin may read it.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Sequence
from urllib.parse import urlsplit

from nicmapd.api.door.peer import Peer
from nicmapd.config import ApiConfig
from nicmapd.errors import Forbidden
from nicmapd.text import clean

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]@/\s]*)(?::(\d{1,5}))?")
_DEFAULT_PORTS = {"http": "80", "https": "443"}


def hosts_of(settings: ApiConfig) -> frozenset[str]:
    """The names by which this host may be asked: its own, that of `api.listen`, `api.hosts`."""
    name = socket.gethostname().lower()
    listen = settings.listen.rpartition(":")[0].lower()
    return frozenset({name, name.partition(".")[0], listen, *(host.lower() for host in settings.hosts)} - {""})


def check(peer: Peer, *, method: str, headers: Sequence[tuple[bytes, bytes]], hosts: frozenset[str]) -> None:
    """Raises `Forbidden` for a request that a browser sends for a page that is not ours."""
    found = {name: value.decode("latin-1") for name, value in headers}
    host = found.get(b"host", "")
    # Behind the Unix socket no browser is, but a proxy may be: that checks its own names.
    if peer.transport != "unix" and b"host" in found and not _is_ours(host, hosts):
        raise Forbidden(
            f"{clean(host, limit=100)} is not a name of this nicmapd; ask it by address, or add the name to api.hosts"
        )
    origin = found.get(b"origin")
    if origin is not None and not _same(origin, host):
        raise Forbidden(f"the page {clean(origin, limit=100)} may not use this nicmapd: only its own page may")
    site = found.get(b"sec-fetch-site", "none")
    if site in ("none", "same-origin"):
        return
    # A link from elsewhere to our page is no harm: the page that has it sees nothing of what comes.
    followed = found.get(b"sec-fetch-mode") == "navigate" and found.get(b"sec-fetch-dest") == "document"
    if not (followed and method in ("GET", "HEAD")):
        raise Forbidden("another web page sent this request; nicmapd answers only its own page")


def _is_ours(host: str, hosts: frozenset[str]) -> bool:
    """Whether a Host header means this host. No name can be rebound to an address that is written out."""
    match = _HOST.fullmatch(host)
    if match is None:
        return False
    name = match[1].lower().removesuffix(".")
    if name in hosts or name == "localhost":
        return True
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def _same(origin: str, host: str) -> bool:
    """Whether an Origin is that of the requested Host; by host and port, for a proxy may speak TLS for us."""
    try:
        parts = urlsplit(origin)
        default = _DEFAULT_PORTS.get(parts.scheme)
        ours = _HOST.fullmatch(host)
        if default is None or ours is None or not parts.hostname:
            return False
        port = str(parts.port or default)
    except ValueError:
        return False
    name = ours[1].lower().strip("[]")
    return (parts.hostname, port) == (name, ours[2] or default)
