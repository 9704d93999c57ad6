"""What the next boot changes, as nicmapctl shows it."""

from __future__ import annotations

import pytest

from nicmapd.cli import nics
from tests.fakes.asgi import ask
from tests.fakes.changeable import ChangeableHost
from tests.fakes.hypervisor import FakeNic


@pytest.mark.parametrize(
    ("mac", "note", "line"),
    [
        ("52:54:00:00:01:00", "next boot changes it", "next boot link down, network storage, source storage"),
        ("52:54:00:00:01:01", "gone at the next boot", "next boot detaches it: only the running VM has it"),
        ("52:54:00:00:01:09", "from the next boot on", "next boot attaches it"),
        ("52:54:00:00:01:02", "", None),
    ],
)
def test_what_is_pending_is_told(mac: str, note: str, line: str | None) -> None:
    host = ChangeableHost()
    vm = host.add("web1", nics=3)
    config = host.libvirt.config[vm.uuid]
    config[0].link, config[0].network = "down", "storage"
    del config[1]
    config.append(FakeNic("52:54:00:00:01:09", "eth9", 9, alias="net9"))
    host.look(vm)
    nic = ask(host.app, f"/vms/web1/interfaces/{mac}").json
    assert nics.note(nic) == note
    sheet = nics.sheet(nic)
    found = [" ".join(one.split()) for one in sheet.splitlines() if one.strip().startswith("next boot")]
    assert found == ([] if line is None else [line])
