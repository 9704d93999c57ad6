"""Who may do what: the one place that decides, for each request, from the peer of its connection and from its token."""

from __future__ import annotations

import dataclasses
import grp
import logging
import os
from dataclasses import dataclass, field

from nicmapd.api.peer import Peer
from nicmapd.config import ApiConfig
from nicmapd.errors import Forbidden

_log = logging.getLogger(__name__)

#: What anybody may ask who reaches the api: a liveness probe has no token, and learns nothing.
OPEN_PATHS = frozenset({"/healthz"})

_DEFAULTS = ApiConfig()


@dataclass(frozen=True, slots=True)
class Rules:
    """Numbers of the groups (None: no such group, so nobody) and of the daemon's own user."""

    readers: int | None = None
    changers: int | None = None
    #: Who runs the daemon could do all that it does without it.
    own: int = field(default_factory=os.geteuid)
    #: The names of the groups, for people.
    read_group: str = _DEFAULTS.read_group
    write_group: str = _DEFAULTS.write_group


def rules_of(settings: ApiConfig) -> Rules:
    """The rules that `settings` ask for, with the groups as the host has them now."""
    return Rules(
        readers=_number("read_group", settings.read_group),
        changers=_number("write_group", settings.write_group),
        read_group=settings.read_group,
        write_group=settings.write_group,
    )


def _number(key: str, group: str) -> int | None:
    if not group:
        return None
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        # A default that this host does not have is no mistake of anybody's.
        level = logging.DEBUG if group == getattr(_DEFAULTS, key) else logging.WARNING
        _log.log(level, "api.%s: this host has no group %s: its members are nobody until it is there", key, group)
        return None


class Access:
    """Applies rules, which may be exchanged while it works."""

    def __init__(self, rules: Rules | None = None) -> None:
        self.rules = rules or Rules()

    def judge(self, peer: Peer | None) -> Peer:
        """`peer` with what it may do."""
        if peer is None:
            return Peer("tcp", may_read=True)
        if peer.transport != "unix":
            return dataclasses.replace(peer, may_read=True)
        rules = self.rules
        change = peer.uid in (0, rules.own) or peer.in_group(rules.changers)
        return dataclasses.replace(peer, may_read=change or peer.in_group(rules.readers), may_change=change)

    def require(self, peer: Peer, *, change: bool) -> None:
        """Raises `Forbidden`, with what to do, if `peer` may not read, or not change if that is asked."""
        if peer.may_change if change else peer.may_read:
            return
        if peer.transport == "unix":
            group = self.rules.write_group if change else self.rules.read_group
            raise Forbidden(
                f"{peer.who} may not {'change anything' if change else 'read'} here: "
                + (f"only root and members of the group {group} may" if group else "only root may")
                + f" (api.{'write' if change else 'read'}_group; a new membership counts from the next login)"
            )
        raise Forbidden(
            "over TCP nicmapd only answers questions; for this, use its Unix socket on the host (nicmapctl there)"
        )
