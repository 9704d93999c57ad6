"""Builds the guests' kernel and initramfs from Debian packages, once, into a cache.

A guest is Debian's cloud kernel, busybox, the real qemu-guest-agent with its libraries, and the scripts of `rootfs/`.
Nothing is installed: packages are downloaded with apt-get and unpacked with dpkg-deb.
"""

from __future__ import annotations

import fcntl
import hashlib
import lzma
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.lab.cpio import CpioArchive

HERE = Path(__file__).resolve().parent
ROOTFS = HERE / "rootfs"

KERNEL_METAPACKAGE = "linux-image-cloud-amd64"
# qemu-ga's libraries are all taken from packages, never from this machine: the image is the same everywhere.
PACKAGES = (
    "qemu-guest-agent",
    "busybox-static",
    "libc6",
    "libglib2.0-0",
    "libnuma1",
    "libpcre2-8-0",
    "libudev1",
    "liburing2",
)
# In the order in which they must be loaded.
BOOT_MODULES = (
    "virtio_ring",
    "virtio",
    "virtio_pci_legacy_dev",
    "virtio_pci_modern_dev",
    "virtio_pci",
    "virtio_console",
    "failover",
    "net_failover",
    "virtio_net",
)
# Loaded in the guest by `lab-load`, when a test wants such a link.
LATER_MODULES = ("tls", "bonding", "llc", "stp", "garp", "mrp", "8021q", "bridge", "macvlan", "dummy", "veth")
APT_LISTS = Path("/var/lib/apt/lists")
# Another checkout may run guests on an image of an older recipe; a day is longer than any such run.
KEEP_OLD_IMAGES = 24 * 3600.0

Progress = Callable[[str], None]


class ImageError(RuntimeError):
    """The image cannot be built; the text says which step failed and why."""


@dataclass(frozen=True, slots=True)
class Image:
    """What a guest boots from."""

    kernel: Path
    initrd: Path


def cache_folder() -> Path:
    """Where the lab keeps what is slow to make: `$NICMAPD_LAB_CACHE`, else `.cache/lab` of this checkout."""
    return Path(os.environ.get("NICMAPD_LAB_CACHE") or HERE.parents[1] / ".cache" / "lab").absolute()


def _quiet(_: str) -> None:
    pass


def build_image(*, progress: Progress = _quiet) -> Image:
    """The image of today's recipe and package versions: from the cache, else built now (about 5 s and 30 MB).

    Any number of processes may call this at once. Without network the newest image of the same recipe serves, whatever
    its package versions. Raises ImageError.
    """
    cache = cache_folder()
    cache.mkdir(parents=True, exist_ok=True)
    with _locked(cache / "lock", progress):
        recipe = _recipe_hash()
        try:
            versions = _package_versions(progress)
            folder = cache / f"image-{recipe}-{_hash(repr(sorted(versions.items())).encode())}"
            if not folder.exists():
                _build(folder, versions, progress)
                _remove_old_images(cache, keep=folder)
        except ImageError as error:
            folder = _newest_image(cache, recipe, error)
            progress(f"image: kept {folder.name}, because of: {error}")
    return Image(kernel=folder / "kernel", initrd=folder / "initrd")


@contextmanager
def _locked(path: Path, progress: Progress) -> Iterator[None]:
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress("image: waiting for another process that is building it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:12]


def _recipe_hash() -> str:
    files = [HERE / "image.py", HERE / "cpio.py", *sorted(path for path in ROOTFS.rglob("*") if path.is_file())]
    return _hash(b"\0".join(str(path.relative_to(HERE)).encode() + b"\0" + path.read_bytes() for path in files))


def _newest_image(cache: Path, recipe: str, error: ImageError) -> Path:
    images = sorted(cache.glob(f"image-{recipe}-*"), key=lambda path: path.stat().st_mtime)
    if not images:
        raise error
    return images[-1]


def _remove_old_images(cache: Path, *, keep: Path) -> None:
    for folder in cache.glob("image-*"):
        if folder != keep and time.time() - folder.stat().st_mtime > KEEP_OLD_IMAGES:
            shutil.rmtree(folder, ignore_errors=True)


def _run(*command: str, cwd: Path | None = None) -> str:
    """Run a program and return what it printed; ImageError with its last words if it fails or is not there."""
    try:
        done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=600)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ImageError(f"{' '.join(command)}: {error}") from error
    if done.returncode:
        raise ImageError(f"{' '.join(command)}: exit status {done.returncode}: {done.stderr.strip()[-500:]}")
    return done.stdout


def _package_versions(progress: Progress) -> dict[str, str]:
    """Name -> version that apt would install now, of all packages that the image is made of."""
    # apt takes 1 s to tell; its lists' date says whether it would tell the same as last time.
    known = cache_folder() / "versions"
    stamp = f"{APT_LISTS.stat().st_mtime_ns if APT_LISTS.exists() else 0} {KERNEL_METAPACKAGE} {' '.join(PACKAGES)}\n"
    if known.exists() and (text := known.read_text()).startswith(stamp):
        return dict(line.split(" ", 1) for line in text.splitlines()[1:])
    try:
        versions = _known_versions()
    except ImageError:
        progress("image: apt knows no such packages yet, running apt-get update")
        _run("apt-get", "-q", "-o", "Acquire::http::Timeout=20", "update")
        return _known_versions()
    known.write_text(stamp + _version_lines(versions))
    return versions


def _version_lines(versions: dict[str, str]) -> str:
    return "".join(f"{name} {version}\n" for name, version in versions.items())


def _known_versions() -> dict[str, str]:
    metapackage = _run("apt-cache", "show", "--no-all-versions", KERNEL_METAPACKAGE)
    kernel = re.search(r"^Depends:.*?\b(linux-image-[^ ,]+)", metapackage, re.MULTILINE)
    if kernel is None:
        raise ImageError(f"{KERNEL_METAPACKAGE} depends on no linux-image-* package")
    wanted = (kernel[1], *PACKAGES)
    shown = _run("apt-cache", "show", "--no-all-versions", *wanted)
    versions = dict(re.findall(r"^Package: (\S+)\n(?:.+\n)*?Version: (\S+)$", shown, re.MULTILINE))
    missing = [name for name in wanted if name not in versions]
    if missing:
        raise ImageError(f"apt knows no package {', '.join(missing)}")
    return {name: versions[name] for name in wanted}


def _build(folder: Path, versions: dict[str, str], progress: Progress) -> None:
    started = time.monotonic()
    archives = _download(folder.parent / "packages", versions, progress)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="building-") as name:
        unpacked, made = Path(name, "unpacked"), Path(name, "made")
        made.mkdir()
        progress("image: unpacking packages")
        for archive in archives:
            _run("dpkg-deb", "-x", str(archive), str(unpacked))
        progress("image: writing kernel and initramfs")
        (made / "kernel").write_bytes(_plain_kernel(unpacked))
        (made / "initrd").write_bytes(_initramfs(unpacked))
        (made / "versions").write_text(_version_lines(versions))
        made.rename(folder)
    progress(f"image: built {folder} in {time.monotonic() - started:.1f} s")


def _download(packages: Path, versions: dict[str, str], progress: Progress) -> list[Path]:
    packages.mkdir(exist_ok=True)

    def archive(name: str) -> Path | None:
        return next(packages.glob(f"{name}_{versions[name].replace(':', '%3a')}_*.deb"), None)

    missing = [f"{name}={version}" for name, version in versions.items() if archive(name) is None]
    if missing:
        progress(f"image: downloading {' '.join(missing)}")
        # apt's unprivileged user may not be able to write into the cache folder.
        _run("apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", *missing, cwd=packages)
    found = [archive(name) for name in versions]
    if None in found:
        raise ImageError(f"apt-get download left no archive of some of {', '.join(versions)} in {packages}")
    return [path for path in found if path is not None]


def _plain_kernel(unpacked: Path) -> bytes:
    return next(unpacked.glob("boot/vmlinuz-*")).read_bytes()


def _initramfs(unpacked: Path) -> bytes:
    archive = CpioArchive()
    for folder in ("proc", "sys", "dev", "run", "tmp", "etc", "var"):
        archive.folder(folder)
    archive.link("var/run", "/run")
    archive.device("dev/console", major=5, minor=1)
    for path in sorted(ROOTFS.rglob("*")):
        if path.is_file():
            archive.file(str(path.relative_to(ROOTFS)), path.read_bytes(), mode=0o755)
    busybox = unpacked / "bin" / "busybox"
    archive.file("bin/busybox", busybox.read_bytes(), mode=0o755)
    for applet in _run(str(busybox), "--list").split():
        if applet != "busybox":
            archive.link(f"bin/{applet}", "busybox")
    archive.file("usr/sbin/qemu-ga", (unpacked / "usr/sbin/qemu-ga").read_bytes(), mode=0o755)
    for name, library in _libraries(unpacked):
        archive.file(name, library.read_bytes(), mode=0o755)
    for module in (*BOOT_MODULES, *LATER_MODULES):
        archive.file(f"lib/modules/{module}.ko", _module(unpacked, module))
    archive.file("etc/modules.boot", "".join(f"{module}\n" for module in BOOT_MODULES).encode())
    archive.file("etc/passwd", b"root:x:0:0:root:/:/bin/sh\n")
    return archive.finish()


def _libraries(unpacked: Path) -> Iterator[tuple[str, Path]]:
    """(path in the guest, file) of the loader and of all libraries of qemu-ga."""
    loader = unpacked / "lib64/ld-linux-x86-64.so.2"
    if not loader.exists():
        # The link in the package is absolute or relative depending on the release; the file itself is always here.
        loader = next(unpacked.glob("**/ld-linux-x86-64.so.2"))
    yield "lib64/ld-linux-x86-64.so.2", loader
    folders = [unpacked / "lib/x86_64-linux-gnu", unpacked / "usr/lib/x86_64-linux-gnu"]
    search = ":".join(map(str, folders))
    listed = _run(str(loader), "--library-path", search, "--list", str(unpacked / "usr/sbin/qemu-ga"))
    for name, path in re.findall(r"^\s*(\S+) => (\S+)", listed, re.MULTILINE):
        if not Path(path).is_relative_to(unpacked):
            raise ImageError(f"qemu-ga needs {name}, which none of the packages {', '.join(PACKAGES)} holds")
        yield f"lib/x86_64-linux-gnu/{name}", Path(path)


def _module(unpacked: Path, name: str) -> bytes:
    path = next(unpacked.glob(f"lib/modules/*/kernel/**/{name}.ko*"), None)
    if path is None:
        raise ImageError(f"the kernel package holds no module {name}")
    content = path.read_bytes()
    return lzma.decompress(content) if path.suffix == ".xz" else content
