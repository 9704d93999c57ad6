"""`nicmapctl doctor`: why the map knows what it knows, or why there is nothing."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import click

from nicmapd.cli import checks, failure, table, words
from nicmapd.cli.calling import Command
from nicmapd.cli.checks import Check, Result
from nicmapd.cli.session import Session, command_options
from nicmapd.errors import NicmapError, Unavailable

_COLOURS = {Result.PASS: "good", Result.WARN: "old", Result.FAIL: "bad", Result.SKIP: "dim"}


@click.command("doctor", cls=Command)
@click.argument("vm", required=False)
@command_options
@click.pass_context
def command(ctx: click.Context, vm: str | None) -> None:
    """Checks how names get from the guests into the map, one check a line, and says what to do.

    Of VM everything; without it the daemon, and of each VM what is not as it should be. Exit code 1 if a check failed.
    """
    session: Session = ctx.obj
    session.about("doctor", vm)
    code = failure.OK
    try:
        status = session.client.get("status")
    except NicmapError as error:
        advice = failure.next_step(error, session)
        found = [Check("nicmapd", "answers", Result.FAIL, words.text(error.message), advice)]
        code = failure.exit_code(error)
    else:
        uri = status["libvirt"]["uri"]
        daemon = checks.of_daemon(status, _reasons(session))
        found = [*daemon, *(_host(session, uri) if vm is None else _vm(session, vm, uri))]
    counts = Counter(check.result for check in found)
    if session.json:
        session.print_json(_document(found, counts))
    else:
        session.print(_text(found, counts))
    if counts[Result.FAIL]:
        ctx.exit(code or failure.FAILED)


def _reasons(session: Session) -> Sequence[str]:
    """Why the daemon is not ready; nothing if it is."""
    try:
        session.client.get("readyz")
    except Unavailable as error:
        reasons = error.details.get("reasons")
        return [str(one) for one in reasons] if isinstance(reasons, list) else [error.message]
    return []


def _vm(session: Session, vm: str, uri: str | None) -> list[Check]:
    document = session.client.get("vms", vm)
    nics = session.client.get("vms", document["uuid"], "interfaces")["items"]
    return checks.of_vm(document, nics, uri=uri)


def _host(session: Session, uri: str | None) -> list[Check]:
    """Every VM: one line if it is well, else what is not."""
    nics: defaultdict[str, list[Any]] = defaultdict(list)
    for nic in session.client.items("interfaces"):
        nics[nic["vm_uuid"]].append(nic)
    found: list[Check] = []
    for vm in session.client.items("vms"):
        of_vm = checks.of_vm(vm, nics[vm["uuid"]], uri=uri)
        bad = [check for check in of_vm if not check.good]
        if bad:
            found += bad
        elif len(of_vm) == 1:  # it is off
            found += of_vm
        else:
            named = ", ".join(words.text(nic["name"]) for nic in nics[vm["uuid"]] if nic["name"])
            found.append(Check(words.text(vm["name"]), "all is well", Result.PASS, named))
    return found + checks.of_all(nic for some in nics.values() for nic in some)


def _document(found: Sequence[Check], counts: Counter[Result]) -> dict[str, Any]:
    return {
        "passed": counts[Result.PASS],
        "warned": counts[Result.WARN],
        "failed": counts[Result.FAIL],
        "skipped": counts[Result.SKIP],
        "checks": [
            {
                "subject": one.subject,
                "check": one.what,
                "result": one.result.value,
                "detail": one.detail,
                "advice": one.advice,
            }
            for one in found
        ],
    }


def _text(found: Sequence[Check], counts: Counter[Result]) -> str:
    colour = table.colourful()
    heads = [f"{one.subject}: {one.what}" for one in found]
    space = max(map(table.width, heads), default=0)
    lines = []
    for head, one in zip(heads, found, strict=True):
        result = table.paint(one.result.value, _COLOURS[one.result], on=colour)
        remark = "; ".join(part for part in (one.detail, one.advice) if part)
        lines.append(head + " " * (space - table.width(head)) + f" : {result}" + (f" ({remark})" if remark else ""))
    summary = f"{counts[Result.FAIL]} failed, {counts[Result.WARN]} warned, {counts[Result.PASS]} passed"
    return "\n".join([*lines, summary])
