"""The alert rules and the dashboard in contrib/ ask only for series of /metrics, by labels and values of theirs."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from nicmapd.api import create_app
from nicmapd.meter import RESULTS, Meter
from nicmapd.model import AgentState, ChangeKind, Freshness, NameState, Outcome, VmRef
from tests.fakes.asgi import ask
from tests.fakes.world import make_world

TOP = Path(__file__).parents[2]
RULES = TOP / "contrib" / "prometheus" / "nicmapd.rules.yml"
SCRAPE = TOP / "contrib" / "prometheus" / "scrape.yml"
DASHBOARD = TOP / "contrib" / "grafana" / "nicmapd.json"

#: What Prometheus itself adds.
TARGET = {"job", "instance"}
#: Labels whose values are words of ours: nobody sees that a misspelt one never matches.
VOCABULARY = {
    ("nicmap_vms", "freshness"): {one.value for one in Freshness},
    ("nicmap_agents", "state"): {one.value for one in AgentState},
    ("nicmap_agent_state", "state"): {one.value for one in AgentState},
    ("nicmap_interfaces", "state"): {one.value for one in NameState},
    ("nicmap_poll_total", "result"): set(RESULTS),
    ("nicmap_poll_duration_seconds_bucket", "result"): set(RESULTS),
    ("nicmap_changes_total", "kind"): {one.value for one in ChangeKind},
}


@pytest.fixture(scope="module")
def series() -> dict[str, set[str]]:
    """Each series that /metrics shows -> its labels."""
    world, meter = make_world(), Meter()
    for answered in (True, False):
        meter.passed(Outcome(VmRef("u", "web1"), AgentState.OK, "", asked=True, answered=answered))
    body = ask(create_app(world.board, world.store, world.service, world.clock, meter=meter), "/metrics").body
    found: dict[str, set[str]] = {"up": set()}
    for family in text_string_to_metric_families(body.decode()):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def rules() -> list[dict[str, Any]]:
    document = yaml.safe_load(RULES.read_text(encoding="utf-8"))
    return [rule for group in document["groups"] for rule in group["rules"]]


def dashboard() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    return document


def expressions() -> Iterator[str]:
    yield from (rule["expr"] for rule in rules())
    yield from (target["expr"] for panel in dashboard()["panels"] for target in panel["targets"])
    for variable in dashboard()["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["definition"]


def selectors(expression: str) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """(series, [(label, text of the matcher)]) of each selector of a PromQL expression."""
    for name, _, matchers in re.findall(r"\b(up|nicmap_\w+|process_\w+)\b(\{([^}]*)\})?", expression):
        yield name, re.findall(r'(\w+)(?:=~|!~|!=|=)"([^"]*)"', matchers)


@pytest.mark.parametrize("expression", sorted(set(expressions())))
def test_every_expression_asks_for_what_there_is(expression: str, series: dict[str, set[str]]) -> None:
    found = list(selectors(expression))
    assert found
    labels: set[str] = set(TARGET)
    for name, matchers in found:
        assert name in series, name
        labels |= series[name]
        for label, value in matchers:
            assert label in series[name] | TARGET, f"{name} has no label {label}"
            if (name, label) in VOCABULARY:
                assert set(value.split("|")) <= VOCABULARY[name, label]
    for grouped in re.findall(r"\bby \(([^)]*)\)", expression):
        assert set(grouped.split(", ")) <= labels


def test_every_alert_says_what_is_wrong_and_what_to_do(series: dict[str, set[str]]) -> None:
    names = [rule["alert"] for rule in rules()]
    assert len(set(names)) == len(names) >= 10
    for rule in rules():
        assert rule["labels"]["severity"] in ("critical", "warning", "info")
        assert set(rule["annotations"]) == {"summary", "description"}
        labels = {label for name, _ in selectors(rule["expr"]) for label in series[name]} | TARGET
        text = " ".join(rule["annotations"].values())
        assert set(re.findall(r"\$labels\.(\w+)", text)) <= labels, rule["alert"]


def test_every_alert_and_series_is_in_the_operators_page(series: dict[str, set[str]]) -> None:
    text = (TOP / "docs" / "operations.md").read_text(encoding="utf-8")
    for rule in rules():
        assert f"`{rule['alert']}`" in text
    for name in series:
        plain = re.sub(r"_(bucket|sum|count)$", "", name)
        assert name == "up" or plain.startswith("process_") or f"`{plain}`" in text, plain
    told = set(re.findall(r"`(nicmap_[a-z_]+)`", text))
    assert told <= {re.sub(r"_(bucket|sum|count)$", "", name) for name in series}


def test_the_panels_do_not_overlap_and_are_of_the_data_source_that_is_chosen() -> None:
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        assert panel["datasource"]["uid"] == "${datasource}"
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24
    for one, other in itertools.combinations([panel["gridPos"] for panel in panels], 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or above


def test_the_scrape_job_is_the_one_that_the_rules_name() -> None:
    (job,) = yaml.safe_load(SCRAPE.read_text(encoding="utf-8"))
    assert f'up{{job="{job["job_name"]}"}} == 0' in [rule["expr"] for rule in rules()]
