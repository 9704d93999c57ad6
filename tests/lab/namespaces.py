"""Private namespaces with a folder, which both end with their owner, however that ends.

Three things see to that: the kernel kills the namespaces' first process when the owner's main thread dies (pdeathsig),
a janitor process in a session of its own removes the folder when its pipe from the owner closes, and the next start
sweeps what an even worse accident left.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from tests.lab.waiting import LabTimeout, eventually

# Short: a UNIX socket's path has at most 107 bytes, and libvirt adds some 60 of its own.
FOLDER_PREFIX = "nmlab-"
FOLDER_PARENT = Path("/tmp")
INNER = Path(__file__).with_name("inner.sh")
# Nobody needs that long between making the folder and writing its owner file.
GRACE_WITHOUT_OWNER = 60.0
# Root's PATH lacks these after a plain `su`.
PATH = os.environ.get("PATH", "/usr/bin:/bin") + ":/usr/sbin:/sbin"
JANITOR = """
read -r _
kill -KILL "$1" 2>/dev/null
tries=0
while ! { rm -rf "$2" && [ ! -e "$2" ]; } 2>/dev/null && [ $tries -lt 100 ]; do sleep 0.1; tries=$((tries + 1)); done
"""


class PrivateNamespaces:
    """Mount, network, PID, UTS and IPC namespaces of their own, in which libvirt's folders are those of `folder`."""

    def __init__(self, *, hostname: str) -> None:
        self.hostname = hostname
        self.folder = Path()
        self._unshare: subprocess.Popen[str] | None = None
        self._janitor: subprocess.Popen[bytes] | None = None
        self._init = 0
        self._init_descriptor = -1

    def prepare(self) -> Path:
        """Make the folder (etc, run, lib, log, cache, ch), after removing those whose owner is dead."""
        sweep()
        self.folder = Path(tempfile.mkdtemp(prefix=FOLDER_PREFIX, dir=FOLDER_PARENT))
        # A daemon under test may run as another user.
        self.folder.chmod(0o755)
        for name in ("etc", "run", "lib", "log", "cache", "ch"):
            (self.folder / name).mkdir()
        return self.folder

    def start(self) -> None:
        """Start the first process. Only from the main thread: the kernel kills it when the starting *thread* ends."""
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("start a LabHost from the main thread, else it dies with the thread that started it")
        command = ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--net", "--pid", "--uts", "--ipc", "--fork"]
        command += ["--kill-child=KILL", "--mount-proc", "sh", str(INNER), str(self.folder), self.hostname]
        with (self.folder / "log" / "namespaces.log").open("w") as log:
            self._unshare = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
                env=os.environ | {"PATH": PATH},
            )
        pid = self._unshare.pid
        self._janitor = subprocess.Popen(
            ["sh", "-c", JANITOR, "nmlab-janitor", str(pid), str(self.folder)],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        (self.folder / "owner").write_text(f"{os.getpid()} {started(os.getpid())} {pid} {started(pid)}")
        assert self._unshare.stdout is not None
        with self._unshare.stdout as output:
            if output.readline() != "ready\n":
                log_text = (self.folder / "log" / "namespaces.log").read_text().strip()
                self.stop()
                raise RuntimeError(f"private namespaces did not start (needs root): {log_text}")
        self._init = eventually(lambda: child_of(pid), what="first process of the namespaces")
        self._init_descriptor = os.pidfd_open(self._init)

    def stop(self) -> None:
        """Kill everything inside and remove the folder; nothing is left when this returns."""
        if self._unshare is not None:
            self._unshare.kill()
            self._unshare.wait()
            self._unshare = None
        if self._init_descriptor >= 0:
            # The first process of a PID namespace is gone only once all the others are.
            await_end(self._init_descriptor, within=10.0)
            os.close(self._init_descriptor)
            self._init_descriptor = -1
        if self._janitor is not None:
            assert self._janitor.stdin is not None
            self._janitor.stdin.close()
            self._janitor.wait(timeout=20)
            self._janitor = None
        elif self.folder != Path():
            shutil.rmtree(self.folder, ignore_errors=True)

    def command(self, *arguments: str) -> list[str]:
        """The command line that runs `arguments` inside, from outside."""
        return [
            "nsenter",
            f"--target={self._init}",
            "--mount",
            "--net",
            "--pid",
            "--uts",
            "--ipc",
            "--",
            "env",
            f"PATH={PATH}",
            *arguments,
        ]


def sweep() -> None:
    """Remove what killed owners left: their processes, if any still lives, and their folders."""
    for folder in FOLDER_PARENT.glob(FOLDER_PREFIX + "*"):
        # Another process may be sweeping the same folder.
        with contextlib.suppress(FileNotFoundError):
            try:
                owner, owner_start, unshare, unshare_start = map(int, (folder / "owner").read_text().split())
            except (FileNotFoundError, NotADirectoryError, ValueError):
                if time.time() - folder.stat().st_mtime > GRACE_WITHOUT_OWNER:
                    shutil.rmtree(folder, ignore_errors=True)
                continue
            if started(owner) == owner_start:
                continue
            if started(unshare) == unshare_start:
                os.kill(unshare, signal.SIGKILL)
            shutil.rmtree(folder, ignore_errors=True)


def started(pid: int) -> int:
    """When the process started, in ticks since boot; 0 if there is none. With the PID it names a process for ever."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except (FileNotFoundError, ProcessLookupError):
        return 0


def child_of(parent: int) -> int:
    """The PID of a child of that process, 0 if it has none."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                if int((folder / "stat").read_text().rpartition(")")[2].split()[1]) == parent:
                    return int(folder.name)
    return 0


def await_end(pid_descriptor: int, *, within: float) -> None:
    """Wait until the process of a pidfd has ended; LabTimeout after `within` seconds."""
    poll = select.poll()
    poll.register(pid_descriptor, select.POLLIN)
    if not poll.poll(within * 1000):
        raise LabTimeout(f"a process of the lab did not end within {within:g} s")
