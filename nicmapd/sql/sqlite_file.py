"""The file of an SQLite store: whose it is, the lock beside it, and how it is moved out of the way. No SQL.

A mistyped `store.url` may name any file of the machine, and the daemon may be root: whatever is not surely nicmapd's is
refused and left as it is, and nothing is put beside it.
"""

from __future__ import annotations

import fcntl
import os
import re
import stat
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from nicmapd.errors import Invalid, StoreCorrupt, StoreLocked, Unavailable
from nicmapd.text import printable

#: The first bytes of every SQLite file, and of a rollback journal.
_MAGIC = b"SQLite format 3\0"
_JOURNAL_MAGIC = bytes.fromhex("d9d505f920a163d7")

_SIDE_FILES = ("-wal", "-shm", "-journal")

#: `<file>.lock`: who has it (the first line), and which file has been nicmapd's store (the second). Both have one
#: length, so that writing them anew needs no space. Before there was a second line the first was shorter.
_HOLDER = "{:<10}\n"
_MARK = "a store of nicmapd, inode {:<20}\n"
_MARK_AT = len(_HOLDER.format(0))
_LOCK = re.compile(rb"(?P<holder>\d*)[ \0]*\n?(a store of nicmapd, inode (?P<inode>\d+) *\n)?")


def make_directory(directory: Path) -> None:
    """The directory of the store, if only that is missing. Raises `Unavailable`."""
    try:
        directory.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise Unavailable(f"the directory {directory} of the store cannot be made: {error.strerror}") from error


def lock(path: Path) -> int:
    """The descriptor that holds `<file>.lock` for this process; the kernel lets go of it whatever ends the process.

    Raises `StoreLocked`, `Unavailable`, and `Invalid` where that file is something else's (`yarn.lock`), or would be
    made beside a file that is not ours.
    """
    name = f"{path}.lock"
    # Without a lock nobody of ours has the file open. (Where one has, looking into it here and closing it again would
    # take SQLite's own locks away, if it is this process.)
    if not os.path.lexists(name):
        look(path, None)
    try:
        # Not through a link, nor waiting for the other end of a pipe: what is written below must go to a lock.
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        descriptor = os.open(name, flags, 0o600)
    except OSError as error:
        raise Unavailable(f"{path} cannot be locked: {name}: {error.strerror}") from error
    try:
        _take(path, descriptor)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _take(path: Path, descriptor: int) -> None:
    found = _read(descriptor)
    if found is None:
        raise Invalid(f"{path}.lock is not a lock of nicmapd and was not touched; give store.url another file")
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.pwrite(descriptor, _HOLDER.format(os.getpid()).encode(), 0)
    except BlockingIOError as error:
        holder = found["holder"].decode("ascii")
        raise StoreLocked(
            f"{path} is in use by another nicmapd (process {holder or 'unknown'}); "
            "stop that one, or give this one another store.url",
            holder=holder,
        ) from error
    except OSError:  # no space for the number, or no flock here; the lock itself may be held
        if not _holds(descriptor):
            raise Unavailable(f"{path} cannot be locked: this file system has no locks") from None


def _read(descriptor: int) -> re.Match[bytes] | None:
    """What the lock file says; None if it is no lock of ours."""
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        return None
    return _LOCK.fullmatch(os.pread(descriptor, 200, 0))


def _holds(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def make_file(path: Path, locked: int) -> None:
    """The file, if it is missing, and its mode: names of guests are nobody's business. The log inherits the mode.

    The lock says from now on that this file is ours.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Unavailable(f"{path} cannot be opened for writing: {error.strerror}") from error
    try:
        status = os.fstat(descriptor)
        if stat.S_IMODE(status.st_mode) != 0o600:
            with suppress(PermissionError):
                os.fchmod(descriptor, 0o600)
    finally:
        os.close(descriptor)
    with suppress(OSError):  # no space: it is marked the next time
        os.pwrite(locked, _MARK.format(status.st_ino).encode(), _MARK_AT)


def look(path: Path, locked: int | None) -> bool:
    """Whether there is a database to open; False: no file, or an empty one. `locked` is its lock, if there is one.

    Raises `Invalid` for what is not ours, `StoreCorrupt` for what was: one that begins like an SQLite file, or that
    the lock knows, with whatever is in it now.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise Invalid(f"{path} is not a file but {_kind(status.st_mode)}; give store.url a file")
        with path.open("rb") as file:
            header = file.read(len(_MAGIC))
    except FileNotFoundError:
        return False
    except OSError as error:
        raise Unavailable(f"{path} cannot be read: {error.strerror}") from error
    if not header:
        return False
    if header == _MAGIC or _was_being_made(path, header):
        return True
    if locked is not None and _marked(locked) == status.st_ino:
        raise StoreCorrupt(f"{path} is damaged (it does not begin as an SQLite file any more)", fault="corrupt")
    raise Invalid(
        f"{path} is not an SQLite database and was not touched; give store.url another file "
        "(or move this one away, if it is what is left of nicmapd's)"
    )


def unfinished(path: Path) -> bool:
    """Whether there is a rollback journal: it must be played back first. A kill while the file was made leaves one."""
    return Path(f"{path}-journal").exists()


def _was_being_made(path: Path, header: bytes) -> bool:
    """Whether a kill has left a file whose first page was not written yet."""
    if any(header):
        return False
    try:
        with Path(f"{path}-journal").open("rb") as journal:
            return journal.read(len(_JOURNAL_MAGIC)) == _JOURNAL_MAGIC
    except OSError:
        return False


def _marked(locked: int) -> int | None:
    """The inode of the file that was nicmapd's store when it was opened the last time."""
    found = _read(locked)
    return int(found["inode"]) if found is not None and found["inode"] is not None else None


def _kind(mode: int) -> str:
    return "a directory" if stat.S_ISDIR(mode) else "a device, a pipe or a socket"


def set_aside(path: Path, at: datetime) -> Path:
    """Moves a damaged file and its log out of the way, to `<file>.corrupt-<time>`, and returns the new path.

    Raises `Invalid` where `look` does.
    """
    locked = lock(path)
    try:
        with suppress(StoreCorrupt):
            look(path, locked)
        target = _free_name(path.with_name(f"{path.name}.corrupt-{at:%Y%m%dT%H%M%SZ}"))
        # The file last: a log that stayed behind would be played into the new file.
        for suffix in (*_SIDE_FILES, ""):
            with suppress(FileNotFoundError):
                Path(f"{path}{suffix}").rename(f"{target}{suffix}")
    except OSError as error:
        raise Unavailable(f"{path} cannot be moved aside: {error.strerror}") from error
    finally:
        os.close(locked)
    return target


def _free_name(path: Path) -> Path:
    candidate, number = path, 1
    while candidate.exists():
        candidate, number = path.with_name(f"{path.name}.{number}"), number + 1
    return candidate


def resolved(name: str) -> Path:
    """The file of that name, with symbolic links followed: one file has one lock. Raises `Invalid` for a loop."""
    try:
        return Path(name).resolve()
    except (RuntimeError, OSError):
        raise Invalid(f"store.url: {printable(name)} is a symbolic link that leads nowhere") from None
