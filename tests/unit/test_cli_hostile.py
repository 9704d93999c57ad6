"""Whatever a guest, libvirt or a daemon gone mad puts into an answer, no terminal is made to do anything by it."""

from __future__ import annotations

import contextlib
import io
import json
import re
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nicmapd.api import create_app
from nicmapd.cli import program
from nicmapd.client import Answer, Client, error_of
from tests.fakes.asgi import ask
from tests.fakes.changing import Scripted
from tests.fakes.world import make_world

NOW = datetime(2026, 1, 10, 12, 0, tzinfo=UTC)

#: What terminals obey, what hides text or turns it round, and what ends a line.
DANGEROUS = (
    "\x1b[2J",
    "\x1b]0;owned\x07",
    "\x1bP+q\x1b\\",
    "\x9b31m",
    "\r",
    "\n",
    "\t",
    "\x08",
    "\x7f",
    "\u202e",
    "\u2066",
    "\u200b",
    "\u2028",
    "\ufeff",
    "\ue000",
    "\U000e0041",
    "\u3164",
    "\x00",
)
#: What shows nothing though Unicode calls it a letter or a symbol.
BLANKS = frozenset("\u115f\u1160\u3164\uffa0\u2800\u034f")
HOSTILE = st.lists(st.one_of(st.sampled_from(DANGEROUS), st.text(max_size=5)), min_size=1, max_size=6).map("".join)

#: Members whose values are checked by the daemon to be what they are: it makes them from numbers.
_MADE_BY_THE_DAEMON = frozenset(
    {"ip", "from", "to", "since", "seen_at", "name_since", "started", "last_success", "last_attempt", "next_attempt"}
)

CALLS = (
    "status",
    "list",
    "list -o wide",
    "list -o csv",
    "list -o name",
    "list -o jsonl",
    "list --json",
    "list web1 --sort name,-mac,network",
    "show web1",
    "show web1 eth0",
    "show web1 eth0 --json",
    "resolve web1 eth0",
    "resolve web1 eth0 --target",
    "find eth0",
    "history web1",
    "history web1 -o table",
    "networks",
    "networks default",
    "doctor",
    "doctor web1",
    "doctor --json",
    "refresh web1",
    "attach web1 --network default",
    "detach web1 eth0 --yes",
    "detach web1 eth0 --dry-run",
    "link web1 eth0 down",
    "wait web1 eth0 --timeout 0",
    "wait web1 eth0 --for gone --timeout 0",
)


class Mad(Client):
    """A connection to a daemon whose every text is `text`; with `fails`, an error instead of an answer."""

    def __init__(self, text: str, *, fails: bool = False) -> None:
        super().__init__(socket_path="nowhere")
        world = make_world(now=NOW)
        world.service.answered = True
        self._app = Scripted(create_app(world.board, world.store, world.service, world.clock, world.feed))
        self._text, self._fails = text, fails
        nic = ask(self._app, "/vms/web1/interfaces/eth0").json
        self._app.answer = lambda asked: (204, None) if asked.method == "DELETE" else (200, nic)

    def _request(
        self,
        method: str,
        target: str,
        *,
        timeout: float,  # noqa: ARG002  the signature of Client
        headers: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> Answer:
        content = json.dumps(body).encode() if body is not None else b""
        answer = ask(self._app, target, method=method, headers=headers or {}, body=content)
        document = answer.json if answer.body else None
        if self._fails or answer.status >= 400:
            hint = {"renamed_to": self._text} if len(self._text) % 2 else {"candidates": [self._text]}
            raise error_of({"code": "conflict", "detail": self._text, "vm_uuid": self._text, **hint})
        return Answer(answer.status, self._spoilt(document), answer.headers.get("etag"))

    def _spoilt(self, value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            return {name: self._spoilt(one, name) for name, one in value.items()}
        if isinstance(value, list):
            return [self._spoilt(one, key) for one in value]
        return self._text if isinstance(value, str) and key not in _MADE_BY_THE_DAEMON else value


class Screen(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def harmless(text: str) -> bool:
    """Whether a terminal that gets this only shows text, in the colours that are ours."""
    plain = re.sub(r"\x1b\[\d+m", "", re.sub(r"\r\x1b\[K", "", text))
    return all(line.isprintable() for line in plain.split("\n")) and not BLANKS & set(plain)


def shown(arguments: list[str], client: Client) -> str:
    out, err = Screen(), Screen()
    before, sys.stdin = sys.stdin, io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            program.run(arguments, client=client, clock=lambda: NOW)
    finally:
        sys.stdin = before
    return out.getvalue() + err.getvalue()


def test_every_command_is_tried() -> None:
    assert set(program.COMMANDS) - {"events", "watch"} == {call.split()[0] for call in CALLS}


@pytest.mark.parametrize("call", CALLS)
@settings(max_examples=12, deadline=None)
@given(text=HOSTILE)
def test_nothing_in_an_answer_reaches_the_terminal_raw(call: str, text: str) -> None:
    found = shown(call.split(), Mad(text))
    assert found
    assert harmless(found), found


@pytest.mark.parametrize("call", CALLS)
@settings(max_examples=6, deadline=None)
@given(text=HOSTILE)
def test_nothing_in_an_error_does(call: str, text: str) -> None:
    found = shown(call.split(), Mad(text, fails=True))
    assert found
    assert harmless(found), found


@settings(max_examples=60, deadline=None)
@given(word=HOSTILE, call=st.sampled_from([call.split()[0] for call in CALLS]))
def test_nothing_on_the_command_line_does(word: str, call: str) -> None:
    for arguments in ([call, word], [call, word, word], [word], [call, f"--{word}"], ["list", "--sort", word]):
        assert harmless(shown(arguments, Mad("x"))), arguments


def test_the_measure_is_good() -> None:
    """What is to be kept away is recognised."""
    for text in DANGEROUS:
        assert text == "\n" or not harmless(f"a{text}b")
    assert harmless("\x1b[31mred\x1b[0m\n")
