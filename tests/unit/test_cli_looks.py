"""How tables, ages and times look, without a server."""

from __future__ import annotations

import grp
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
import pytest

from nicmapd import errors
from nicmapd.cli import failure, table, words
from nicmapd.cli.session import Session
from nicmapd.cli.table import Cell


@pytest.mark.parametrize(
    ("seconds", "short", "prose"),
    [
        (None, "-", "never"),
        (0, "0s", "0 s ago"),
        (0.9, "0s", "0 s ago"),
        (59.9, "59s", "59 s ago"),
        (60, "1m", "1 m ago"),
        (7200, "2h", "2 h ago"),
        (3 * 86400.0, "3d", "3 d ago"),
        (-5, "0s", "0 s ago"),
    ],
)
def test_ages_are_short(seconds: float | None, short: str, prose: str) -> None:
    assert (words.age(seconds), words.ago(seconds)) == (short, prose)


@pytest.mark.parametrize(("text", "width"), [("eth0", 4), ("以太网 2", 8), ("e\u0301", 1), ("ﾊ", 1), ("", 0)])
def test_width_is_what_a_terminal_gives(text: str, width: int) -> None:
    assert table.width(text) == width


def test_columns_stay_in_line_behind_wide_names() -> None:
    rows = [[Cell("以太网"), Cell("a")], [Cell("eth0"), Cell("b")]]
    assert table.render(["NIC", "X"], rows) == "NIC     X\n以太网  a\neth0    b\n"


def test_only_the_elastic_column_gets_shorter() -> None:
    parts = ("10.0.0.1/24", "10.0.0.2/24", "10.0.0.3/24")
    rows = [[Cell("a" * 10), Cell(" ".join(parts), parts=parts), Cell("z")]]

    def shown(limit: int | None) -> str:
        return table.render(["A", "B", "C"], rows, limit=limit).splitlines()[1]

    assert shown(None) == shown(50) == f"{'a' * 10}  {' '.join(parts)}  z"
    assert shown(45) == f"{'a' * 10}  10.0.0.1/24 10.0.0.2/24 +1  z"
    assert shown(5) == f"{'a' * 10}  10.0.0.1/24 +2  z"


def test_a_table_without_rows_is_its_header() -> None:
    assert table.render(["A", "B"], [], limit=1) == "A  B\n"


def test_a_sheet_leaves_out_what_is_not_there() -> None:
    assert table.sheet([("a", "1"), ("bb", ""), ("ccc", ["2", "3"])]) == "  a    1\n  ccc  2\n       3\n"


@pytest.mark.parametrize(("text", "ago"), [("90s", 90), ("2h", 7200), ("7d ago", 604800), ("1w", 604800)])
def test_a_time_may_be_an_age(text: str, ago: int) -> None:
    moment = words.parse(words.Moment().convert(text, None, None))
    assert abs(datetime.now(UTC) - timedelta(seconds=ago) - moment) < timedelta(seconds=5)


def test_a_time_may_have_a_zone_or_this_machine_s() -> None:
    convert = words.Moment().convert
    assert convert("2026-01-01T10:00:00+02:00", None, None) == "2026-01-01T08:00:00.000Z"
    here = datetime.fromisoformat("2026-01-01T10:00").astimezone(UTC)
    assert words.parse(convert("2026-01-01 10:00", None, None)) == here
    assert words.parse(convert("2026-01-01", None, None)) == here - timedelta(hours=10)


@pytest.mark.parametrize("text", ["", "soon", "5", "-1h", "2026-13-01", "999999w", "0001-01-01T00:00:00+14:00"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter):
        words.Moment().convert(text, None, None)


#: Every error that a call can end with.
ENDS = (
    errors.NicmapError,
    errors.NotFound,
    errors.Ambiguous,
    errors.Conflict,
    errors.Invalid,
    errors.PreconditionFailed,
    errors.Stale,
    errors.Unsupported,
    errors.Unavailable,
    errors.Forbidden,
    errors.NotPermitted,
    errors.Unreachable,
    errors.TimedOut,
    failure.NotYet,
    failure.Interrupted,
)


@pytest.mark.parametrize("subject", [("list",), ("show", "web1"), ("detach", "web1", "eth0"), ("networks",), ()])
@pytest.mark.parametrize("url", [None, "http://host:1"])
def test_every_error_has_a_next_step(subject: tuple[str, ...], url: str | None) -> None:
    for kind in ENDS:
        step = failure.next_step(kind("what"), Session(subject=subject, url=url))
        assert step, kind
        assert step.isprintable()
    assert failure.next_step(failure.Declined("nothing was changed"), Session(subject=subject)) == ""


def test_a_next_step_repeats_all_of_the_call() -> None:
    session = Session(subject=("link", "web1", "eth5", "down"))
    error = errors.Ambiguous("what", candidates=["52:54:00:00:00:01", "alias:net1"])
    assert failure.next_step(error, session) == (
        "Try: nicmapctl link web1 52:54:00:00:00:01 down  or  nicmapctl link web1 alias:net1 down"
    )
    assert (
        failure.next_step(errors.NotFound("what", renamed_to="ens7"), session) == "Try: nicmapctl link web1 ens7 down"
    )
    several = Session(subject=("show", "web1"))
    assert failure.next_step(errors.Ambiguous("what", candidates=["a", "b c"]), several) == (
        "Try: nicmapctl show a  or  nicmapctl show 'b c'"
    )


def test_what_reads_as_an_option_is_no_option_in_a_line_to_copy() -> None:
    assert failure.line("show", "web1", "-x") == "nicmapctl show -- web1 -x"
    assert failure.line("wait", "--yes", "eth0", options=("--for", "gone")) == "nicmapctl wait --for gone -- --yes eth0"
    assert failure.line("wait", "a b", "", options=("--for", "gone")) == "nicmapctl wait 'a b' --for gone"


def test_who_may_not_connect_is_told_the_group_of_the_socket(tmp_path: Path) -> None:
    session = Session(socket=str(tmp_path))
    group = grp.getgrgid(tmp_path.stat().st_gid).gr_name
    assert f"who is in group {group} (usermod -aG {group} USER" in failure.next_step(errors.NotPermitted("w"), session)
    session = Session(socket=str(tmp_path / "not" / "there"))
    assert "usermod -aG nicmapd USER" in failure.next_step(errors.NotPermitted("w"), session)


def test_sizes_have_units() -> None:
    assert [words.size(number) for number in (None, 0, 1023, 1024, 5 * 1024**3, 2**60)] == [
        "-",
        "0 B",
        "1023 B",
        "1.0 KiB",
        "5.0 GiB",
        "1048576.0 TiB",
    ]
