"""Raw replies, mutated without mercy: nothing but `AgentFailure` leaves the parser, and memory stays where it was."""

from __future__ import annotations

import json
import random
import tracemalloc

from nicmapd.agent import parse_info, parse_interfaces
from nicmapd.errors import AgentFailure
from nicmapd.model import GuestReply
from tests.unit.replies import FAILING, HOSTILE, SYSTEMS

CASES = 100_000
GROWTH = 50 * 1024 * 1024

#: What tears at parsers, put anywhere into a reply.
SPLINTERS = (
    *("\x00", "\x1b[31m", "\u202e", "\ud800", "\\ud800", "\\u0000", "\xff\xfe"),
    *("1e400", "-1e400", "NaN", "Infinity", "9" * 5000, "[" * 2000, '{"a":' * 1500),
    *("null", "true", "[]", "{}", '"', "\\", ",", ":", "]", "}"),
    *(
        '"name":',
        '"return":',
        '"hardware-address":"52:54:00:00:00:0a"',
        '"ip-addresses":7',
        '"prefix":-1',
        '"prefix":"64"',
    ),
)


def _mutated(random_: random.Random, text: str) -> str:
    for _ in range(random_.randint(1, 6)):
        start = random_.randint(0, len(text))
        end = min(len(text), start + random_.choice((0, 0, 1, 2, 8, 64)))
        middle = (
            random_.choice(SPLINTERS) if random_.random() < 0.7 else text[start : start + random_.randint(0, 80)] * 2
        )
        text = text[:start] + middle + text[end:]
    return text


def _check(reply: GuestReply) -> None:
    names = [interface.name for interface in reply.interfaces]
    assert all(name and name.isprintable() and len(name) <= 256 for name in names)
    json.dumps(names).encode()
    assert len(reply.faults) <= 32


def test_a_hundred_thousand_broken_replies_raise_nothing_else_and_leak_nothing() -> None:
    seeds = [case.text for case in (*SYSTEMS, *HOSTILE, *FAILING) if len(case.text) < 4000]
    random_ = random.Random(20261124)
    read = unprintable = 0
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for number in range(CASES):
            text = _mutated(random_, seeds[number % len(seeds)])
            try:
                _check(parse_interfaces(text, keep={"52:54:00:00:00:0a"}))
                read += 1
            except AgentFailure as failure:
                unprintable += not failure.message.isprintable()
            if number % 20 == 0:
                parse_info(text)
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert CASES // 50 < read < CASES, "both what can be read and what cannot was there"
    assert unprintable == 0
    assert after - before < GROWTH / 10
    assert peak - before < GROWTH
