"""What the shells' TAB offers: VMs and their NICs as the daemon knows them now, and words that an option takes.

The scripts in completions/ set `COMPLETE` to `lines_complete` and COMP_LINE to the command line up to the cursor, and
get one candidate a line, with a tab and what it is after it. They quote: a guest may call its NIC `$(reboot)`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import PurePath
from typing import Any

import click
from click.shell_completion import CompletionItem, ShellComplete, add_completion_class, split_arg_string

from nicmapd.cli.session import Session
from nicmapd.errors import NicmapError
from nicmapd.model import NameState
from nicmapd.text import clean, printable

#: Seconds for an answer: who presses TAB does not wait longer.
_PATIENCE = 1.0
#: VMs asked for at once: more than anybody reads.
_MOST = 1000

Candidate = tuple[str, str]
Source = Callable[[Session, click.Context, str], Iterator[Candidate]]


def _vms(session: Session, _context: click.Context, begin: str) -> Iterator[Candidate]:
    query = {"limit": str(_MOST), "q": begin or None}
    for vm in session.client.get("vms", query=query, timeout=_PATIENCE)["items"]:
        about = f"VM, {vm['state']}"
        # A name that cannot be typed is offered as what stands for it always.
        yield (vm["name"] if vm["name"] == printable(vm["name"]) else vm["uuid"]), about
        if begin:
            yield vm["uuid"], about


def _nics(session: Session, context: click.Context, begin: str) -> Iterator[Candidate]:
    for nic in session.client.get("vms", context.params["vm"], "interfaces", timeout=_PATIENCE)["items"]:
        about = f"{nic['mac']} {nic['network'] or nic['type']}"
        if nic["name"]:
            yield nic["name"], about
        if begin or not nic["name"]:
            yield nic["mac"], nic["name"] or about
        if begin and nic["alias"]:
            yield f"alias:{nic['alias']}", nic["name"] or about
        if begin and nic["target"]:
            yield f"dev:{nic['target']}", nic["name"] or about


def _networks(session: Session, _context: click.Context, _begin: str) -> Iterator[Candidate]:
    for network in session.client.get("networks", timeout=_PATIENCE)["items"]:
        yield network["name"], "libvirt network"


def _states(_session: Session, _context: click.Context, _begin: str) -> Iterator[Candidate]:
    yield from ((state.value, "state of a name") for state in NameState)


class _Live(click.types.StringParamType):
    """A text that TAB can complete."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def shell_complete(
        self,
        ctx: click.Context,
        param: click.Parameter,  # noqa: ARG002  click's signature
        incomplete: str,
    ) -> list[CompletionItem]:
        try:
            found = list(self._source(ctx.ensure_object(Session), ctx, incomplete))
        except (NicmapError, KeyError, TypeError):
            return []  # the daemon is away, or another one than ours: silence is what TAB says then
        return [
            CompletionItem(value, help=about)
            for value, about in dict(found).items()
            if value.startswith(incomplete) and value == clean(value)
        ]


#: Parameter (of any command) -> what completes it. One that takes something else already stays as it is.
_TYPES = {
    "vm": _Live(_vms),
    "nic": _Live(_nics),
    "name": _Live(_nics),
    "network": _Live(_networks),
    "state": _Live(_states),
}


def enliven(command: click.Command) -> click.Command:
    """`command`, with parameters that TAB can complete."""
    for parameter in command.params:
        live = _TYPES.get(parameter.name or "")
        if live is not None and parameter.type is click.STRING and not getattr(parameter, "is_flag", False):
            parameter.type = live
    return command


class Lines(ShellComplete):
    """The protocol of the scripts in completions/."""

    name = "lines"
    source_template = ""

    def get_completion_args(self) -> tuple[list[str], str]:
        line = os.environ.get("COMP_LINE", "")
        words = split_arg_string(line)
        begin = words.pop() if words and not _ended(line) else ""
        while words and PurePath(words[0]).name != self.prog_name:
            words.pop(0)  # VARIABLE=value, sudo
        return words[1:], begin

    def complete(self) -> str:
        try:
            return super().complete()
        except (click.ClickException, NicmapError):
            return ""  # what stands before is wrong already; running it says how

    def format_completion(self, item: CompletionItem[Any]) -> str:
        about = " ".join((item.help or "").split())
        return f"{item.value}\t{about}" if about else str(item.value)


def _ended(line: str) -> bool:
    """Whether the last word of `line` is finished: another begins when one more character is typed."""
    return len(split_arg_string(line + "x")) > len(split_arg_string(line))


add_completion_class(Lines)
