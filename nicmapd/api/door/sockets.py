"""The sockets that the api listens on, bound by us: uvicorn would make its Unix socket 0666."""

from __future__ import annotations

import contextlib
import errno
import grp
import ipaddress
import logging
import os
import socket
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nicmapd.config import ApiConfig
from nicmapd.errors import ConfigError, Unavailable

_log = logging.getLogger(__name__)

#: Who may connect: root and the members of the group `api.read_group`, where the host has it.
MODE = 0o660
BACKLOG = 128


def open_sockets(settings: ApiConfig, inherited: Sequence[socket.socket] = ()) -> list[socket.socket]:
    """The `inherited` listening sockets (the service manager's) and those that `settings` ask for besides.

    Raises `Unavailable`, or `ConfigError` for what the configuration forbids, with what to do; all are closed then.
    """
    found: list[socket.socket] = list(inherited)
    paths = {one.getsockname() for one in inherited if one.family == socket.AF_UNIX}
    try:
        if settings.socket and settings.socket not in paths:
            found.append(listen_unix(Path(settings.socket), group=settings.read_group))
        if settings.listen:
            found.extend(listen_tcp(settings.listen))
        check_exposure(found, settings)
    except BaseException:
        close_sockets(found)
        raise
    return found


class UnixListener(socket.socket):
    """A listening Unix socket that takes its file along when `close_sockets` closes it."""

    path: Path | None = None
    inode: tuple[int, int] = (0, 0)

    def remove_file(self) -> None:
        """Removes the socket file, unless it is that of another daemon by now."""
        if self.path is None:
            return
        with contextlib.suppress(OSError):
            found = self.path.lstat()
            if (found.st_dev, found.st_ino) == self.inode:
                self.path.unlink()


def close_sockets(sockets: Sequence[socket.socket]) -> None:
    """Ends listening; files of Unix sockets are removed."""
    for one in sockets:
        if isinstance(one, UnixListener):
            one.remove_file()
        one.close()


def listen_unix(path: Path, *, mode: int = MODE, group: str = "nicmapd") -> UnixListener:
    """A listening Unix socket at `path`, at no moment open to more than `mode` says.

    A socket file that nobody listens on any more is replaced. Raises `Unavailable` if somebody does, if something
    else than a socket is there, or if it cannot be made.
    """
    _check_directory(path)
    _make_room(path)
    listener = UnixListener(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # Linux makes the file with the socket's own mode less the umask (unix(7) says it of the umask only): this
        # needs neither a change of the umask, which is the whole process's, nor a rename, after which `ss -xl` and
        # getpeername would show a name that is not there any more.
        os.fchmod(listener.fileno(), mode)
        listener.bind(str(path))
        made = path.lstat()
        listener.path, listener.inode = path, (made.st_dev, made.st_ino)
        _give_to_group(path, group)
        path.chmod(mode)
        listener.listen(BACKLOG)
    except OSError as error:
        close_sockets([listener])
        raise Unavailable(
            f"api.socket: cannot listen on {path}: {error.strerror or error}; its directory must exist and be ours"
        ) from error
    listener.setblocking(False)
    return listener


def _check_directory(path: Path) -> None:
    """Raises `Unavailable` if anybody could put another socket in the place of ours, and be asked instead of us."""
    with contextlib.suppress(OSError):  # what else is wrong with it, bind says
        mode = path.parent.stat().st_mode
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            raise Unavailable(
                f"api.socket: anybody may replace files in {path.parent} (mode {stat.S_IMODE(mode):04o}): "
                f"`chmod o-w {path.parent}`, or put the socket elsewhere"
            )


def _make_room(path: Path) -> None:
    """Removes the socket file of a dead daemon. Raises `Unavailable` if anything else is there."""
    try:
        kind = path.lstat().st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise Unavailable(f"api.socket: cannot look at {path}: {error.strerror}") from error
    if not stat.S_ISSOCK(kind):
        raise Unavailable(f"api.socket: {path} is there and is not a socket; nicmapd does not replace it")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as trial:
        trial.settimeout(1.0)
        try:
            trial.connect(str(path))
        except ConnectionRefusedError:
            with contextlib.suppress(FileNotFoundError):
                path.unlink()  # left over from a daemon that died
            return
        except FileNotFoundError:
            return  # gone this moment
        except OSError as error:
            # EAGAIN and time-out: its queue is full, so somebody listens.
            raise Unavailable(f"api.socket: {path} is in use: {error.strerror or error}") from error
    raise Unavailable(f"api.socket: another program (another nicmapd?) listens on {path}; stop it first")


def regroup(listeners: Sequence[socket.socket], group: str) -> None:
    """Gives the files of our Unix sockets to another group."""
    for one in listeners:
        if isinstance(one, UnixListener) and one.path is not None:
            _give_to_group(one.path, group)


def _give_to_group(path: Path, group: str) -> None:
    try:
        number = grp.getgrnam(group).gr_gid
    except KeyError:
        return
    try:
        if path.stat().st_gid == number:
            return  # the service's own group; its sandbox would not let it change that either
        os.chown(path, -1, number)
    except PermissionError:
        _log.warning("api.socket: may not give %s to the group %s: its members cannot connect", path, group)
    except OSError as error:  # somebody has removed it: nobody can connect, and what else there is to do must be done
        _log.warning("api.socket: cannot give %s to the group %s: %s", path, group, error.strerror)


def check_exposure(listeners: Sequence[socket.socket], settings: ApiConfig) -> None:
    """Beyond loopback, where people are that have no account here, only with a token, and one that nobody overhears.

    Raises `ConfigError` with what is missing.
    """
    _check_addresses([one.getsockname()[0] for one in listeners if one.family != socket.AF_UNIX], settings)


def check_listen(settings: ApiConfig) -> None:
    """`check_exposure` of what `api.listen` would open. Raises `ConfigError`, also if it is no address of this host."""
    if not settings.listen:
        return
    try:
        addresses = [str(where[0]) for _, where in _resolve(settings.listen)]
    except Unavailable as error:
        raise ConfigError([error.message]) from error
    _check_addresses(addresses, settings)


def _check_addresses(addresses: Sequence[str], settings: ApiConfig) -> None:
    exposed = [one for one in addresses if not ipaddress.ip_address(one.partition("%")[0]).is_loopback]
    if settings.insecure or not exposed:
        return
    missing = [] if settings.read_token_file else ["api.read_token_file (else everybody there may read)"]
    if not settings.tls_certificate_file:
        missing.append("api.tls_certificate_file and api.tls_key_file (else tokens can be overheard)")
    if missing:
        raise ConfigError(
            [
                f"api.listen: {exposed[0]} is not loopback: set {' and '.join(missing)}; or listen on 127.0.0.1; "
                "or say api.insecure = true, if that network is protected otherwise"
            ]
        )


def _resolve(address: str) -> list[tuple[int, tuple[Any, ...]]]:
    """(family, where) of all addresses of `host:port`. Raises `Unavailable`."""
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    try:
        if int(port) > 65535:
            raise Unavailable(f"api.listen: {address}: a port is a number up to 65535")
        infos = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as error:
        raise Unavailable(f"api.listen: {address}: {host} is no address of this host: {error.strerror}") from error
    return list(dict.fromkeys((family, where) for family, _, _, _, where in infos))


def listen_tcp(address: str) -> list[socket.socket]:
    """Listening TCP sockets on all addresses of `host:port`. Raises `Unavailable`."""
    infos = _resolve(address)
    found: list[socket.socket] = []
    for family, where in infos:
        try:
            found.append(_listen_one(family, where))
        except OSError as error:
            if error.errno in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL) and len(infos) > 1:
                continue  # localhost is ::1 too, also on a host without IPv6
            close_sockets(found)
            raise Unavailable(
                f"api.listen: cannot listen on {address}: {error.strerror or error}; `ss -ltnp` shows who does"
            ) from error
    if not found:
        raise Unavailable(f"api.listen: {address}: none of its addresses is one of this host")
    return found


def _listen_one(family: int, where: tuple[Any, ...]) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(where)
        listener.listen(BACKLOG)
    except BaseException:
        listener.close()
        raise
    listener.setblocking(False)
    return listener
