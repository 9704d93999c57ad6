"""What libvirt's error means for a change: one of our errors, with libvirt's own words.

Numbers are those of libvirt's include/libvirt/virterror.h: they outlive the binding's constants, and some of them are
newer than the binding.
"""

from __future__ import annotations

import errno

import libvirt

from nicmapd import errors
from nicmapd.errors import NicmapError
from nicmapd.hypervisor.link import describe

#: virErrorNumber -> what it means. What is not here is a refusal in the present state: `Conflict`.
_MEANING: dict[int, type[NicmapError]] = {
    3: errors.Unsupported,  # NO_SUPPORT: this driver has no such call
    8: errors.Invalid,  # INVALID_ARG
    27: errors.Invalid,  # XML_ERROR
    29: errors.Forbidden,  # OPERATION_DENIED: a read-only connection
    35: errors.Invalid,  # XML_DETAIL
    42: errors.NotFound,  # NO_DOMAIN
    45: errors.Forbidden,  # AUTH_FAILED
    67: errors.Unsupported,  # CONFIG_UNSUPPORTED
    68: errors.Unavailable,  # OPERATION_TIMEOUT: another job holds the domain
    74: errors.Unsupported,  # ARGUMENT_UNSUPPORTED
    84: errors.Unsupported,  # OPERATION_UNSUPPORTED
    88: errors.Forbidden,  # ACCESS_DENIED
}


def refusal(error: libvirt.libvirtError, what: str) -> NicmapError:
    """`error` of libvirt while we tried to `what`, as one of ours."""
    kind = _MEANING.get(error.get_error_code(), errors.Conflict)
    words = error.get_error_message() or ""
    if error.get_error_code() == 38:  # SYSTEM_ERROR, whose first number is errno (src/util/virerror.c)
        if "connect socket" in words:
            # Passed on by virtqemud: another of libvirt's daemons is down (src/rpc/virnetsocket.c).
            kind = errors.Unavailable
        elif error.get_int1() == errno.ENODEV:
            kind = errors.NoDevice
    # libvirt waits 5 s itself for a guest to let a device go, and tells if it refuses meanwhile.
    details = {"refused": True} if "rejected by the guest" in words else {}
    return kind(f"cannot {what}: {describe(error)}", **details)


def removal_pending(error: libvirt.libvirtError) -> bool:
    """Whether libvirt refuses to unplug a device because the guest has been asked to let it go already.

    QEMU 6.1 and later say so (hw/core/qdev: "is already in the process of unplug"); libvirt passes it on as an
    internal error, or, if it remembers itself, as OPERATION_FAILED.
    """
    return "already in the process of unplug" in (error.get_error_message() or "")
