"""Work that nobody waits for, in a thread of its own: a disk that hangs holds up neither passes nor comparisons."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

_log = logging.getLogger(__name__)


class Aside:
    """One piece of work at a time, in their order. What it fails with is logged."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="keep")

    def run(self, work: Callable[[], object]) -> None:
        """Not after `stop`."""
        self._thread.submit(work).add_done_callback(_tell_failure)

    def stop(self) -> None:
        """Starts nothing more. What is under way is not waited for."""
        self._thread.shutdown(wait=False, cancel_futures=True)


def _tell_failure(work: Future[object]) -> None:
    error = None if work.cancelled() else work.exception()
    if error is not None:
        _log.error("work beside the passes failed; this is a defect of nicmapd", exc_info=error)
