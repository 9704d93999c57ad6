"""A client of the API that costs little itself, as a program: `python -m tests.bench.client SOCKET PATH`.

For each line of its input, `SECONDS CONNECTIONS PAUSE`, it sends requests that long over so many kept connections, each
the next one PAUSE seconds after the last answer, and prints one JSON object: requests a second, and their times.
"""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
from collections.abc import Sequence

from tests.bench.figures import percentile


class Connection:
    """One kept HTTP/1.1 connection over a Unix socket, without a library: that would be slower than the server."""

    def __init__(self, path: str, target: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(10)
        self._socket.connect(path)
        self._request = f"GET {target} HTTP/1.1\r\nHost: nicmapd\r\n\r\n".encode()

    def ask(self) -> float:
        """One request; seconds until its answer was there in full."""
        started = time.perf_counter()
        self._socket.sendall(self._request)
        received = self._socket.recv(65536)
        while (end := received.find(b"\r\n\r\n")) < 0:
            received += self._more()
        head = received[:end].lower()
        if not head.startswith(b"http/1.1 200"):
            raise RuntimeError(received[:300].decode())
        length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
        while len(received) < end + 4 + length:
            received += self._more()
        return time.perf_counter() - started

    def _more(self) -> bytes:
        data = self._socket.recv(65536)
        if not data:
            raise RuntimeError("the daemon closed the connection")
        return data

    def close(self) -> None:
        self._socket.close()


def _ask_on(connection: Connection, ends: float, pause: float, taken: list[float]) -> None:
    while time.perf_counter() < ends:
        taken.append(connection.ask())
        if pause:
            time.sleep(pause)


def _measure(path: str, target: str, seconds: float, connections: int, pause: float) -> dict[str, float]:
    opened = [Connection(path, target) for _ in range(connections)]
    taken: list[list[float]] = [[] for _ in opened]
    started = time.perf_counter()
    threads = [
        threading.Thread(target=_ask_on, args=(one, started + seconds, pause, mine))
        for one, mine in zip(opened, taken, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.perf_counter() - started
    for connection in opened:
        connection.close()
    return _summary([one for mine in taken for one in mine], took)


def _summary(taken: Sequence[float], took: float) -> dict[str, float]:
    return {
        "per_second": len(taken) / took,
        "p50": percentile(taken, 50),
        "p99": percentile(taken, 99),
        "worst": max(taken),
    }


if __name__ == "__main__":
    for line in sys.stdin:
        words = line.split()
        found = _measure(sys.argv[1], sys.argv[2], float(words[0]), int(words[1]), float(words[2]))
        print(json.dumps(found), flush=True)
