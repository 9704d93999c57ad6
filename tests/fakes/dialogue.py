"""A terminal with somebody at it."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path


def dialogue(path: Path, answer: bytes, *arguments: str) -> tuple[int, str]:
    """A call at a terminal, where `answer` is typed when it asks; its exit code and all that was shown."""
    leader, follower = pty.openpty()
    command = [sys.executable, "-c", "from nicmapd.cli import main; main()", *arguments]
    settings = {**os.environ, "NICMAPD_SOCKET": str(path), "TERM": "xterm", "NO_COLOR": "1", "COLUMNS": "100"}
    process = subprocess.Popen(command, stdin=follower, stdout=follower, stderr=follower, env=settings)
    os.close(follower)
    seen = b""
    try:
        while piece := os.read(leader, 4096):
            seen += piece
            if b"[y/N]" in seen and answer:
                os.write(leader, answer)
                answer = b""
    except OSError:  # EIO: it has ended
        pass
    os.close(leader)
    return process.wait(20), seen.decode().replace("\r\n", "\n")
