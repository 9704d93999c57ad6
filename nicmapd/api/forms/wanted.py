"""The JSON that a client sends, as pydantic models: for the OpenAPI document. What is sent is checked by `bodies`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, RootModel

#: A MAC that a NIC can have: any case, colons, not multicast, and not of those that libvirt keeps for itself (fe:...).
SINGLE_MAC = "^([0-9a-eA-E][02468aceACE]|[fF][02468acAC])(:[0-9a-fA-F]{2}){5}$"
#: The name of a network device of the host (Linux: IFNAMSIZ, dev_valid_name).
DEVICE = r"^[!-\-0-9;-~][!-.0-9;-~]{0,14}$"


class _NewNic(BaseModel):
    """What is null or left out is chosen by nicmapd."""

    model_config = ConfigDict(extra="forbid")

    model: str | None = Field(
        None,
        min_length=1,
        max_length=256,
        description="one that the machine type offers; virtio if not given",
        examples=["virtio"],
    )
    mac: str | None = Field(
        None,
        pattern=f"^$|{SINGLE_MAC}",
        description="unique on this host; a random one of 52:54:00:... if not given",
        examples=["52:54:00:3f:2e:b8"],
    )
    scope: Literal["live", "config", "both"] | None = Field(
        None, description="the running VM, its next boot, or both; all that it has if not given"
    )
    link: Literal["up", "down"] | None = Field(None, description="its cable; up if not given")


class NewNetworkNic(_NewNic):
    """A NIC on a libvirt network."""

    type: Literal["network"]
    network: str = Field(min_length=1, max_length=256, description="the libvirt network", examples=["default"])


class NewBridgeNic(_NewNic):
    """A NIC on a bridge of the host."""

    type: Literal["bridge"]
    source: str = Field(pattern=DEVICE, description="the host's bridge", examples=["br0"])


class NewDirectNic(_NewNic):
    """A NIC on a network device of the host (macvtap)."""

    type: Literal["direct"]
    source: str = Field(pattern=DEVICE, description="the host's device", examples=["eno1"])
    mode: Literal["bridge", "vepa", "private", "passthrough"] | None = Field(None, description="macvtap's mode")


class NewUserNic(_NewNic):
    """A NIC behind QEMU's own address translation."""

    type: Literal["user"]


class NewNic(RootModel[Annotated[NewNetworkNic | NewBridgeNic | NewDirectNic | NewUserNic, Discriminator("type")]]):
    """A NIC to attach."""


def _some_of(schema: dict[str, Any]) -> None:
    """At least one member; one that is left out has no value that would be its default."""
    schema["minProperties"] = 1
    for member in schema["properties"].values():
        del member["default"]


class NicChange(BaseModel):
    """What is to be different; at least one member."""

    model_config = ConfigDict(extra="forbid", json_schema_extra=_some_of)

    link: Literal["up", "down"] = Field("up", description="the cable")
    network: str = Field("", min_length=1, max_length=256, description="another libvirt network", examples=["default"])
    mac: str = Field("", pattern=SINGLE_MAC, description="only while the VM is off", examples=["52:54:00:3f:2e:b8"])


SENT: tuple[type[BaseModel], ...] = (NewNic, NicChange)
