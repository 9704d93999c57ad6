"""What is rendered is what is documented: the JSON against its models, the routes against OpenAPI and docs/rest.md."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from nicmapd import errors
from nicmapd.api import create_app, problems
from nicmapd.api.forms import documents, network_documents
from tests.fakes.asgi import ask
from tests.fakes.world import make_world

DOCS = Path(__file__).parents[2] / "docs" / "rest.md"

#: The contract, as far as it is there.
ROUTES = [
    ("get", "/vms"),
    ("get", "/vms/{vm}"),
    ("get", "/vms/{vm}/interfaces"),
    ("get", "/vms/{vm}/interfaces/{nic}"),
    ("get", "/vms/{vm}/interfaces/{nic}/history"),
    ("get", "/vms/{vm}/history"),
    ("get", "/interfaces"),
    ("post", "/vms/{vm}/refresh"),
    ("get", "/events"),
    ("post", "/vms/{vm}/interfaces"),
    ("patch", "/vms/{vm}/interfaces/{nic}"),
    ("delete", "/vms/{vm}/interfaces/{nic}"),
    ("get", "/networks"),
    ("get", "/networks/{network}"),
    ("get", "/status"),
    ("get", "/healthz"),
    ("get", "/readyz"),
    ("get", "/metrics"),
    ("get", "/openapi.json"),
    ("get", "/docs"),
    ("get", "/"),
]


@pytest.fixture(scope="module")
def app() -> Any:
    world = make_world()
    return create_app(world.board, world.store, world.service, world.clock)


@pytest.fixture(scope="module")
def openapi(app: Any) -> dict[str, Any]:
    document: dict[str, Any] = ask(app, "/openapi.json").json
    return document


@pytest.mark.parametrize(
    ("target", "model", "method"),
    [
        ("/vms", documents.VmPage, "GET"),
        ("/vms/web1", documents.Vm, "GET"),
        ("/vms/db1", documents.Vm, "GET"),
        ("/vms/web1/interfaces", documents.NicList, "GET"),
        ("/vms/web1/interfaces?at=2025-12-31T20:00:00Z", documents.NicList, "GET"),
        ("/interfaces", documents.NicPage, "GET"),
        ("/interfaces?at=2025-12-31T20:00:00Z", documents.NicPage, "GET"),
        ("/vms/web1/interfaces/eth0", documents.Nic, "GET"),
        ("/vms/old/interfaces/eth0", documents.Nic, "GET"),
        ("/vms/web1/history", documents.History, "GET"),
        ("/vms/web1/refresh", documents.Refreshed, "POST"),
        ("/networks", network_documents.NetworkList, "GET"),
        ("/networks/default", network_documents.Network, "GET"),
        ("/status", documents.Status, "GET"),
        ("/healthz", documents.Alive, "GET"),
        ("/readyz", documents.Ready, "GET"),
        ("/", documents.Pointer, "GET"),
        ("/vms/web1/interfaces/eth1", documents.Problem, "GET"),
        ("/vms/web1/interfaces/eth5", documents.Problem, "GET"),
    ],
)
def test_every_answer_fits_its_model(app: Any, target: str, model: type[BaseModel], method: str) -> None:
    document = ask(app, target, method=method).json
    model.model_validate_json(json.dumps(document))
    if "items" not in document:
        known = {field.alias or name for name, field in model.model_fields.items()}
        assert set(document) <= known or model is documents.Problem


def test_openapi_is_3_1_and_has_every_route(openapi: dict[str, Any]) -> None:
    assert openapi["openapi"].startswith("3.1")
    found = {(method, path) for path, operations in openapi["paths"].items() for method in operations}
    assert found == set(ROUTES)


def test_every_operation_is_described(openapi: dict[str, Any]) -> None:
    operations = [one for path in openapi["paths"].values() for one in path.values()]
    assert len({one["operationId"] for one in operations}) == len(operations)
    for one in operations:
        assert one["summary"]
        assert one["description"]
        assert "422" not in one["responses"]
        for parameter in one.get("parameters", []):
            assert parameter["description"], parameter["name"]
        for status, answer in one["responses"].items():
            if int(status) >= 400:
                assert list(answer["content"]) == ["application/problem+json"]


def test_every_reference_leads_somewhere(openapi: dict[str, Any]) -> None:
    wanted = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(openapi)))
    assert wanted <= set(openapi["components"]["schemas"])


def test_every_error_of_ours_has_its_status() -> None:
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, errors.NicmapError)]
    codes = {kind.code for kind in kinds}
    assert codes == set(problems.STATUS_OF_CODE) == set(problems.TITLES)
    assert codes == set(documents.Problem.model_fields["code"].annotation.__args__)  # type: ignore[union-attr]


def test_a_problem_survives_any_details() -> None:
    answer = problems.of_error(errors.Ambiguous("x", status=200, code="ok", candidates={object()}))
    document = json.loads(bytes(answer.body))
    assert (document["status"], document["code"]) == (409, "ambiguous")


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_every_route_is_in_the_manual(method: str, path: str) -> None:
    assert f"`{method.upper()} {path}`" in DOCS.read_text(encoding="utf-8")


MODELS = (
    *("Vm", "Agent", "Nic", "HistoryItem", "Status", "Refreshed", "FeedEvent"),
    *("NewNetworkNic", "NewDirectNic", "NicChange", "Network", "NetworkNic", "Pending"),
)


def test_every_query_key_member_and_code_is_in_the_manual(openapi: dict[str, Any]) -> None:
    manual = DOCS.read_text(encoding="utf-8")
    keys = {
        parameter["name"]
        for path in openapi["paths"].values()
        for one in path.values()
        for parameter in one.get("parameters", [])
        if parameter["in"] == "query"
    }
    members = {name for model in MODELS for name in openapi["components"]["schemas"][model]["properties"]}
    for word in sorted(keys | members | set(problems.STATUS_OF_CODE)):
        assert f"`{word}`" in manual, word
