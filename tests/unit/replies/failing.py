"""Replies from which nothing can be read: the names known before stay."""

from __future__ import annotations

import json

from tests.unit.replies.case import Case


def refused(id: str, reply: object, says: str, state: str = "bad_reply") -> Case:
    return Case(id, reply, state=state, says=says)


def error(desc: object, kind: str = "GenericError") -> str:
    return json.dumps({"error": {"class": kind, "desc": desc}})


FAILING = [
    refused("nothing", "", "not JSON"),
    refused("a word", "hello", "not JSON"),
    refused("half a reply", '{"return":[{"name":"eth0"', "not JSON"),
    refused("two replies", '{"return":[]}{"return":[]}', "not JSON"),
    refused("a byte order mark", '\ufeff{"return":[]}', "not JSON"),
    refused("a list", "[]", "no JSON object"),
    refused("a number", "7", "no JSON object"),
    refused("two results", '{"return":[],"return":[]}', "repeats a key"),
    refused("neither result nor error", '{"id":3}', "neither a result nor an error"),
    refused("an event", '{"event":"RESET","timestamp":{}}', "neither a result nor an error"),
    refused("an empty list", [], "listed no interfaces"),
    refused("null", None, "listed no interfaces"),
    refused("an empty object: guest-ping's reply", {}, "listed no interfaces"),
    refused("guest-info's reply", {"version": "7.2.0", "supported_commands": []}, "late reply"),
    refused("guest-file-open's reply", 1000, "late reply"),
    refused("guest-fsfreeze-status' reply", '{"return":"thawed"}', "late reply"),
    refused("false", False, "late reply"),
    refused("only strings", ["eth0", "eth1"], "no usable interface: an entry is not an object"),
    refused("only entries without name", [{}, {"name": ""}], "no usable interface: an entry has no name"),
    refused("deep nesting of lists", '{"return":' + "[" * 100_000, "nested too deeply"),
    refused("deep nesting of objects", '{"return":[' + '{"a":' * 30_000, "nested too deeply"),
    refused("very many values", '{"return":[' + "[]," * 500_000 + "1]}", "more than 200000 values"),
    refused("very long", '{"return":[{"name":"' + "A" * 4_200_000 + '"}]}', "longer than 4194304 characters"),
    refused(
        "disabled",
        error("The command guest-network-get-interfaces has been disabled for this instance"),
        "not allowed to answer",
        "disabled",
    ),
    refused(
        "disabled, 10.0",
        error("Command guest-network-get-interfaces has been disabled: the command is not allowed", "CommandNotFound"),
        "not allowed to answer",
        "disabled",
    ),
    refused(
        "unknown command",
        error("The command guest-network-get-interfaces has not been found", "CommandNotFound"),
        "not allowed to answer",
        "disabled",
    ),
    refused("unsupported", error("this feature or command is not currently supported"), "or cannot", "disabled"),
    refused("a class that says it all", error("Kommando unbekannt", "CommandNotFound"), "Kommando", "disabled"),
    refused("no description", '{"error":{"class":"CommandNotFound"}}', "CommandNotFound", "disabled"),
    refused(
        "frozen, 7.2",
        error(
            "Command guest-network-get-interfaces has been disabled: the agent is in frozen state", "CommandNotFound"
        ),
        "file systems are frozen",
        "frozen",
    ),
    refused("a failure of its own", error("getifaddrs failed: Cannot allocate memory"), "getifaddrs"),
    refused("an error beside a result", '{"return":[],"error":{"class":"GenericError","desc":"odd"}}', "odd"),
    refused("an error that is text", '{"error":"no"}', "an error without words"),
    refused("an error that is null", '{"error":null}', "an error without words"),
    refused("an error of 1 MB", error("x" * 1_000_000), "xxx"),
    refused("an error with ESC", error("\x1b[31mred\u202e\x00"), "\\x1b[31mred\\u202e\\x00"),
]
