"""nicmapd: which NIC of a libvirt domain is `eth0` in the guest, kept current and with its past."""

__version__ = "0.1.0"
