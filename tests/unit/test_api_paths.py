"""What is true of every request, whatever it is for: odd paths, methods, bodies."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from pydantic import BaseModel

from nicmapd.api import create_app
from nicmapd.api.door.edge import MAX_BODY
from tests.fakes.asgi import ask
from tests.fakes.world import make_world


@pytest.fixture(scope="module")
def app() -> Any:
    world = make_world()
    return create_app(world.board, world.store, world.service, world.clock)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/vms/%2F", 404),
        ("/vms/web1%2Finterfaces", 404),
        ("/vms/web1%2finterfaces%2feth0", 404),
        ("/vms/%00", 404),
        ("/vms/web1/interfaces/%00", 404),
        ("/vms/%ff%fe", 400),
        ("/vms/web1/interfaces/%c3%28", 400),
        ("/vms/web1/interfaces/%ED%A0%80", 400),
        ("/vms/..", 404),
        ("/vms/../vms", 404),
        ("/vms/%2e%2e/interfaces", 404),
        ("/../../etc/passwd", 404),
        ("/vms/web1/interfaces/%", 404),
        ("/vms/web1/interfaces/%zz", 404),
        ("/vms/web1/interfaces/%25zz", 404),
        ("//vms", 404),
        ("/vms//interfaces", 404),
        ("/vms/web1/", 404),
        ("/vms/web1/interfaces/", 404),
        ("//", 404),
        ("/vms/web1;x=1", 404),
        ("/vms/" + "a" * 5000, 404),
        ("/vms/web1/interfaces/" + "%41" * 3000, 404),
        ("/favicon.ico", 404),
        ("*", 404),
        ("", 404),
    ],
)
def test_an_odd_path_gets_a_clean_problem(app: Any, path: str, status: int) -> None:
    answer = ask(app, path)
    assert answer.status == status, answer.body
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json["code"] in ("not_found", "invalid")
    assert len(answer.body) < 25_000
    assert answer.json["detail"].isprintable()


def test_a_slash_in_a_guest_name_stays_in_its_segment(app: Any) -> None:
    uuid = "00000000-0000-4000-8000-000000000003"
    assert ask(app, f"/vms/{uuid}/interfaces/a%2Fb").json["name"] == "a/b"
    assert ask(app, f"/vms/{uuid}/interfaces/%2541").json["name"] == "%41"
    assert ask(app, f"/vms/{uuid}/interfaces/..").json["name"] == ".."


def test_an_encoded_path_is_the_same_path(app: Any) -> None:
    assert ask(app, "/%76ms/%77eb1/interfaces/eth0").json["name"] == "eth0"


def test_a_trailing_slash_says_what_is_meant(app: Any) -> None:
    answer = ask(app, "/vms/web1/interfaces/")
    assert "Is a variable empty?" in answer.json["detail"]
    assert "location" not in answer.headers


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("DELETE", "/vms", "GET, HEAD"),
        ("PUT", "/vms/web1/interfaces", "GET, HEAD, POST"),
        ("PUT", "/vms/web1/interfaces/eth0", "DELETE, GET, HEAD, PATCH"),
        ("GET", "/vms/web1/refresh", "POST"),
        ("HEAD", "/vms/web1/refresh", "POST"),
        ("OPTIONS", "/vms", "GET, HEAD"),
        ("TRACE", "/status", "GET, HEAD"),
        ("BREW", "/", "GET, HEAD"),
    ],
)
def test_a_wrong_method_is_told_the_right_ones(app: Any, method: str, path: str, allow: str) -> None:
    answer = ask(app, path, method=method)
    assert (answer.status, answer.headers["allow"]) == (405, allow)
    if method != "HEAD":
        assert answer.json["code"] == "unsupported"


def test_head_is_get_without_the_body(app: Any) -> None:
    get, head = ask(app, "/vms/web1/interfaces/eth0"), ask(app, "/vms/web1/interfaces/eth0", method="HEAD")
    assert (head.status, head.body) == (200, b"")
    assert head.headers["etag"] == get.headers["etag"]
    assert head.headers["content-length"] == str(len(get.body))


def test_a_body_that_is_too_large_is_refused(app: Any) -> None:
    headers = {"Content-Length": str(MAX_BODY + 1)}
    answer = ask(app, "/vms/web1/refresh", method="POST", headers=headers)
    assert (answer.status, answer.json["code"]) == (413, "invalid")


class Body(BaseModel):
    link: Literal["up", "down"]


def test_a_body_that_does_not_fit_its_model_is_invalid_in_words() -> None:
    world = make_world()
    app = create_app(world.board, world.store, world.service, world.clock)

    @app.post("/try")
    async def take(body: Body) -> None: ...

    for body in (b"{}", b'{"link": "\x1b"}', b"[1]", b'{"link": "side\\u202eways"}', b"nonsense"):
        answer = ask(app, "/try", method="POST", headers={"Content-Type": "application/json"}, body=body)
        assert (answer.status, answer.json["code"]) == (400, "invalid")
        assert "body" in answer.json["detail"]
        assert answer.json["detail"].isprintable()


def test_every_answer_says_not_to_keep_it(app: Any) -> None:
    for path in ("/vms", "/vms/x", "/nope", "/vms/"):
        headers = ask(app, path).headers
        assert (headers["cache-control"], headers["x-content-type-options"]) == ("no-store", "nosniff")
        assert "access-control-allow-origin" not in headers
