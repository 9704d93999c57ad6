"""Who is at the other end of a connection: captured once per connection, found at `request.state.peer`."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass
from typing import Any

#: struct ucred of Linux: pid, uid, gid (unix(7), SO_PEERCRED).
_UCRED = struct.Struct("3i")


@dataclass(frozen=True, slots=True)
class Peer:
    """`transport` is `unix` or `tcp`; pid, uid and gid are what the kernel says of a Unix peer at its connect, and
    None over TCP."""

    transport: str
    pid: int | None = None
    uid: int | None = None
    gid: int | None = None

    @property
    def may_change(self) -> bool:
        """Whoever may open the Unix socket (0660) may ask for changes; TCP reads only."""
        return self.transport == "unix"


def of_socket(connection: Any) -> Peer:
    """The peer of a connected socket (asyncio's TransportSocket serves)."""
    if connection.family != socket.AF_UNIX:
        return Peer("tcp")
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    pid, uid, gid = _UCRED.unpack(raw)
    return Peer("unix", pid=pid, uid=uid, gid=gid)
