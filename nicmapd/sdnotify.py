"""The service manager's notification protocol, sd_notify(3), and what it hands to a service.

Source: systemd's man pages sd_notify(3), sd_watchdog_enabled(3) and sd_listen_fds(3). Nothing happens without
NOTIFY_SOCKET or LISTEN_FDS.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

#: The first descriptor that a manager hands over (SD_LISTEN_FDS_START).
_FIRST_DESCRIPTOR = 3


def listening_sockets(environment: Mapping[str, str] | None = None) -> list[socket.socket]:
    """The listening stream sockets of nicmapd.socket (socket activation), ready for an event loop; [] without it.

    Call it once: the sockets own the descriptors. What is handed over and is no such socket stays untouched.
    """
    environment = os.environ if environment is None else environment
    count = environment.get("LISTEN_FDS", "")
    if environment.get("LISTEN_PID") != str(os.getpid()) or not count.isdigit():
        return []
    found: list[socket.socket] = []
    for descriptor in range(_FIRST_DESCRIPTOR, _FIRST_DESCRIPTOR + int(count)):
        try:
            one = socket.socket(fileno=descriptor)
        except OSError:
            continue
        if one.type != socket.SOCK_STREAM or not one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            one.detach()
            continue
        one.set_inheritable(False)
        one.setblocking(False)
        found.append(one)
    return found


class Notifier:
    """Tells the service manager how the daemon is. Never raises: a deaf manager must not stop the work."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        environment = os.environ if environment is None else environment
        self._address = environment.get("NOTIFY_SOCKET", "")
        self._watchdog = environment.get("WATCHDOG_USEC", "")
        self._watchdog_pid = environment.get("WATCHDOG_PID", "")

    @property
    def enabled(self) -> bool:
        return bool(self._address)

    def watchdog_interval(self) -> float | None:
        """Seconds within which WATCHDOG=1 is expected, or None."""
        if not self._watchdog.isdigit() or self._watchdog_pid not in ("", str(os.getpid())):
            return None
        return int(self._watchdog) / 1_000_000

    def send(self, **fields: str) -> bool:
        """Sends fields such as `READY="1"`, `STATUS="..."`; whether the manager took them."""
        if not self._address:
            return False
        # A newline would begin another field: a status that quotes anything must not be able to.
        lines = [f"{key}={value}".replace("\n", " ") for key, value in fields.items()]
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
                channel.settimeout(1.0)
                channel.sendto("\n".join(lines).encode(), address)
        except OSError:
            return False
        return True
