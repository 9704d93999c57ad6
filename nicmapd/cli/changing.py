"""What the commands that change things share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click

from nicmapd.cli.failure import Interrupted
from nicmapd.cli.progress import Progress

#: The longest wait that can be asked for, in seconds: what the daemon grants.
MAX_WAIT = 300


def wait_option(text: str) -> Callable[[Any], Any]:
    """`--wait S`: None if it is not given."""
    return click.option("--wait", type=click.IntRange(0, MAX_WAIT), metavar="S", help=text)


@contextmanager
def under_way(text: str) -> Iterator[Progress]:
    """A request that the daemon carries out whether or not somebody waits for the answer. `text`: escaped."""
    with Progress(text) as progress:
        try:
            yield progress
        except KeyboardInterrupt:
            raise Interrupted("what was asked for goes on; only the waiting for it has ended") from None
