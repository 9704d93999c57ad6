"""Who is at the other end of a connection: captured once per connection, found at `request.state.peer`."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass
from typing import Any

#: struct ucred of Linux: pid, uid, gid (unix(7), SO_PEERCRED).
_UCRED = struct.Struct("3i")
#: The supplementary groups of a Unix peer, as SO_PEERCRED at its connect (Linux 4.13; Python has no name for it).
#: /proc/PID/status would be a race: the number may be another process's by the time that it is read.
_SO_PEERGROUPS = 59
#: Python's limit for getsockopt: 256 groups.
_GROUPS_BYTES = 1024


@dataclass(frozen=True, slots=True)
class Peer:
    """`transport` is `unix` or `tcp`.

    pid, uid, gid and groups (supplementary) are what the kernel says of a Unix peer at its connect, and None and ()
    over TCP, where `address` is "192.0.2.7:51234" instead. `token` is which one a request over TCP has shown: "read",
    "write" or None. What it may do is decided per request (access.py), and nothing until then.
    """

    transport: str
    pid: int | None = None
    uid: int | None = None
    gid: int | None = None
    groups: tuple[int, ...] = ()
    address: str | None = None
    token: str | None = None
    may_read: bool = False
    may_change: bool = False

    @property
    def who(self) -> str:
        """For people and logs: "uid 1000 (pid 4711)", "token write", "tcp"."""
        if self.transport == "unix":
            return f"uid {self.uid} (pid {self.pid})"
        return f"token {self.token}" if self.token else "tcp"

    def in_group(self, number: int | None) -> bool:
        """Whether the peer is a member of that group; of None nobody is."""
        return number is not None and (number == self.gid or number in self.groups)


def of_socket(connection: Any) -> Peer:
    """The peer of a connected socket (asyncio's TransportSocket serves)."""
    if connection.family != socket.AF_UNIX:
        return Peer("tcp", address=_address(connection))
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    pid, uid, gid = _UCRED.unpack(raw)
    return Peer("unix", pid=pid, uid=uid, gid=gid, groups=_groups(connection))


def _groups(connection: Any) -> tuple[int, ...]:
    """The supplementary groups; () where the kernel does not tell, or has more than fit: that gives fewer rights."""
    try:
        raw: bytes = connection.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _GROUPS_BYTES)
    except OSError:
        return ()
    return struct.unpack(f"{len(raw) // 4}I", raw)


def _address(connection: Any) -> str | None:
    try:
        host, port = connection.getpeername()[:2]
    except OSError:  # gone already
        return None
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
