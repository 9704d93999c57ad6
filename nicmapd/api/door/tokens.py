"""Files with secrets: the bearer tokens and the key of TLS, read only where nobody else could have read them."""

from __future__ import annotations

import hashlib
import os
import re
import stat

#: Characters of a token. 16 of base64 have 96 bits: more than anybody guesses over a network.
SHORTEST = 16
LONGEST = 1024

#: What RFC 6750 lets a bearer token be.
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")


def owners() -> frozenset[int]:
    """The users whose files may hold our secrets."""
    return frozenset({0, os.geteuid()})


def digest(token: bytes) -> bytes:
    """What is kept of a token, and compared in its place: always of one length."""
    return hashlib.sha256(token).digest()


def read(path: str, *, owners: frozenset[int] | None = None) -> bytes:
    """The digest of the token in the file at `path`, blanks and line ends around it aside.

    `owners` are the users whose file it may be (None: anybody's). Raises `ValueError` with what to do.
    """
    content = read_private(path, LONGEST + 2, owners=owners)
    token = content.strip()
    if not token:
        raise ValueError(f"{path} is empty: fill it, such as with `openssl rand -hex 32`")
    if len(content) > LONGEST or not _TOKEN.fullmatch(token.decode("latin-1")):
        raise ValueError(
            f"{path} is not one token: one word of at most {LONGEST} characters A-Z a-z 0-9 . _ ~ + / - = must be in it"
        )
    if len(token) < SHORTEST:
        raise ValueError(
            f"{path}: {len(token)} characters can be guessed: use {SHORTEST} or more, such as of `openssl rand -hex 32`"
        )
    return digest(token)


def read_private(path: str, limit: int, *, owners: frozenset[int] | None, group: bool = False) -> bytes:
    """At most `limit` bytes of a file that only its owner (and, with `group`, its group) may read.

    Raises `ValueError` with what to do.
    """
    try:
        # Not to hang at a FIFO. What is looked at is what is read, whatever happens to the name meanwhile.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError as error:
        raise ValueError(f"{path} cannot be read by {_user()}: {error.strerror}") from error
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise ValueError(f"{path} is not a file")
        if owners is not None and found.st_uid not in owners:
            raise ValueError(f"{path} belongs to uid {found.st_uid}, who could change it: `chown {_user()} {path}`")
        others = stat.S_IRWXO | (stat.S_IWGRP if group else stat.S_IRWXG)
        if found.st_mode & others:
            mode = stat.S_IMODE(found.st_mode)
            raise ValueError(f"{path} is open to others (mode {mode:04o}): `chmod {'640' if group else '600'} {path}`")
        return os.read(descriptor, limit)  # a file gives all that it has
    finally:
        os.close(descriptor)


def _user() -> str:
    import pwd

    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())
