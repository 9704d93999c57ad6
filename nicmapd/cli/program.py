"""The program: its global options, its commands by name, its end."""

from __future__ import annotations

import errno
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, NoReturn

import click

from nicmapd import __version__
from nicmapd.cli import failure, words
from nicmapd.cli.session import Session, connection_options, way
from nicmapd.errors import NicmapError

if TYPE_CHECKING:
    from nicmapd.client import Client

#: Name -> what --help says of it in a few words, in that order. The command itself is `commands/<name>.py`, and is
#: loaded only when it is called: help must come at once.
COMMANDS = {
    "status": "How daemon, libvirt, store and guests do.",
    "list": "NICs, one a line; now or as they were.",
    "show": "Everything known, with the reasons.",
    "resolve": "Guest name to MAC (or alias, host device), for scripts.",
    "find": "Whose is this MAC, address, name?",
    "history": "Past names, MACs and addresses.",
    "networks": "libvirt's networks, and the NICs on them.",
    "events": "What changes, as it does, a line each.",
    "watch": "A table on the terminal that follows what changes.",
    "doctor": "Check the way from libvirt to the names; say what to do.",
    "refresh": "Ask the guest now, print what changed.",
    "attach": "A NIC more; prints what the guest calls it.",
    "detach": "A NIC less, after saying which one that is.",
    "link": "Plug the cable of a NIC in or out.",
    "wait": "Return when a NIC is there, has an address, or is gone.",
}

#: click's switch: set by the scripts in completions/.
_COMPLETION = "_NICMAPCTL_COMPLETE"

#: What a write to stdout may fail with.
_UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)

_EPILOG = """\b
Examples:
  nicmapctl list                        every NIC of every VM
  nicmapctl resolve web1 eth0           its MAC, alone on stdout
  nicmapctl find 192.168.122.10         whose address is that?
  nicmapctl history web1 eth0           what it was called before
  nicmapctl doctor web1                 why there is no name, and what to do
  nicmapctl attach web1 --network lan   a NIC more; prints what its guest calls it

A VM is given by name or UUID; a NIC by guest name, MAC, alias:net0 or dev:vnet1.

\b
Exit codes: 0 ok, 1 failed or degraded, 2 usage, 3 timeout, 4 refused by the guest,
5 conflict or ambiguous, 6 stale, 8 daemon not reachable, 9 not permitted, 10 not found.
"""


class Commands(click.Group):
    """Finds commands by name, and turns errors into two lines and an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"nicmapd.cli.commands.{cmd_name}").command
        command.short_help = COMMANDS[cmd_name]
        if _COMPLETION not in os.environ:
            return command
        from nicmapd.cli import completing  # late, as all that a call does not need

        return completing.enliven(command)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS:
            failure.unknown_command(ctx, args[0], list(COMMANDS))
        return super().resolve_command(ctx, args)

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        try:
            return super().make_context(info_name, args, parent, **extra)
        except BrokenPipeError as error:  # help and version are printed here already
            _drop_output()
            raise click.exceptions.Exit(failure.CUT_OFF) from error

    def invoke(self, ctx: click.Context) -> Any:
        session = ctx.ensure_object(Session)
        try:
            return super().invoke(ctx)
        except NicmapError as error:
            ctx.exit(failure.tell(error, session))
        except BrokenPipeError:  # here, for click would say 1
            _drop_output()
            ctx.exit(failure.CUT_OFF)
        finally:
            session.close()


@click.group(
    cls=Commands,
    no_args_is_help=False,  # two lines, as for every other call that lacks a word
    epilog=_EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="nicmapctl", message="%(prog)s %(version)s")
@connection_options
def program() -> None:
    """Shows which NIC of a VM is which in its guest, now and in the past; attaches and detaches NICs."""


def main() -> NoReturn:
    """Runs nicmapctl and ends the process with its exit code."""
    if sys.stdout is None:
        # Said before anything is done: the number of what is closed goes to the next file or socket that is opened.
        sys.exit(failure.tell_unwritable("it is closed"))
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            # A terminal without UTF-8 shows what it can, and the rest escaped.
            stream.reconfigure(errors="backslashreplace")
    sys.exit(run())


def run(
    arguments: Sequence[str] | None = None,
    *,
    clock: Callable[[], datetime] | None = None,
    client: Client | None = None,
) -> int:
    """One call (None: that of this process); the exit code.

    `clock`: what the time is, for ages. `client`: the connection to use, whatever the call says.
    """
    if _COMPLETION in os.environ:
        importlib.import_module("nicmapd.cli.completing")  # which brings click its ways of completing
    before, way_before = words.clock.set(clock or words.clock.get()), way.set(())
    try:
        code = program.main(arguments, prog_name="nicmapctl", standalone_mode=False, obj=Session(given=client))
    except click.ClickException as error:
        return failure.tell_usage(error, json="--json" in (sys.argv if arguments is None else arguments))
    except click.Abort:
        return failure.INTERRUPTED
    except OSError as error:
        if error.errno not in _UNWRITABLE:
            raise
        _drop_output()
        return failure.tell_unwritable(error.strerror or "it fails")
    finally:
        words.clock.reset(before)
        way.reset(way_before)
    return code if isinstance(code, int) else failure.OK


def _drop_output() -> None:
    """Nobody reads it: what is still buffered must not fail again at the end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
