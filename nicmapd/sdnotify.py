"""The service manager's notification protocol, sd_notify(3), and what it hands to a service.

Source: systemd's man pages sd_notify(3) and sd_watchdog_enabled(3). Nothing happens without NOTIFY_SOCKET.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping


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
