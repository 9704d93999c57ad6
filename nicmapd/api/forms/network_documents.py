"""The JSON of networks as pydantic models, as `documents` has those of VMs and NICs."""

from __future__ import annotations

from pydantic import Field

from nicmapd.api.forms.documents import Address, Document, Mac, Pending, Uuid
from nicmapd.model import NameState


class NetworkNic(Document):
    """A NIC on a network."""

    vm: str
    vm_uuid: Uuid
    mac: Mac
    alias: str | None
    target: str | None
    model: str | None
    link: str
    name: str | None = Field(description="the guest's name of it; null when not known for certain")
    name_state: NameState
    addresses: list[Address]
    pending: Pending | None = Field(description="what the next boot of the VM changes of it")


class Network(Document):
    """A libvirt network, with the NICs on it."""

    name: str = Field(examples=["default"])
    uuid: Uuid
    active: bool
    persistent: bool
    autostart: bool
    bridge: str | None = Field(examples=["virbr0"])
    forward: str | None = Field(description="nat, route, open, bridge, ...; null: isolated", examples=["nat"])
    interfaces: list[NetworkNic]


class NetworkList(Document):
    """libvirt's networks, by name."""

    items: list[Network]
