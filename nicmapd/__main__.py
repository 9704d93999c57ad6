"""The command `nicmapd`: reads its arguments and the configuration, runs the daemon, gives the exit code.

0 stopped, 1 failed, 2 bad usage or bad configuration.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path

from nicmapd import __version__, config
from nicmapd.errors import ConfigError, Invalid, NicmapError
from nicmapd.logs import start_logging

_log = logging.getLogger("nicmapd")


def argument_parser() -> argparse.ArgumentParser:
    """The program's options; its manual page is checked against them."""
    parser = argparse.ArgumentParser(
        prog="nicmapd",
        description="Keeps the map from the NICs of this host's VMs to the names that their guests give them.",
        epilog="It runs in the foreground and logs to stderr. nicmapctl shows what it knows.",
    )
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help=f"configuration (default {config.DEFAULT_FILE}, if it is there)"
    )
    parser.add_argument("--check-config", action="store_true", help="read the configuration, say what is wrong, end")
    parser.add_argument("--version", action="version", version=f"nicmapd {__version__}")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Runs the program; the exit code."""
    arguments = argument_parser().parse_args(argv)
    try:
        settings = config.load(arguments.config)
    except ConfigError as error:
        for fault in error.faults:
            print(fault, file=sys.stderr)
        return 2
    if arguments.check_config:
        faults = _check_named(settings)
        for fault in faults:
            print(config.located(arguments.config, fault), file=sys.stderr)
        if faults:
            return 2
        there = arguments.config is not None or config.DEFAULT_FILE.exists()
        absent = f"there is no {config.DEFAULT_FILE}, the defaults hold: fine"
        print(f"{arguments.config or config.DEFAULT_FILE}: fine" if there else absent)
        return 0
    start_logging(settings.log)
    code = _run(settings, arguments.config)
    sys.stdout.flush()
    sys.stderr.flush()
    # A thread may be held by a guest that hangs, in a call that nothing can end: do not wait for it.
    os._exit(code)


def _check_named(settings: config.Config) -> list[str]:
    """What is wrong with what the configuration names: files, addresses, the store. Whose the files are counts only for
    the daemon's user."""
    from nicmapd import store
    from nicmapd.api.door import access, sockets, tls

    checks: list[Callable[[], object]] = [
        lambda: access.rules_of(settings.api, strict=False),
        lambda: tls.context_of(settings.api, strict=False),
        lambda: sockets.check_listen(settings.api),
        lambda: store.check_url(settings.store.url),
    ]
    faults: list[str] = []
    for check in checks:
        try:
            check()
        except ConfigError as error:
            faults += error.faults
        except Invalid as error:
            faults.append(error.message)
    return faults


def _run(settings: config.Config, path: Path | None) -> int:
    from nicmapd.daemon import Daemon  # late: --version needs none of it

    async def serve() -> None:
        await Daemon(settings, path=path).run()

    runner = asyncio.Runner()
    try:
        runner.run(serve())
    except ConfigError as error:
        for fault in error.faults:
            _log.error("%s", config.located(path, fault))
        return 2
    except Invalid as error:  # the store's: what `store.url` names is none
        _log.error("%s", config.located(path, error.message))
        return 2
    except NicmapError as error:
        _log.error("%s", error.message)
        return 1
    except Exception:  # noqa: BLE001  the last resort: the exit code must say that it failed
        _log.exception("nicmapd failed; this is a defect")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
