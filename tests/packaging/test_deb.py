"""The Debian package in a fresh Debian of its own: install, upgrade with a map in the store, remove, purge.

Takes minutes and a Debian mirror, so `make test-package` asks for it (NICMAPD_TEST_PACKAGE=1); `make test` has the
wheel (test_wheel.py) and the units under a real systemd (tests/live/test_systemd.py).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from nicmapd import __version__

TOP = Path(__file__).parents[2]
RELEASE = "bookworm"
#: Older than any version of ours.
OLD = "0.0.1"

#: Puts a VM with a past into the store of the installed package, as the daemon does.
_FILL = """
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from nicmapd import store
from nicmapd.clock import SystemClock
from nicmapd.model import (AgentState, AgentStatus, Change, ChangeKind, DomainState, HostNic, NameSource, Naming,
    NicEntry, Verdict, VmEntry, VmRef)
import socket
now = datetime.now(UTC)
opened = store.open_store("sqlite:////var/lib/nicmapd/map.db", host=socket.gethostname(), clock=SystemClock())
naming = Naming(Verdict.NAMED, "eth0", NameSource.PROBE, "verified")
nic = NicEntry("n1", HostNic("52:54:00:00:00:01", "network", "net0", network="default"), naming, now, name_since=now)
vm = VmRef("6d41c6a2-0d5c-4b4a-a0a6-3b1f4e0f8a11", "web1")
entry = VmEntry(vm, socket.gethostname(), DomainState.RUNNING, True, AgentStatus(AgentState.OK, now, "answers"), (nic,))
opened.apply(entry, [Change(ChangeKind.VM_ADDED, "web1 is new")], at=now - timedelta(hours=2))
renamed = replace(entry, nics=(replace(nic, naming=replace(naming, name="lan0")),))
change = Change(ChangeKind.NIC_RENAMED, "eth0 renamed to lan0", nic_id="n1")
opened.apply(renamed, [change], at=now - timedelta(hours=1))
opened.close()
"""

#: Starts the daemon as its user, without libvirt, until its socket is there; asks it; stops it.
_SERVE = """
install -d -o nicmapd -g nicmapd /run/nicmapd
setpriv --reuid nicmapd --regid nicmapd --init-groups nicmapd --config /etc/nicmapd/nicmapd.toml 2>/tmp/log & daemon=$!
for _ in $(seq 100); do [ -S /run/nicmapd/api.sock ] && break; sleep 0.1; done
nicmapctl list --json; nicmapctl history web1
kill $daemon; wait $daemon; echo "ended $?"
"""


def _why_not() -> str:
    if os.environ.get("NICMAPD_TEST_PACKAGE") != "1":
        return "takes minutes: make test-package"
    if os.geteuid() != 0:
        return "needs root"
    missing = [tool for tool in ("mmdebstrap", "dpkg-buildpackage", "dh") if shutil.which(tool) is None]
    return f"needs {', '.join(missing)} (tools/packages-deb.txt)" if missing else ""


pytestmark = pytest.mark.skipif(bool(_why_not()), reason=_why_not() or "can run")


def build(tree: Path, output: Path, *options: str) -> Path:
    """Builds the package of `tree`; downloads are kept in this checkout's cache."""
    (TOP / ".cache" / "deb").mkdir(parents=True, exist_ok=True)
    if tree != TOP:
        (tree / ".cache").mkdir(exist_ok=True)
        (tree / ".cache" / "deb").symlink_to(TOP / ".cache" / "deb")
    command = [str(tree / "tools" / "build-deb"), "--output", str(output), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (package,) = output.glob("nicmapd_*.deb")
    return package


def earlier_tree(folder: Path) -> Path:
    """The oldest commit of this checkout that has all the package's parts; without a history, this tree again."""
    parts = ("tools/build-deb", "debian/rules", "completions/fish/nicmapctl.fish", "contrib")
    git = ["git", "-C", str(TOP)]
    log = subprocess.run([*git, "log", "--format=%H", "--", *parts], capture_output=True, text=True, check=False)
    for commit in reversed(log.stdout.split()):
        have = [subprocess.run([*git, "cat-file", "-e", f"{commit}:{part}"], capture_output=True) for part in parts]
        if all(one.returncode == 0 for one in have):
            archive = folder / "tree.tar"
            subprocess.run([*git, "archive", "--output", str(archive), commit], check=True)
            (folder / "tree").mkdir()
            with tarfile.open(archive) as opened:
                opened.extractall(folder / "tree", filter="data")
            return folder / "tree"
    return TOP


@dataclass(frozen=True)
class Root:
    """A Debian in a folder."""

    path: Path

    def run(self, script: str, *, fail: bool = False) -> str:
        """What the shell script printed, in a process and mount namespace of its own, as root."""
        environment = {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "DEBIAN_FRONTEND": "noninteractive",
            "LC_ALL": "C.UTF-8",
        }
        proxies = {name: value for name, value in os.environ.items() if name.lower().endswith("_proxy")}
        inside = ["unshare", "--mount", "--pid", "--fork", "--kill-child", f"--mount-proc={self.path}/proc"]
        done = subprocess.run(
            [*inside, "chroot", str(self.path), "/bin/sh", "-e", "-c", script],
            env=environment | proxies,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert (done.returncode != 0) == fail, f"{script}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
        return done.stdout + done.stderr

    def install(self, package: Path) -> str:
        shutil.copy(package, self.path / "root")
        return self.run(f"apt-get install -q -y --no-install-recommends /root/{package.name}")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Root]:
    path = tmp_path_factory.mktemp("fresh") / "root"
    command = ["mmdebstrap", "--quiet", "--variant=apt", "--skip=cleanup/apt/lists", RELEASE, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"no Debian mirror: {done.stderr.strip().splitlines()[-1:]}")
    for name in ("resolv.conf", "hosts"):
        shutil.copy(f"/etc/{name}", path / "etc" / name)
    # dpkg leaves manual pages out of small systems; a host has them.
    for file in (path / "etc/dpkg/dpkg.cfg.d").glob("*"):
        file.unlink()
    yield Root(path)
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("old")
    return build(earlier_tree(folder), folder / "out", "--version", OLD)


@pytest.fixture(scope="module")
def new(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(TOP, tmp_path_factory.mktemp("new"))


# The tests are one story in one root, in this order.


def test_it_installs_on_a_bare_debian(root: Root, old: Path) -> None:
    told = root.install(old)
    assert "Setting up nicmapd" in told
    assert not [line for line in told.lower().splitlines() if "error" in line or "failed" in line]
    assert OLD in root.run("nicmapd --version")
    assert root.run("id -nG nicmapd").split() == ["nicmapd", "libvirt"]
    assert root.run("stat -c '%U:%G %a' /etc/nicmapd/nicmapd.toml").strip() == "root:root 644"
    assert root.run("getent passwd nicmapd").strip().endswith("/usr/sbin/nologin")


def test_its_configuration_is_good_and_its_pages_are_there(root: Root) -> None:
    root.run("nicmapd --config /etc/nicmapd/nicmapd.toml --check-config")
    for page in ("man8/nicmapd.8", "man1/nicmapctl.1", "man5/nicmapd.toml.5"):
        assert "nicmap" in root.run(f"zcat /usr/share/man/{page}.gz")
    for file in (
        "bash-completion/completions/nicmapctl",
        "zsh/vendor-completions/_nicmapctl",
        "fish/vendor_completions.d/nicmapctl.fish",
        "doc/nicmapd/examples/prometheus/nicmapd.rules.yml",
    ):
        assert (root.path / "usr/share" / file).is_file(), file
    assert "does not answer" in root.run("nicmapctl status", fail=True)


def test_an_upgrade_keeps_the_map_and_its_history(root: Root, new: Path) -> None:
    (root.path / "tmp/fill.py").write_text(_FILL)
    root.run("install -d -o nicmapd -g nicmapd -m 700 /var/lib/nicmapd")
    root.run("setpriv --reuid nicmapd --regid nicmapd --init-groups /usr/lib/nicmapd/bin/python3 -I /tmp/fill.py")
    (root.path / "etc/nicmapd/nicmapd.toml").write_text('[log]\nlevel = "debug"\n')
    root.install(new)
    assert root.run("nicmapd --version").split()[-1] == __version__
    assert root.run("cat /etc/nicmapd/nicmapd.toml") == '[log]\nlevel = "debug"\n'
    told = root.run(_SERVE)
    assert '"name": "lan0"' in told
    assert "eth0" in told
    assert told.rstrip().endswith("ended 0"), told


def test_what_the_daemon_leaves_is_not_in_the_way_of_a_removal(root: Root) -> None:
    told = root.run("apt-get remove -q -y nicmapd")
    assert "not empty" not in told
    assert not (root.path / "usr/lib/nicmapd").exists()
    assert (root.path / "var/lib/nicmapd/map.db").exists()
    assert (root.path / "etc/nicmapd/nicmapd.toml").exists()


def test_a_purge_leaves_nothing(root: Root) -> None:
    root.run("apt-get purge -q -y nicmapd")
    left = root.run(
        "find / -xdev -path /proc -prune -o -path /tmp -prune -o -path /root -prune -o -name '*nicmap*' -print"
    )
    kept = {"/var/lib/dpkg/triggers", "/var/cache/apt"}
    assert [path for path in left.split() if not any(path.startswith(one) for one in kept)] == []
    assert root.run("dpkg -l nicmapd 2>&1 || true").find("ii") == -1


def test_it_can_be_installed_again(root: Root, new: Path) -> None:
    root.install(new)
    assert root.run("nicmapd --version").split()[-1] == __version__
