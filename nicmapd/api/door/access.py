"""Who may do what: the one place that decides, for each request, from the peer of its connection and from its token."""

from __future__ import annotations

import dataclasses
import grp
import hmac
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from nicmapd.api.door import origin, tokens
from nicmapd.api.door.peer import Peer
from nicmapd.config import ApiConfig
from nicmapd.errors import ConfigError, Forbidden

_log = logging.getLogger(__name__)

Headers = Sequence[tuple[bytes, bytes]]

#: What anybody may ask who reaches the api: a liveness probe, and the files of the web page, which asks for a token
#: itself. They tell nothing of this host.
_OPEN = frozenset({"/", "/docs", "/healthz"})
_OPEN_BELOW = "/static/"

#: What asks without changing anything; all else is a change, and needs the right to it.
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

#: `token` of a peer that has shown one which is neither.
UNKNOWN = "unknown"

_DEFAULTS = ApiConfig()


class NoToken(Forbidden):
    """A token is missing or unknown. `challenge` is for WWW-Authenticate."""

    def __init__(self, message: str, challenge: str) -> None:
        super().__init__(message)
        self.challenge = challenge


@dataclass(frozen=True, slots=True)
class Rules:
    """The numbers of groups (None: no such group, so nobody) and of the daemon's own user; digests of tokens."""

    readers: int | None = None
    changers: int | None = None
    #: Who runs the daemon could do all that it does without it.
    own: int = field(default_factory=os.geteuid)
    #: The names of the groups, for people.
    read_group: str = _DEFAULTS.read_group
    write_group: str = _DEFAULTS.write_group
    #: Without it everybody who reaches TCP reads: that is for loopback (sockets.py).
    read_token: bytes | None = None
    #: Reads too.
    write_token: bytes | None = None
    #: Names by which this host may be asked over TCP, besides addresses and localhost.
    hosts: frozenset[str] = frozenset()


def rules_of(settings: ApiConfig, *, strict: bool = True) -> Rules:
    """The rules that `settings` ask for, with groups and files as the host has them now.

    `strict`: files of secrets must be root's or ours. Raises `ConfigError` with every fault.
    """
    faults: list[str] = []
    owners = tokens.owners() if strict else None

    def secret(key: str, read: Callable[[str], Any]) -> Any:
        path = getattr(settings, key)
        if not path:
            return None
        try:
            return read(path)
        except ValueError as error:
            faults.append(f"api.{key}: {error}")
            return None

    found = Rules(
        readers=_number("read_group", settings.read_group),
        changers=_number("write_group", settings.write_group),
        read_group=settings.read_group,
        write_group=settings.write_group,
        read_token=secret("read_token_file", lambda path: tokens.read(path, owners=owners)),
        write_token=secret("write_token_file", lambda path: tokens.read(path, owners=owners)),
        hosts=origin.hosts_of(settings),
    )
    if found.read_token is not None and found.read_token == found.write_token:
        faults.append("api.write_token_file: the same token as in api.read_token_file: who may read could change all")
    if faults:
        raise ConfigError(faults)
    return found


def _number(key: str, group: str) -> int | None:
    if not group:
        return None
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        # A default that this host does not have is no mistake of anybody's.
        level = logging.DEBUG if group == getattr(_DEFAULTS, key) else logging.WARNING
        _log.log(
            level,
            "api.%s: this host has no group %s: until it is there, and nicmapd is reloaded, only root may",
            key,
            group,
        )
        return None


class Access:
    """Applies rules, which may be exchanged while it works."""

    def __init__(self, rules: Rules | None = None) -> None:
        self.rules = rules or Rules()

    def judge(self, peer: Peer | None, headers: Headers = ()) -> Peer:
        """`peer`, on a request with these headers, with what it may do. No peer at all is one over TCP."""
        peer = peer or Peer("tcp")
        rules = self.rules
        if peer.transport == "unix":
            change = peer.uid in (0, rules.own) or peer.in_group(rules.changers)
            return dataclasses.replace(peer, may_read=change or peer.in_group(rules.readers), may_change=change)
        token = _token(rules, headers)
        read = token in ("read", "write") or (token is None and rules.read_token is None)
        return dataclasses.replace(peer, token=token, may_read=read, may_change=token == "write")

    def admit(self, peer: Peer, *, method: str, path: str, headers: Headers) -> None:
        """Lets a request in, or raises `Forbidden` with what to do. `path` in its canonical form."""
        origin.check(peer, method=method, headers=headers, hosts=self.rules.hosts)
        safe = method in SAFE_METHODS
        if safe and (path in _OPEN or path.startswith(_OPEN_BELOW)):
            return
        if not peer.may_read:
            raise self._refusal(peer, change=False)
        if not safe and not peer.may_change:
            raise self._refusal(peer, change=True)

    def _refusal(self, peer: Peer, *, change: bool) -> Forbidden:
        rules = self.rules
        if peer.transport == "unix":
            group = rules.write_group if change else rules.read_group
            return Forbidden(
                f"{peer.who} may not {'change anything' if change else 'read'} here: "
                + (f"only root and members of the group {group} may" if group else "only root may")
                + f" (api.{'write' if change else 'read'}_group; a new membership counts from the next login)"
            )
        read = [] if change or rules.read_token is None else ["api.read_token_file"]
        write = [] if rules.write_token is None else ["api.write_token_file"]
        key = " or ".join([*read, *write]) or ("api.write_token_file" if change else "api.read_token_file")
        if peer.token == UNKNOWN:
            return NoToken(
                f"this token is not (or no longer) one of this nicmapd; the right one is in the file of {key} there",
                'Bearer realm="nicmapd", error="invalid_token"',
            )
        if change and rules.write_token is None:
            return Forbidden(
                "over TCP this nicmapd only answers questions (api.write_token_file is not set); for this, use its "
                "Unix socket on the host (nicmapctl there)"
            )
        if change and peer.token == "read":
            return Forbidden("this token may only read; the one for changes is in the file of api.write_token_file")
        return NoToken(
            f"this needs a token: send `Authorization: Bearer TOKEN` (nicmapctl --token-file), as in the file of {key}",
            'Bearer realm="nicmapd"',
        )


def _token(rules: Rules, headers: Headers) -> str | None:
    """Which token a request shows: "read", "write", `UNKNOWN` or None."""
    given = [value for name, value in headers if name == b"authorization"]
    if not given or rules.read_token is rules.write_token is None:
        return None  # where there are no tokens, none can be wrong
    scheme, _, token = given[0].strip().partition(b" ")
    if scheme.lower() != b"bearer" or len(given) > 1:
        return UNKNOWN
    shown = tokens.digest(token.strip())
    # Both are compared each time, in time that does not depend on what is in them.
    found = [hmac.compare_digest(shown, known or b"") for known in (rules.write_token, rules.read_token)]
    return "write" if found[0] else "read" if found[1] else UNKNOWN
