"""A real Chromium, Debian's, installed by apt where that is allowed, and driven by Playwright."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from playwright.sync_api import sync_playwright

from cluster.bed import settings
from cluster.bed.packages import by_hand
from cluster.bed.running import locked, path_of, run, say

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser

# What a browser does of itself must not be taken for what the page does.
_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


class NoBrowser(AssertionError):
    """There is no Chromium, and none can be installed: that is a failure, not a reason to skip."""


def chromium() -> str:
    """Return the path of Chromium, installed first if it is not there. Raises ``NoBrowser``."""
    found = path_of("chromium")
    if found is None:
        _install()
        found = path_of("chromium")
    if found is None:
        raise NoBrowser(f"Chromium is missing; install it: {by_hand(['chromium'])}")
    return str(found)


def _install() -> None:
    if os.geteuid() != 0 or path_of("apt-get") is None:
        return
    with locked(settings.read().cache / "apt.lock", "it installs packages"):
        if path_of("chromium") is not None:
            return
        say("installing chromium")
        run("apt-get", "update", "-qq", timeout=600)
        install = ("apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium")
        run(*install, timeout=900, DEBIAN_FRONTEND="noninteractive")


@contextmanager
def running() -> Iterator[Browser]:
    """Give a headless browser with an empty profile."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=list(_FLAGS))
        try:
            yield browser
        finally:
            browser.close()
