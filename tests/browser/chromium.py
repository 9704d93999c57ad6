"""Debian's Chromium under Playwright."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import shutil
from collections.abc import Iterator
from typing import Any

#: Fewer processes and no disk cache: the machine is shared with guests.
_ARGUMENTS = ("--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking", "--disable-extensions")

#: What a browser says of a server that went, for `watched_page(allowed=...)`: while nothing listens, in the middle of
#: an answer (chunked, or with a length), before its first byte, on a kept connection before a word was sent; and of a
#: new one that is still starting.
GONE = (
    r"net::ERR_(CONNECTION_\w+|INCOMPLETE_CHUNKED_ENCODING|CONTENT_LENGTH_MISMATCH|EMPTY_RESPONSE|SOCKET_NOT_CONNECTED)"
    r"|\b503\b"
)


def executable() -> str | None:
    return shutil.which("chromium")


def why_not() -> str:
    """Why no page can be opened here; empty if one can."""
    if executable() is None:
        return "needs Chromium (apt-get install chromium)"
    if importlib.util.find_spec("playwright") is None:
        return "needs playwright (pip install 'nicmapd[dev]')"
    return ""


@contextlib.contextmanager
def launch() -> Iterator[Any]:
    """A headless browser."""
    from playwright.sync_api import sync_playwright

    # Chromium's own sandbox does not work for root.
    arguments = [*_ARGUMENTS, *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable(), args=arguments)
        try:
            yield browser
        finally:
            browser.close()


@contextlib.contextmanager
def watched_page(browser: Any, *, allowed: str = "", **options: Any) -> Iterator[Any]:
    """A page in a context of its own. Faults of scripts, and refusals of the policy, fail at the end, unless their
    text matches the pattern `allowed`."""
    faults: list[str] = []

    def dismiss(dialog: Any) -> None:
        faults.append(f"a dialog: {dialog.message}")
        dialog.dismiss()

    context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **options})
    try:
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
        page.on("dialog", dismiss)
        yield page
    finally:
        context.close()
    unexpected = [fault for fault in faults if not (allowed and re.search(allowed, fault))]
    assert not unexpected, unexpected
