"""The wheel, installed where nothing of the checkout is seen, has both programs and the migrations in it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from nicmapd import __version__

TOP = Path(__file__).parents[2]
SOURCES = ("LICENSE", "README.md", "migrations", "nicmapd", "pyproject.toml", "setup.cfg")


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    settings = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | environment
    done = subprocess.run(command, cwd=cwd, env=settings, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh virtual environment with the wheel in it. The libraries are those of the tests' own environment."""
    folder = tmp_path_factory.mktemp("wheel")
    tree = folder / "tree"
    tree.mkdir()
    for name in SOURCES:
        source = TOP / name
        if source.is_dir():
            shutil.copytree(source, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, tree / name)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    run(*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, tree, cwd=folder)
    (wheel,) = folder.glob("nicmapd-*.whl")
    venv.create(folder / "venv", symlinks=True)
    run(*pip, "--python", folder / "venv/bin/python", "install", "--no-deps", "--no-index", wheel, cwd=folder)
    return folder


def test_both_programs_run(place: Path) -> None:
    libraries = {"PYTHONPATH": sysconfig.get_path("purelib")}
    for program in ("nicmapd", "nicmapctl"):
        assert run(place / "venv/bin" / program, "--version", cwd=place, **libraries).split()[-1] == __version__
    assert run(place / "venv/bin/nicmapd", "--check-config", cwd=place, NICMAPD_LOG__LEVEL="debug", **libraries) != ""


def test_a_store_is_made_by_the_migrations_that_came_along(place: Path) -> None:
    script = (
        "import nicmapd, nicmapd.migrations, sys\n"
        "from nicmapd import store\n"
        "from nicmapd.clock import SystemClock\n"
        "opened = store.open_store('sqlite:///map.db', host='h', clock=SystemClock())\n"
        "print(len(opened.load()), nicmapd.__file__, nicmapd.migrations.__file__)\n"
    )
    python = place / "venv/bin/python"
    count, *files = run(python, "-c", script, cwd=place, PYTHONPATH=sysconfig.get_path("purelib")).split()
    assert count == "0"
    for file in files:
        assert file.startswith(str(place)), file
