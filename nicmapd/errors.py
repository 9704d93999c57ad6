"""The words for failure: one small tree, each with a `code` of CONTRACT section 4.

Every error that may reach a user derives from `NicmapError`: its text says what is wrong and what to do.
Anything else is a defect of ours and is answered as `internal`, its details in the log only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, TypeVar

_Error = TypeVar("_Error", bound=BaseException)


class NicmapError(Exception):
    """A failure that a user can understand. `details` are extra members of the problem+json answer."""

    code: ClassVar[str] = "internal"

    def __init__(self, message: str, **details: object) -> None:
        super().__init__(message)
        self.message = message
        self.details: Mapping[str, object] = details


class NotFound(NicmapError):
    """No such VM, NIC, network or page. `renamed_to` in the details when a name has moved."""

    code = "not_found"


class Ambiguous(NicmapError):
    """A name or MAC fits more than one NIC. `candidates` in the details say which."""

    code = "ambiguous"


class Conflict(NicmapError):
    """The state of the VM or NIC forbids it now."""

    code = "conflict"


class NoDevice(Conflict):
    """libvirt wanted a network device that the host has not (a bridge, the lower device of a macvtap)."""


class Invalid(NicmapError):
    """The request or the configuration is wrong; the text names the place, the value and what is allowed."""

    code = "invalid"


class Stale(NicmapError):
    """The map is too old for what was asked."""

    code = "stale"


class PreconditionFailed(NicmapError):
    """If-Match did not match: the NIC changed since."""

    code = "precondition_failed"


class Unsupported(NicmapError):
    """This libvirt, machine type or driver cannot do it."""

    code = "unsupported"


class Unavailable(NicmapError):
    """libvirt, the guest agent or the store does not answer now; nothing was changed."""

    code = "unavailable"


class Forbidden(NicmapError):
    """The caller may not do this."""

    code = "forbidden"


class StoreLocked(Unavailable):
    """Another nicmapd has this store (or this host's rows of it) open."""


class StoreTooNew(Unavailable):
    """The store was written by a newer nicmapd; it is not touched."""


class StoreCorrupt(Unavailable):
    """The store's file is damaged."""


class AgentFailure(NicmapError):
    """A guest agent gave no usable answer.

    `state` is the value of `model.AgentState` that follows from it (a string here: this module knows no words
    but its own). The message may hold text of the guest: it is cleaned where this error is made.
    """

    code = "unavailable"

    def __init__(self, message: str, *, state: str) -> None:
        super().__init__(message, agent_state=state)
        self.state = state


class ConfigError(Invalid):
    """The configuration is wrong. `faults` holds one line per fault: file, line, key, value, what is allowed."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


# -- on the way to the daemon: what a client meets before there is an answer


class Unreachable(Unavailable):
    """Nobody answers at the daemon's address."""


class NotPermitted(Forbidden):
    """This user may not connect."""


class TimedOut(Unavailable):
    """The daemon took too long."""


def without_frames(error: _Error) -> _Error:
    """`error`, to be kept beyond its `except` block: without the frames that it came through.

    They would keep alive what was worked with in them, a broken connection to libvirt say, until the garbage collector
    comes by: a frame that has an exception in a variable, and is in that exception's traceback, is a cycle.
    """
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)
