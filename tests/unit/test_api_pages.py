"""The files of the web page: who gets them, with which headers, and that nothing in them needs another host."""

from __future__ import annotations

import re
from typing import Any

import pytest

from nicmapd.api import create_app
from nicmapd.api.resources import pages
from tests.fakes.asgi import REMOTE, ask
from tests.fakes.world import make_world

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"
ASSETS = pages.load()
SCRIPTS = sorted(name for name in ASSETS if name.endswith(".js"))
SHEETS = sorted(name for name in ASSETS if name.endswith(".css"))
HTML = sorted(name for name in ASSETS if name.endswith(".html"))


def text(name: str) -> str:
    return ASSETS[name].body.decode("utf-8")


@pytest.fixture(scope="module")
def app() -> Any:
    world = make_world()
    return create_app(world.board, world.store, world.service, world.clock)


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        (BROWSER, "text/html; charset=utf-8"),
        ("text/html", "text/html; charset=utf-8"),
        ("application/json;q=0.5, text/html", "text/html; charset=utf-8"),
        ("*/*", "application/json"),
        (None, "application/json"),
        ("application/json", "application/json"),
        ("application/json, text/html", "application/json"),
        ("text/html;q=0.2, application/json;q=0.9", "application/json"),
        ("text/html;q=0", "application/json"),
        ("text/html;q=nonsense", "application/json"),
        (",;,=", "application/json"),
    ],
)
def test_the_root_is_the_page_for_browsers_and_the_pointer_for_programs(
    app: Any, accept: str | None, kind: str
) -> None:
    answer = ask(app, "/", headers={"Accept": accept} if accept else {})
    assert (answer.status, answer.headers["content-type"], answer.headers["vary"]) == (200, kind, "Accept")


@pytest.mark.parametrize("target", ["/", "/docs", "/static/app.js", "/static/base.css", "/static/icon.svg"])
def test_pages_come_with_a_strict_policy_and_are_asked_for_each_time(app: Any, target: str) -> None:
    answer = ask(app, target, headers={"Accept": "text/html"}, peer=REMOTE)
    assert answer.status == 200
    policy = dict(rule.partition(" ")[::2] for rule in answer.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
    assert policy["require-trusted-types-for"] == "'script'"
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cache-control"] == "no-cache"


def test_an_unchanged_file_is_not_sent_twice(app: Any) -> None:
    first = ask(app, "/static/app.js")
    again = ask(app, "/static/app.js", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status, again.body, again.headers["etag"]) == (304, b"", first.headers["etag"])
    other = ask(app, "/static/app.js", headers={"If-None-Match": '"something-else"'})
    assert (other.status, other.body) == (200, first.body)


def test_other_answers_are_still_never_stored(app: Any) -> None:
    assert ask(app, "/vms").headers["cache-control"] == "no-store"


@pytest.mark.parametrize("name", ["nothing.js", "..%2Fapi%2Fapp.py", "%2e%2e", "app.js%00", "APP.JS"])
def test_only_the_pages_files_are_there(app: Any, name: str) -> None:
    answer = ask(app, f"/static/{name}")
    assert (answer.status, answer.json["code"]) == (404, "not_found")


def test_the_files_take_no_query(app: Any) -> None:
    assert ask(app, "/static/app.js?v=1").status == 400
    assert ask(app, "/docs?x=1").status == 400


@pytest.mark.parametrize("name", HTML)
def test_a_page_has_nothing_inline_and_only_files_that_are_there(name: str) -> None:
    page = text(name)
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son[a-z]+=|javascript:", page, re.I)
    files = re.findall(r'(?:src|href)="(/static/[^"]+)"', page)
    assert files
    for file in files:
        assert file.removeprefix("/static/") in ASSETS


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_makes_no_markup_and_imports_what_is_there(name: str) -> None:
    script = text(name)
    for word in (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "DOMParser",
        "eval(",
        "new Function",
    ):
        assert word not in script, word
    for imported in re.findall(r'from "([^"]+)"', script):
        assert imported.startswith("./")
        assert imported.removeprefix("./") in ASSETS
    assert len(script.splitlines()) <= 400


@pytest.mark.parametrize("name", [*HTML, *SCRIPTS, *SHEETS, "icon.svg"])
def test_no_file_needs_another_host(name: str) -> None:
    content = text(name).replace("http://www.w3.org/2000/svg", "").replace("http://localhost", "")
    assert not re.search(r"https?://|@import|\burl\(", content)
