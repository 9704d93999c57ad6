"""Use case: attach, detach, change a NIC, one operation of a VM at a time. Changes libvirt, never the map.

Which NIC is meant is the caller's to say (`Choice`), but when it is said is decided here: with the VM's turn taken,
after a fresh look where a guest's name must be certain, on what libvirt says at that moment. Nothing of an operation
is stored: a daemon that dies in the middle leaves libvirt as it is, and the next pass makes the map true.
"""

from nicmapd.change.changer import Changer
from nicmapd.change.ground import Choice, Selection
from nicmapd.change.results import Changed, Detached, DetachVerdict

__all__ = ["Changed", "Changer", "Choice", "DetachVerdict", "Detached", "Selection"]
