"""Writes a Linux initramfs: the "newc" cpio format, with nothing but the standard library, the same bytes each time."""

from __future__ import annotations

import stat
from pathlib import PurePosixPath


class CpioArchive:
    """An archive in memory. Parent folders are added by themselves; everything is owned by root, dated 1970."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._names: set[str] = set()

    def folder(self, path: str, *, mode: int = 0o755) -> None:
        """Add a folder, and those above it."""
        if path in self._names or path in ("", "."):
            return
        self._parents(path)
        self._entry(path, stat.S_IFDIR | mode, b"")

    def file(self, path: str, content: bytes, *, mode: int = 0o644) -> None:
        """Add a regular file."""
        self._parents(path)
        self._entry(path, stat.S_IFREG | mode, content)

    def link(self, path: str, target: str) -> None:
        """Add a symbolic link to `target`."""
        self._parents(path)
        self._entry(path, stat.S_IFLNK | 0o777, target.encode())

    def device(self, path: str, *, major: int, minor: int) -> None:
        """Add a character device, mode 0600: the kernel opens /dev/console before anything is mounted."""
        self._parents(path)
        self._entry(path, stat.S_IFCHR | 0o600, b"", major, minor)

    def finish(self) -> bytes:
        """The whole archive."""
        self._entry("TRAILER!!!", 0, b"")
        return b"".join(self._parts)

    def _parents(self, path: str) -> None:
        self.folder(str(PurePosixPath(path).parent))

    def _entry(self, path: str, mode: int, content: bytes, major: int = 0, minor: int = 0) -> None:
        self._names.add(path)
        name = path.encode() + b"\0"
        # inode, mode, uid, gid, links, mtime, size, device (2), special device (2), length of the name, checksum
        fields = (len(self._names), mode, 0, 0, 1, 0, len(content), 0, 0, major, minor, len(name), 0)
        header = b"070701" + b"".join(b"%08X" % field for field in fields)
        self._parts.append(_padded(header + name) + _padded(content))


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)
