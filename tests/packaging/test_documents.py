"""The manual pages and the example configuration say everything that the program has, and nothing that it has not."""

from __future__ import annotations

import itertools
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import click
import pytest

from nicmapd import __version__, config
from nicmapd.__main__ import argument_parser
from nicmapd.cli.program import program
from nicmapd.model import AgentState

TOP = Path(__file__).parents[2]
PAGES = ["nicmapd.8", "nicmapctl.1", "nicmapd.toml.5"]
EXAMPLE = TOP / "config" / "nicmapd.toml"


def source(page: str) -> str:
    return (TOP / "man" / page).read_text(encoding="utf-8")


def rendered(page: str) -> str:
    """The page as `man` shows it, 200 columns wide so that nothing is hyphenated or broken."""
    command = ["groff", "-man", "-ww", "-Tutf8", "-P-cbou", "-rHY=0", "-rLL=200n", str(TOP / "man" / page)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.replace("‐", "-").replace("−", "-")


def section(page: str, title: str) -> str:
    found = re.search(rf"^{re.escape(title)}$\n(.*?)(?=^\S|\Z)", rendered(page), re.M | re.S)
    assert found, f"{page} has no section {title}"
    return found[1]


needs_groff = pytest.mark.skipif(shutil.which("groff") is None, reason="needs groff (apt-get install groff-base)")


@needs_groff
@pytest.mark.parametrize("page", PAGES)
def test_a_page_renders_without_a_warning(page: str) -> None:
    text = rendered(page)
    for title in ("NAME", "SYNOPSIS", "DESCRIPTION", "SEE ALSO"):
        assert re.search(rf"^{title}$", text, re.M)
    name, number = page.rsplit(".", 1)
    assert f"{name}({number})" in text.lower()
    assert f"nicmapd {__version__}" in text


@needs_groff
@pytest.mark.parametrize("page", PAGES)
def test_a_page_refers_only_to_pages_that_are_there(page: str) -> None:
    ours = {name.rsplit(".", 1)[0]: name.rsplit(".", 1)[1] for name in PAGES}
    for name, number in re.findall(r"\b([a-z]+[\w.-]*)\((\d)\)", rendered(page)):
        if name.startswith("nicmap"):
            assert ours[name] == number


# -- nicmapctl(1)


def commands() -> dict[str, click.Command]:
    context = click.Context(program)
    return {name: found for name in program.list_commands(context) if (found := program.get_command(context, name))}


@needs_groff
def test_every_command_is_in_the_manual_with_its_arguments() -> None:
    text = section("nicmapctl.1", "COMMANDS")
    told = set(re.findall(r"^ {7}([a-z]+)(?= |$)", text, re.M))
    assert told == set(commands())
    for name, command in commands().items():
        (head,) = re.findall(rf"^ {{7}}{name}\b.*$", text, re.M)
        for parameter in command.params:
            if isinstance(parameter, click.Argument):
                assert parameter.make_metavar(click.Context(command)).strip("[].") in head


@needs_groff
def test_every_option_is_in_the_manual() -> None:
    text = section("nicmapctl.1", "OPTIONS")
    for parameter in program.params:
        for word in parameter.opts:
            assert re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", text), word
    general = {word for parameter in program.params for word in parameter.opts} | {"-h", "--help"}
    paragraphs = _paragraphs(section("nicmapctl.1", "COMMANDS"))
    for name, command in commands().items():
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                for word in set(parameter.opts + parameter.secondary_opts) - general:
                    assert re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", paragraphs[name]), f"{name} {word}"


@needs_groff
def test_no_option_is_in_the_manual_that_there_is_not() -> None:
    known = {"--help", "-h"}
    for command in (program, *commands().values()):
        for parameter in command.params:
            known |= {*parameter.opts, *parameter.secondary_opts}
    text = section("nicmapctl.1", "COMMANDS") + section("nicmapctl.1", "OPTIONS") + section("nicmapctl.1", "SYNOPSIS")
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", text)) <= known


def _paragraphs(text: str) -> dict[str, str]:
    """Command -> its paragraph: what follows a line indented by seven, up to the next one."""
    pieces = re.split(r"^ {7}(?=[a-z])", text, flags=re.M)[1:]
    return {piece.split()[0]: piece for piece in pieces}


@needs_groff
def test_every_exit_code_is_in_the_manual() -> None:
    told = set(map(int, re.findall(r"^ {7}(\d+) ", section("nicmapctl.1", "EXIT STATUS"), re.M)))
    assert told == {0, 1, 2, 3, 4, 5, 6, 8, 9, 10}


# -- nicmapd(8)


@needs_groff
def test_every_option_of_the_daemon_is_in_its_manual() -> None:
    text = section("nicmapd.8", "OPTIONS")
    known = {word for action in argument_parser()._actions for word in action.option_strings}
    assert set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", text)) == known


@needs_groff
def test_every_field_of_the_journal_is_in_the_manual() -> None:
    from nicmapd import logs

    text = rendered("nicmapd.8")
    for name in logs.FIELDS.values():
        assert name in text
    assert logs.MAP_CHANGED in text


# -- nicmapd.toml(5) and the example


@needs_groff
def test_every_key_is_in_the_manual_with_its_default() -> None:
    text = section("nicmapd.toml.5", "KEYS")
    told = dict(re.findall(r"^ {7}([a-z]+\.[a-z_]+) += +(.*)$", text, re.M))
    assert set(told) == set(config.keys())
    for key, about in config.keys().items():
        default = about["default"]
        assert tomllib.loads(f"x = {told[key]}")["x"] == (list(default) if isinstance(default, tuple) else default), key


def test_the_example_shows_every_key_and_its_default(tmp_path: Path) -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    assert tomllib.loads(text) == {name: {} for name in tomllib.loads(text)}
    whole = re.sub(r"^#(?=[a-z_]+ = )", "", text, flags=re.M)
    found = tomllib.loads(whole)
    assert {f"{name}.{key}" for name, content in found.items() for key in content} == set(config.keys())
    file = tmp_path / "nicmapd.toml"
    file.write_text(whole, encoding="utf-8")
    assert config.load(file, {}) == config.Config()
    file.write_text(text, encoding="utf-8")
    assert config.load(file, {}) == config.Config()


def test_each_key_of_the_example_is_explained() -> None:
    lines = EXAMPLE.read_text(encoding="utf-8").splitlines()
    for before, line in itertools.pairwise(lines):
        if re.match(r"#[a-z_]+ = ", line):
            assert before.startswith("#"), line
            assert len(line) <= 120


# -- docs/operations.md


def test_the_operators_page_says_what_each_agent_state_means() -> None:
    text = (TOP / "docs" / "operations.md").read_text(encoding="utf-8")
    told = re.findall(r"^\| `([a-z_]+)` \| .+ \| .+ \|$", text, re.M)
    for state in AgentState:
        assert told.count(state.value) >= 1, state.value


def test_the_packages_changelog_is_of_this_version() -> None:
    first = (TOP / "debian" / "changelog").read_text(encoding="utf-8").splitlines()[0]
    assert re.match(rf"nicmapd \({re.escape(__version__)}\) ", first)
