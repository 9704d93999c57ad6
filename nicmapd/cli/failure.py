"""How it ends when it does not work: two lines on stderr (what, and what to do next) and an exit code."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

import click

from nicmapd.cli import words
from nicmapd.cli.session import DEFAULT_SOCKET, Session, encode, way
from nicmapd.errors import NicmapError, NotPermitted, TimedOut, Unreachable
from nicmapd.text import printable

OK, FAILED, USAGE, TIMEOUT, REFUSED, CONFLICT, STALE, UNREACHABLE, FORBIDDEN, NOT_FOUND = 0, 1, 2, 3, 4, 5, 6, 8, 9, 10
#: As a shell says of a program that Ctrl-C ended.
INTERRUPTED = 130
#: As a shell says of a program whose reader (head, less) has had enough: SIGPIPE.
CUT_OFF = 141

#: What each code of the api comes to.
_EXIT_CODES: Mapping[str, int] = {
    "not_found": NOT_FOUND,
    "ambiguous": CONFLICT,
    "conflict": CONFLICT,
    "precondition_failed": CONFLICT,
    "invalid": USAGE,
    "stale": STALE,
    "unsupported": FAILED,
    "unavailable": FAILED,
    "forbidden": FORBIDDEN,
    "internal": FAILED,
}


class NotYet(NicmapError):
    """Time is up, and it is not so."""

    code = "timeout"


class Declined(NicmapError):
    """The user said no."""

    code = "declined"


class Interrupted(NicmapError):
    """Ctrl-C while something was under way that does not end with it."""

    code = "interrupted"


def exit_code(error: NicmapError) -> int:
    """The exit code that tells of `error`."""
    if isinstance(error, Unreachable):
        return UNREACHABLE
    if isinstance(error, (TimedOut, NotYet)):
        return TIMEOUT
    if isinstance(error, Interrupted):
        return INTERRUPTED
    if error.details.get("refused"):
        return REFUSED
    return _EXIT_CODES.get(error.code, FAILED)


def tell(error: NicmapError, session: Session) -> int:
    """Prints what is wrong and what to do next; gives the exit code."""
    code = exit_code(error)
    if session.json:
        document = {"code": error.code, "detail": error.message, "exit_code": code, **error.details}
        sys.stderr.write(encode(document) + "\n")
        return code
    what = printable(_what(error))
    sys.stderr.write(f"nicmapctl: {what}\n")
    following = next_step(error, session)
    if following:
        sys.stderr.write(f"{following}\n")
    sys.stderr.flush()
    return code


def _what(error: NicmapError) -> str:
    """The message, with an age where it has a time: "renamed 2 h ago" is what people think in."""
    for member in ("renamed_at", "detached_at"):
        moment = error.details.get(member)
        if isinstance(moment, str):
            return error.message.replace(f" at {moment}", f" {words.ago_of(moment)}")
    return error.message


def next_step(error: NicmapError, session: Session) -> str:
    """What to do about it, one line; nothing only where the user decided so."""
    return _by_details(error, session) or _by_kind(error, session) or _by_code(error, session)


def _by_details(error: NicmapError, session: Session) -> str:
    """Where the error itself knows what would work."""
    command, vm, _, *rest = (*session.subject, "", "", "")
    renamed, candidates = error.details.get("renamed_to"), error.details.get("candidates")
    removed, oldest = error.details.get("removed_uuid"), error.details.get("oldest")
    if isinstance(renamed, str) and vm:
        return f"Try: {line(command, vm, renamed, *rest)}"
    if isinstance(candidates, list) and candidates:
        return f"Try: {_with_candidates(session, [str(one) for one in candidates])}"
    if "incomplete" in error.details:
        return f"Try: {line('doctor')}"
    if isinstance(removed, str):
        return f"Try: {line('history', removed)}"
    if isinstance(oldest, int):
        return f"Try: {line('events', vm, options=('--after', str(max(0, oldest - 1))))}"
    if error.details.get("refused"):
        return f"Look into the guest (is the NIC in use, has it booted?), then try again: {line(*session.subject)}"
    if "active" in error.details or error.details.get("key") == "network":
        return f"See: {line('networks')}"
    return ""


def _by_kind(error: NicmapError, session: Session) -> str:
    """Where it is about the way to the daemon, or about waiting."""
    if isinstance(error, NotPermitted):
        group = _group(session.socket)
        return f"Root may (sudo nicmapctl ...), and who is in group {group} (usermod -aG {group} USER, log in anew)"
    if isinstance(error, Unreachable):
        return _unreachable(session, error.details.get("certificate"))
    if isinstance(error, TimedOut):
        return f"Try: {line('status')}"
    if isinstance(error, NotYet):
        seen = ("list", *session.subject[1:2]) if error.details.get("missing") else ("show", *session.subject[1:])
        return f"Try: {session.hint or line(*seen)}"
    if isinstance(error, Interrupted):
        return f"See what became of it: {line('list', *session.subject[1:2])}"
    return ""


def _by_code(error: NicmapError, session: Session) -> str:
    """What is worth trying after an error of that code."""
    command, vm, nic = (*session.subject, "", "", "")[:3]
    found = {
        "precondition_failed": f"Look at what it is now, then try again: {line(*session.subject)}",
        "forbidden": "Root may: sudo nicmapctl ..., and the group that is named (usermod -aG GROUP USER, log in anew)",
        "not_found": f"Try: {line('list', vm) if 'vm_uuid' in error.details else line('list')}",
        "unavailable": f"What was known stays known; to see why: {line('doctor', vm)}",
        "invalid": f"See: nicmapctl {command} --help",
        "conflict": f"Try: {session.hint}" if session.hint else f"What is known of it: {line('show', vm, nic)}",
        "ambiguous": f"Try: {line('list', vm)}",
        "stale": f"Try: {session.hint or (line('refresh', vm) if vm else line('status'))}",
        "unsupported": f"What there is: {line('status')}",
        "internal": "Its log has the details: journalctl -u nicmapd",
    }.get(error.code, "")
    if error.code == "forbidden" and session.url is not None:
        return "Give a token that may with --token-file, or run it on the host itself, without --url"
    if error.code == "not_found" and command == "networks":
        return f"Try: {line('networks')}"
    return found


def _unreachable(session: Session, certificate: object) -> str:
    """`certificate`: what is wrong with it, if that is all."""
    if certificate == "name":
        return "Give the name that is in its certificate: --url https://NAME:PORT"
    if certificate == "trust":
        return "Give the certificate that vouches for it: --ca-file FILE (its own, if it has signed itself)"
    if session.url is None and session.socket == DEFAULT_SOCKET:
        return "Is it running? systemctl status nicmapd (its api.socket may be elsewhere: --socket, $NICMAPD_SOCKET)"
    scheme = ": http or https" if session.url is not None else ""
    return f"Is it running, and is this its address{scheme}? (--socket, --url, $NICMAPD_SOCKET, $NICMAPD_URL)"


def _group(path: str) -> str:
    """The group whose members may connect there; the one that it has by default if that cannot be seen."""
    try:
        return printable(Path(path).group())
    except (OSError, KeyError):
        return "nicmapd"


def _with_candidates(session: Session, candidates: Sequence[str]) -> str:
    """The call again with what would be clear, for the first few."""
    command, *rest = session.subject or ("show",)
    # What was meant is a NIC, where one was given, else the VM.
    place = 1 if len(rest) > 1 else 0
    return "  or  ".join(line(command, *rest[:place], one, *rest[place + 1 :]) for one in candidates[:3])


def line(*words: str, options: Sequence[str] = ()) -> str:
    """A command line that can be copied: it asks the same daemon, too. `words` are the command and what it is about;
    empty ones are left out."""
    command, about = words[:1], [word for word in words[1:] if word]
    # Nobody keeps a guest from calling its NIC --yes.
    dashed = any(word.startswith("-") for word in about)
    parts = (*way.get(), *command, *((*options, "--", *about) if dashed else (*about, *options)))
    return " ".join(["nicmapctl", *(shlex.quote(printable(part)) for part in parts)])


def unknown_command(ctx: click.Context, word: str, known: Sequence[str]) -> NoReturn:
    """Usage error that says which command was meant."""
    import difflib

    near = difflib.get_close_matches(word, known, n=1)
    meant = f', did you mean "{near[0]}"?' if near else ""
    raise click.UsageError(f'there is no command "{printable(word)}"{meant} (there are {", ".join(known)})', ctx)


def tell_unwritable(reason: str) -> int:
    """Says that nobody can have the output; gives the exit code."""
    if sys.stderr is not None:
        sys.stderr.write(f"nicmapctl: cannot write to stdout: {reason}\n")
        sys.stderr.write("See where it goes: >/dev/null for nowhere\n")
    return FAILED


def tell_usage(error: click.ClickException, *, json: bool = False) -> int:
    """Prints what is wrong with the call and where it is explained; gives the exit code."""
    # click lists what can be chosen on lines of their own.
    message = printable(" ".join(error.format_message().split()))
    if json:
        sys.stderr.write(encode({"code": "invalid", "detail": message, "exit_code": error.exit_code}) + "\n")
        return error.exit_code
    sys.stderr.write(f"nicmapctl: {message}\n")
    if isinstance(error, click.UsageError):
        path = error.ctx.command_path if error.ctx is not None else "nicmapctl"
        sys.stderr.write(f"See: {path} --help\n")
    return error.exit_code
