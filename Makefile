# Everything from a fresh checkout on Debian 12 or later: `make demo`, `make test`. See README.md.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.ONESHELL:
.SILENT:

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Two processes (for live tests each with a lab of its own), a file in one of them. Made-up requests run apart:
# schemathesis gives its tests one name, and of equal names xdist's loadfile runs one.
SPREAD := -n 2 --dist loadfile
MADE_UP := tests/unit/test_api_schemathesis.py tests/unit/test_change_fuzz.py
MADE_UP_LIVE := tests/live/test_change_fuzz.py
# One pip cache and one lab cache for all runs of this checkout.
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help setup lab demo pictures test unit browser live run check fix golden bench soak fuzz clean deb test-package

help:  ## what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## /\1|/' | column -t -s '|'

# -- setting up

setup: $(VENV)/.ready  ## system packages that are missing, and .venv with nicmapd in it

$(VENV)/.system: tools/system-packages tools/packages.txt
	tools/system-packages
	mkdir -p $(VENV)
	touch $@

$(VENV)/.ready: $(VENV)/.system setup.cfg pyproject.toml requirements.txt
	echo "== Python environment in $(VENV)"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --requirement requirements.txt
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

lab: setup  ## the tiny guest's kernel and file system, from Debian's packages
	echo "== guest image"
	$(BIN)/python -m tests.lab build

# -- using it

demo: lab  ## two real guests, the map, a rename in a guest, the map that followed (KEEP=1 leaves it running)
	$(BIN)/python -m tests.lab.demo $(if $(KEEP),--keep,)

run: setup  ## the daemon on this host's libvirt, in the foreground
	$(BIN)/nicmapd

$(VENV)/.system-deb: $(VENV)/.system tools/system-packages tools/packages-deb.txt
	tools/system-packages packages-deb.txt
	touch $@

deb: $(VENV)/.system-deb  ## the Debian package, for the release that this machine runs, in dist/
	tools/build-deb

pictures: lab  ## the screenshots and the recording of README, from real guests
	echo "== pictures"
	$(BIN)/python -m tests.lab.pictures

# -- checking it

test: lab check unit browser live  ## the whole test suite, live tests on real guests included

unit: setup  ## the fast tests, without guests
	echo "== unit tests"
	$(BIN)/pytest -q $(SPREAD) tests --ignore=tests/live --ignore=tests/browser $(MADE_UP:%=--ignore=%)
	$(BIN)/pytest -q $(MADE_UP)

browser: setup  ## the web page in Chromium, without guests
	echo "== tests of the web page"
	$(BIN)/pytest -q tests/browser

live: lab  ## the tests on real guests
	echo "== live tests on real guests"
	$(BIN)/pytest -q $(SPREAD) tests/live --ignore=$(MADE_UP_LIVE)
	$(BIN)/pytest -q $(MADE_UP_LIVE)

check: setup  ## linters, types, import layers; never writes
	echo "== ruff, mypy, import layers"
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test-package: setup $(VENV)/.system-deb  ## builds the package, installs, upgrades and purges it in a fresh Debian; some minutes
	echo "== the package in a fresh Debian"
	NICMAPD_TEST_PACKAGE=1 $(BIN)/pytest -q -rs tests/packaging/test_deb.py

fix: setup  ## formatters, and what the linter can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

golden: setup  ## tests/golden anew, from what nicmapctl prints now; look at the diff
	RENEW_GOLDEN=1 $(BIN)/pytest -q tests/unit/test_cli_golden.py

bench: lab  ## measurements on real guests, as ratios in one run (KEEP=1 keeps them to compare with)
	$(BIN)/python -m tests.bench $(if $(KEEP),--keep,)

soak: lab  ## an hour of churn on real guests: is the map always right, does nothing grow? (SECONDS=600 is shorter)
	$(BIN)/python -m tests.soak $(if $(SECONDS),--seconds $(SECONDS),)

fuzz: lab  ## two thousand made-up requests that change NICs, on real guests and on the fake
	NICMAPD_FUZZ_CASES=670 $(BIN)/pytest -q tests/unit/test_change_fuzz.py tests/live/test_change_fuzz.py

clean:  ## all that was built, the caches of downloads excepted
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
