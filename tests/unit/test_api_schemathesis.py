"""schemathesis over the whole OpenAPI document: whatever it finds to send, the answer is one that is declared."""

from __future__ import annotations

from typing import Any

import schemathesis
from hypothesis import HealthCheck, settings

from nicmapd.api import create_app
from tests.fakes.asgi import LOCAL, ask, with_peer
from tests.fakes.world import make_world

_world = make_world()
_app = create_app(_world.board, _world.store, _world.service, _world.clock)
_CURSORS = {path: ask(_app, f"{path}?limit=1").json["next"] for path in ("/vms", "/interfaces")}
schema = schemathesis.openapi.from_asgi("/openapi.json", with_peer(_app, LOCAL)).exclude(path="/events")  # never ends


@schema.parametrize()
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_operation_keeps_its_word(case: Any) -> None:
    if case.query and "cursor" in case.query and case.meta.generation.mode.is_positive:
        # No schema can say which cursors were given out: one that was stands for the one that was made up.
        case.query["cursor"] = _CURSORS[case.path]
    if isinstance(case.body, dict) and case.meta.generation.mode.is_positive:
        # Nor which networks there are, and which models this VM's machine offers.
        case.body |= {key: word for key, word in (("network", "default"), ("model", "virtio")) if case.body.get(key)}
    case.call_and_validate()
