"""What the fuzz tests of the changing routes share: requests that schemathesis makes up, sent to VMs that are there."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Sequence
from typing import Any

import schemathesis
from schemathesis.checks import not_a_server_error
from schemathesis.core.parameters import ParameterLocation
from schemathesis.schemas import BaseSchema
from schemathesis.specs.openapi.checks import positive_data_acceptance

#: The environment says how many cases of each operation are made up; `make fuzz` asks for more.
CASES = "NICMAPD_FUZZ_CASES"

#: Whether this is the usual number of cases: then they are always the same ones.
USUAL = CASES not in os.environ

_CHANGES = ["attachInterface", "changeInterface", "detachInterface"]


def cases(usual: int) -> int:
    """Cases of one operation: `usual`, or what the environment says."""
    return int(os.environ.get(CASES, usual))


def changing_routes(app: Any) -> BaseSchema:
    """The operations that change a VM, from the OpenAPI document of `app`."""
    return schemathesis.openapi.from_asgi("/openapi.json", app).include(operation_id=_CHANGES)


class Aim:
    """Sends what was made up to VMs and NICs that there are: else nearly all of it would be 404."""

    def __init__(self, vms: Sequence[str], nics: Callable[[str], Sequence[str]]) -> None:
        self._vms = itertools.cycle(vms)
        self._nics = nics
        self._turn = itertools.count()
        self.statuses: set[int] = set()

    def send(self, case: Any) -> None:
        """Sends one case. An answer that is not declared, is not what its schema says, or is `internal`, is a failure;
        501 and 503 are not: libvirt's own word."""
        turn, vm = next(self._turn), None
        if turn % 8 and self._sensible(case, ParameterLocation.PATH):
            vm = next(self._vms)
            case.path_parameters["vm"] = vm
            nics = self._nics(vm)
            if "nic" in case.path_parameters and nics:
                case.path_parameters["nic"] = nics[turn % len(nics)]
        if self._sensible(case, ParameterLocation.HEADER):
            case.headers["Prefer"] = f"wait={int(turn % 16 == 0)}"
            if turn % 4:
                case.headers.pop("If-Match", None)
        if isinstance(case.body, dict) and self._sensible(case, ParameterLocation.BODY):
            self._make_sense(case.body)
            if str(case.body.get("mac")).lower() in (self._nics(vm) if vm else ()):
                case.body["mac"] = f"52:54:00:f0:{turn >> 8 & 255:02x}:{turn & 255:02x}"
        # What If-Match names was made up too: 412 is as good an answer as any. And no schema says which devices the
        # host has: 400 is what is to be said of one that it has not.
        device = isinstance(case.body, dict) and bool(case.body.get("source"))
        guarded = [positive_data_acceptance] if device or "If-Match" in case.headers else []
        answer = case.call_and_validate(excluded_checks=[not_a_server_error, *guarded])
        assert answer.status_code != 500, answer.text
        self.statuses.add(answer.status_code)

    @staticmethod
    def _sensible(case: Any, location: ParameterLocation) -> bool:
        """Whether that part of the request was made up as the schema wants it, and not against it."""
        part = case.meta.components.get(location)
        return part is None or bool(part.mode.is_positive)

    @staticmethod
    def _make_sense(body: dict[str, Any]) -> None:
        """No schema can say which networks there are, and which models the machine offers; nor that not all is zero."""
        for key, word in (("network", "default"), ("model", "virtio")):
            if body.get(key):
                body[key] = word
        if not str(body.get("mac") or "1").replace(":", "").strip("0"):
            body["mac"] = "52:54:00:00:00:0a"
