"""Take the pictures of the demo's report for the documentation, light and dark: after ``make demo``.

Installs Chromium if it is not there, as the tests do. Look at the pictures; nothing compares them.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from chromium_browser import running  # noqa: E402 - the tests' browser

_SIZE = {"width": 1100, "height": 640}


def main() -> None:
    """Write the pictures into docs/images."""
    folder = ROOT / "docs" / "images"
    folder.mkdir(exist_ok=True)
    with running() as browser:
        for scheme, name, heading in (("light", "report", "h1"), ("dark", "report-cases", "#heat-title")):
            with browser.new_context(viewport=_SIZE, color_scheme=scheme) as context:
                page = context.new_page()
                page.goto((ROOT / "build" / "report.html").as_uri())
                page.wait_for_selector("html[data-ready]", state="attached")
                page.locator(heading).evaluate("heading => heading.scrollIntoView()")
                page.screenshot(path=folder / f"{name}-{scheme}.png")


if __name__ == "__main__":
    main()
