"""The lab: a private libvirtd with tiny real QEMU guests and the real qemu-guest-agent. See README.md."""

from tests.lab.definitions import Nic
from tests.lab.fake_agent import FakeAgent
from tests.lab.guest import Guest
from tests.lab.host import LabHost
from tests.lab.links import Device, Link
from tests.lab.shell import GuestGone
from tests.lab.waiting import LabTimeout, eventually

__all__ = ["Device", "FakeAgent", "Guest", "GuestGone", "LabHost", "LabTimeout", "Link", "Nic", "eventually"]
