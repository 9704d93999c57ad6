"""A real systemd in namespaces of its own, with this checkout's nicmapd as a service, and a lab's libvirtd."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from types import TracebackType

from tests.lab.host import LabHost
from tests.lab.namespaces import PATH, await_end, child_of
from tests.lab.waiting import LabTimeout, eventually

TOP = Path(__file__).parents[2]
INNER = Path(__file__).with_name("systemd.sh")
CGROUPS = Path("/sys/fs/cgroup")
#: Up in 2 to 3 s; the rest is for a busy machine.
START = 40.0

_PROGRAM = """\
#!/usr/bin/python3 -I
import sys

sys.path[:0] = ["/usr/lib/nicmapd/app", "/usr/lib/nicmapd/site"]
from {module} import main

sys.exit(main())
"""


class CannotRun(Exception):
    """This machine does not allow it; the text says why."""


class SystemdHost:
    """Use as a context manager, from the main thread. `run` runs commands inside."""

    def __init__(self, lab: LabHost) -> None:
        self._lab = lab
        self._folder = Path()
        self._cgroups: list[Path] = []
        self._unshare: subprocess.Popen[bytes] | None = None
        self._init = 0

    def __enter__(self) -> SystemdHost:
        self._check()
        self._folder = Path(tempfile.mkdtemp(prefix="nmsystemd-", dir="/tmp"))
        try:
            self._furnish(self._folder / "root")
            self._make_cgroups()
            self._start()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stop()

    def _check(self) -> None:
        if not Path("/lib/systemd/systemd").exists():
            raise CannotRun("needs systemd (apt-get install systemd)")
        version = subprocess.run(
            ["/usr/bin/python3", "-c", "import sys; print(sys.version_info[:2])"], capture_output=True
        )
        if version.stdout.decode().strip() != str(sys.version_info[:2]):
            raise CannotRun("the tests' Python is not of /usr/bin/python3's version, which services use")
        if not os.access(CGROUPS, os.W_OK) or os.statvfs(CGROUPS).f_flag & os.ST_RDONLY:
            raise CannotRun("/sys/fs/cgroup cannot be written here (a container?)")

    def _furnish(self, root: Path) -> None:
        """What the package installs, at its places."""
        for source, target in (
            ("systemd/nicmapd.service", "lib/systemd/system"),
            ("systemd/nicmapd.socket", "lib/systemd/system"),
            ("systemd/sysusers.d/nicmapd.conf", "usr/lib/sysusers.d"),
            ("config/nicmapd.toml", "etc/nicmapd"),
        ):
            # /lib may be a link to usr/lib, which a copy over it must not replace.
            place = root / ("usr/" + target if target.startswith("lib/") else target)
            place.mkdir(parents=True, exist_ok=True)
            shutil.copy(TOP / source, place)
        app = root / "usr/lib/nicmapd/app"
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(TOP / "nicmapd", app / "nicmapd", ignore=ignored)
        shutil.copytree(TOP / "migrations", app / "nicmapd" / "migrations", ignore=ignored)
        (root / "usr/bin").mkdir()
        for program, module in (("nicmapd", "nicmapd.__main__"), ("nicmapctl", "nicmapd.cli")):
            (root / "usr/bin" / program).write_text(_PROGRAM.format(module=module))
        for path in root.rglob("*"):
            path.chmod(0o755 if path.is_dir() or path.parent.name == "bin" else 0o644)
        root.chmod(0o755)

    def _make_cgroups(self) -> None:
        """A cgroup for all of it, in each hierarchy: below it, systemd is on its own."""
        unified = (CGROUPS / "cgroup.controllers").exists()
        hierarchies = [CGROUPS] if unified else sorted(path for path in CGROUPS.iterdir() if path.is_dir())
        (self._folder / "cgroups").write_text(
            "".join(f"{path.name}\n" for path in hierarchies if not path.is_symlink())
        )
        for hierarchy in hierarchies:
            if hierarchy.is_symlink():
                continue
            group = hierarchy / self._folder.name
            try:
                group.mkdir()
            except OSError as error:
                raise CannotRun(f"no cgroup can be made here: {error}") from error
            self._cgroups.append(group)
            for name in ("cpuset.cpus", "cpuset.mems") if hierarchy.name == "cpuset" else ():
                (group / name).write_text((hierarchy / name).read_text())

    def _start(self) -> None:
        join = "".join(f"echo 0 > {group}/cgroup.procs; " for group in self._cgroups)
        site = sysconfig.get_path("purelib")
        inner = ["sh", str(INNER), str(self._folder), str(self._lab.folder / "run"), site]
        kinds = ["--mount", "--pid", "--cgroup", "--net", "--uts", "--ipc"]
        outer = ["setpriv", "--pdeathsig", "KILL", "unshare", *kinds, "--fork", "--kill-child=KILL", "--mount-proc"]
        with (self._folder / "log").open("wb") as log:
            self._unshare = subprocess.Popen(
                ["sh", "-e", "-c", f'{join}exec "$@"', "sh", *outer, *inner],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=os.environ | {"PATH": PATH},
            )
        try:
            eventually(self._up, within=START, what="a systemd that is up")
        except LabTimeout as error:
            raise CannotRun(f"systemd does not start here: {(self._folder / 'log').read_text()[-500:]}") from error

    def _up(self) -> bool:
        assert self._unshare is not None
        if self._unshare.poll() is not None:
            raise CannotRun(f"systemd does not start here: {(self._folder / 'log').read_text()[-500:]}")
        self._init = child_of(self._unshare.pid)
        return self._init != 0 and self.run("systemctl", "is-active", "basic.target", check=False) == "active\n"

    def _stop(self) -> None:
        if self._unshare is not None:
            descriptor = os.pidfd_open(self._init) if self._init else -1
            self._unshare.kill()
            self._unshare.wait()
            if descriptor >= 0:
                await_end(descriptor, within=20.0)
                os.close(descriptor)
        for group in self._cgroups:
            for folder, _, _ in os.walk(group, topdown=False):
                with contextlib.suppress(OSError):
                    Path(folder).rmdir()
        shutil.rmtree(self._folder, ignore_errors=True)

    # -- what can be done inside

    def run(self, *command: str, check: bool = True, within: float = 60.0) -> str:
        """What `command` printed to standard output, run inside as root; with `check`, it must have ended well."""
        kinds = ["--mount", "--net", "--pid", "--uts", "--ipc", "--cgroup"]
        done = subprocess.run(
            [
                "nsenter",
                f"--target={self._init}",
                *kinds,
                "--",
                "env",
                "-i",
                "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
                *command,
            ],
            capture_output=True,
            text=True,
            check=False,
            timeout=within,
        )
        if check and done.returncode != 0:
            raise AssertionError(f"{' '.join(command)}: {done.stdout}{done.stderr}{self.log()}")
        return done.stdout

    def write(self, path: str, text: str) -> None:
        """A file inside, readable by all."""
        quoted = ["sh", "-c", 'mkdir -p "$(dirname "$1")"; printf %s "$2" > "$1"', "sh", path, text]
        self.run(*quoted)

    def show(self, unit: str, *properties: str) -> dict[str, str]:
        """Properties of a unit."""
        told = self.run("systemctl", "show", unit, *(f"--property={name}" for name in properties))
        return dict(line.partition("=")[::2] for line in told.splitlines())

    def log(self, unit: str = "nicmapd") -> str:
        """The newest lines of a unit's journal."""
        return self.run("journalctl", "-u", unit, "-n", "30", "--no-pager", "-o", "cat", check=False)
