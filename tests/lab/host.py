"""A private libvirtd: in namespaces of its own, with networks and guests that no other libvirtd of the machine sees."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import signal
import subprocess
import tempfile
import uuid
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import libvirt

from tests.lab.definitions import AgentMode, GuestDefinition, Nic, lab_mac, network_xml
from tests.lab.guest import Guest
from tests.lab.image import Image, Progress, build_image, cache_folder
from tests.lab.namespaces import PATH, PrivateNamespaces, await_end, child_of
from tests.lab.waiting import Deadline, eventually

# program -> Debian package that has it
PROGRAMS = {
    "libvirtd": "libvirt-daemon",
    "qemu-system-x86_64": "qemu-system-x86",
    "dnsmasq": "dnsmasq-base",
    "ip": "iproute2",
    "nsenter": "util-linux",
    "unshare": "util-linux",
    "setpriv": "util-linux",
    "apt-get": "apt",
    "dpkg-deb": "dpkg",
}
DEBIAN_PACKAGES = (
    "qemu-system-x86 libvirt-daemon libvirt-daemon-driver-qemu libvirt-daemon-system libvirt-clients libvirt-dev "
    "ipxe-qemu seabios dnsmasq-base iptables iproute2"
)
# dynamic_ownership and remember_owner would leave extended attributes on the cached image, which outlive a killed lab;
# stdio_handler saves a virtlogd.
QEMU_CONF = """\
security_driver = "none"
user = "root"
group = "root"
cgroup_controllers = []
namespaces = []
dynamic_ownership = 0
remember_owner = 0
stdio_handler = "file"
"""
LIBVIRTD_CONF = """\
auth_unix_ro = "none"
auth_unix_rw = "none"
unix_sock_rw_perms = "0777"
host_uuid = "{host_uuid}"
"""
# libvirtd answers after 0.1 s with known capabilities and 1.5 s without; the rest is for a busy machine.
LIBVIRTD_START = 30.0


class LabHost:
    """A libvirtd with its guests and networks; use as a context manager, from the main thread.

    Several live side by side, as hosts of their own. All that runs inside ends with the process that started it.
    """

    def __init__(self, *, name: str = "lab", host_uuid: str = "", progress: Progress = lambda _: None) -> None:
        self.name = name
        self.host_uuid = host_uuid or str(uuid.uuid4())
        self.folder = Path()
        self.guests: dict[str, Guest] = {}
        self.image: Image
        self._progress = progress
        self._namespaces = PrivateNamespaces(hostname=name)
        self._libvirtd: subprocess.Popen[bytes] | None = None
        self._connection: libvirt.virConnect | None = None

    # --- life ---

    def start(self) -> LabHost:
        """Build the image if needed and start libvirtd; RuntimeError or ImageError says what is missing."""
        missing = sorted({package for program, package in PROGRAMS.items() if not _find_program(program)})
        if missing:
            raise RuntimeError(f"the lab needs {', '.join(missing)}: apt-get install {DEBIAN_PACKAGES}")
        # Errors are raised as well; libvirt's own printing of them would only confuse a test's output.
        libvirt.registerErrorHandler(lambda *_: None, None)
        self.image = build_image(progress=self._progress)
        self.folder = self._namespaces.prepare()
        (self.folder / "etc" / "qemu.conf").write_text(QEMU_CONF)
        (self.folder / "etc" / "libvirtd.conf").write_text(LIBVIRTD_CONF.format(host_uuid=self.host_uuid))
        self._load_capabilities()
        try:
            self._namespaces.start()
            self.start_libvirtd()
            self._save_capabilities()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """End libvirtd, guests and networks at once and remove everything; may be called twice."""
        for guest in self.guests.values():
            guest.shell.close()
        self.guests.clear()
        self._namespaces.stop()
        if self._libvirtd is not None:
            self._libvirtd.wait()
            self._libvirtd = None
        self._close_connection()

    def __enter__(self) -> LabHost:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    # --- libvirtd ---

    @property
    def socket(self) -> Path:
        """libvirtd's read-write socket, usable from outside the namespaces."""
        return self.folder / "run" / "libvirt-sock"

    @property
    def uri(self) -> str:
        """The connection URI, for any process of this machine."""
        return f"qemu+unix:///system?socket={self.socket}"

    @property
    def connection(self) -> libvirt.virConnect:
        """The lab's own connection, opened again after a restart of libvirtd. Blocks while libvirtd is paused."""
        if self._connection is not None:
            try:
                self._connection.getLibVersion()
            except libvirt.libvirtError:
                self._close_connection()
        if self._connection is None:
            self._connection = libvirt.open(self.uri)
        return self._connection

    def start_libvirtd(self, *, without: str = "") -> None:
        """Start libvirtd and wait until it answers; running guests are found again.

        `without` a driver ("network"), it is what virtqemud is while that other daemon is down.
        """
        drivers = [f"LIBVIRT_DRIVER_DIR={self._drivers(but=without)}"] if without else []
        with (self.folder / "log" / "libvirtd.log").open("ab") as log:
            self._libvirtd = subprocess.Popen(
                self._namespaces.command(*drivers, "libvirtd", "--pid-file", str(self.folder / "libvirtd.pid")),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        eventually(self._answers, within=LIBVIRTD_START, what=f"answer of libvirtd, see {log.name}")

    def _drivers(self, *, but: str) -> Path:
        """A folder of libvirt's drivers that lacks one."""
        (installed,) = Path("/usr").glob("lib*/**/libvirt/connection-driver")
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        for driver in installed.iterdir():
            if driver.name != f"libvirt_driver_{but}.so":
                (folder / driver.name).symlink_to(driver)
        return folder

    def stop_libvirtd(self, *, kill: bool = False) -> None:
        """End libvirtd by SIGTERM, or SIGKILL, and wait until it is gone; guests live on."""
        assert self._libvirtd is not None, "libvirtd is not running"
        self._close_connection()
        pid = self.libvirtd_pid
        descriptor = os.pidfd_open(pid)
        try:
            os.kill(pid, signal.SIGKILL if kill else signal.SIGTERM)
            await_end(descriptor, within=20.0)
        finally:
            os.close(descriptor)
        self._libvirtd.wait()
        self._libvirtd = None

    def restart_libvirtd(self, *, kill: bool = False, without: str = "") -> None:
        """Stop and start libvirtd; guests live on."""
        self.stop_libvirtd(kill=kill)
        self.start_libvirtd(without=without)

    def pause_libvirtd(self) -> None:
        """SIGSTOP: its socket still takes connections and requests, nobody answers."""
        os.kill(self.libvirtd_pid, signal.SIGSTOP)

    def resume_libvirtd(self) -> None:
        """SIGCONT after pause_libvirtd()."""
        assert self._libvirtd is not None, "libvirtd is not running"
        os.kill(self.libvirtd_pid, signal.SIGCONT)
        # nsenter stops together with its child.
        self._libvirtd.send_signal(signal.SIGCONT)

    def recover_libvirtd(self) -> None:
        """Make libvirtd run and answer, whether it was paused, stopped or killed."""
        if self._libvirtd is not None and self._libvirtd.poll() is None:
            self.resume_libvirtd()
        else:
            self.start_libvirtd()

    @property
    def libvirtd_pid(self) -> int:
        """libvirtd's PID as this process sees it."""
        process = self._libvirtd
        assert process is not None, "libvirtd is not running"
        return eventually(lambda: child_of(process.pid), what="PID of libvirtd")

    def enter(self, *command: str, within: float = 30.0) -> subprocess.CompletedProcess[str]:
        """Run a program inside the namespaces, e.g. `enter("ip", "-o", "link")`; its output as text."""
        return subprocess.run(self.enter_command(*command), capture_output=True, text=True, timeout=within)

    def enter_command(self, *command: str) -> list[str]:
        """The command line that runs a program inside the namespaces, e.g. for subprocess.Popen."""
        return self._namespaces.command(*command)

    # --- networks and guests ---

    def define_network(
        self,
        name: str = "default",
        *,
        bridge: str = "virbr0",
        subnet: str = "192.168.122.0/24",
        dhcp: bool = True,
        forward: str = "open",
    ) -> None:
        """Define and start a libvirt network; `forward` "nat" needs iptables, "" is an isolated network."""
        xml = network_xml(name, bridge=bridge, subnet=subnet, dhcp=dhcp, forward=forward)
        self.connection.networkDefineXML(xml).create()

    def guest(
        self,
        name: str,
        *,
        nics: Sequence[Nic] = (Nic(),),
        uuid_text: str = "",
        memory: int = 96,
        spare_ports: int = 8,
        agent_channel: bool = True,
        agent: AgentMode = "real",
        agent_options: Sequence[str] = (),
        kernel_options: Sequence[str] = (),
        dhcp: bool = False,
    ) -> Guest:
        """Define a guest (see GuestDefinition), not started. NICs without MAC get one by name and place."""
        with_macs = tuple(_with_mac(nic, lab_mac(name, number)) for number, nic in enumerate(nics))
        definition = GuestDefinition(
            name=name,
            uuid=uuid_text or str(uuid.uuid4()),
            nics=with_macs,
            memory=memory,
            spare_ports=spare_ports,
            agent_channel=agent_channel,
            agent=agent,
            agent_options=tuple(agent_options),
            kernel_options=tuple(kernel_options),
            dhcp=dhcp,
        )
        guest = Guest(self, definition)
        guest.define()
        self.guests[name] = guest
        return guest

    def boot(self, *guests: Guest, within: float = 60.0) -> None:
        """Boot guests side by side and wait until all are ready; LabTimeout after `within` seconds."""
        deadline = Deadline(within)
        for guest in guests:
            guest.create()
        for guest in guests:
            guest.wait_ready(within=deadline.left)

    # --- private ---

    def _answers(self) -> bool:
        assert self._libvirtd is not None
        status = self._libvirtd.poll()
        if status is not None:
            log = (self.folder / "log" / "libvirtd.log").read_text(errors="replace")
            raise RuntimeError(f"libvirtd ended with status {status}: {log[-1000:]}")
        try:
            return bool(self.connection.getLibVersion())
        except libvirt.libvirtError:
            return False

    def _close_connection(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(libvirt.libvirtError):
                self._connection.close()
            self._connection = None

    def _load_capabilities(self) -> None:
        saved = cache_folder() / "capabilities"
        if saved.is_dir():
            shutil.copytree(saved, self.folder / "cache", dirs_exist_ok=True)

    def _save_capabilities(self) -> None:
        """Keep what libvirtd found out about this QEMU: asking again costs 1.5 s. libvirt itself checks its age."""
        saved, found = cache_folder() / "capabilities", self.folder / "cache" / "qemu"
        if not found.is_dir() or ((saved / "qemu").is_dir() and _same_files(saved / "qemu", found)):
            return
        with tempfile.TemporaryDirectory(dir=saved.parent, prefix="capabilities-") as name:
            shutil.copytree(found, Path(name, "new", "qemu"))
            with contextlib.suppress(OSError):
                shutil.rmtree(saved, ignore_errors=True)
                # Fails if another lab was faster; then its copy is as good.
                Path(name, "new").rename(saved)


def _same_files(left: Path, right: Path) -> bool:
    def contents(folder: Path) -> dict[Path, bytes]:
        return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    return contents(left) == contents(right)


def _find_program(program: str) -> str | None:
    return shutil.which(program, path=PATH)


def _with_mac(nic: Nic, mac: str) -> Nic:
    return nic if nic.mac else dataclasses.replace(nic, mac=mac)
