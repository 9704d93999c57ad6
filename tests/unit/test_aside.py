"""Work that nobody waits for."""

from __future__ import annotations

import threading

import pytest

from nicmapd.aside import Aside


def test_what_it_fails_with_is_told_and_the_next_is_done(caplog: pytest.LogCaptureFixture) -> None:
    aside, done = Aside(), threading.Event()

    def fail() -> None:
        raise ZeroDivisionError("the words of the defect")

    aside.run(fail)
    aside.run(done.set)
    assert done.wait(10)
    (record,) = caplog.records
    assert record.levelname == "ERROR"
    assert record.exc_info is not None
    assert "the words of the defect" in caplog.text
    aside.stop()


def test_what_the_stop_leaves_undone_is_no_failure(caplog: pytest.LogCaptureFixture) -> None:
    aside, begun, release = Aside(), threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        assert release.wait(10)

    aside.run(work)
    aside.run(lambda: 1 / 0)
    assert begun.wait(10)
    aside.stop()
    release.set()
    assert caplog.records == []
