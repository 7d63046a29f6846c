"""The documentation as a site: it builds without a warning, has every page, and asks no other host for anything."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from html.parser import HTMLParser
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import pytest
import yaml

from cluster.bed.settings import process_environment
from docs.pages import CHECKOUT, Page, every_page

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PAGES = [page for page in every_page() if page.name.startswith("docs/")]

# What makes a browser fetch something, as opposed to what a reader may follow.
FETCHED = {
    ("script", "src"),
    ("img", "src"),
    ("iframe", "src"),
    ("source", "src"),
    ("object", "data"),
    ("link", "href"),
}
# Links in the head that name an address without fetching it.
NAMED = {"canonical", "alternate", "prev", "next"}


class Html(HTMLParser):
    """The links, the anchors and the fetched files of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.fetched: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        for name in ("src", "href", "data"):
            if (tag, name) in FETCHED and name in given and not NAMED & {*given.get("rel", "").split()}:
                self.fetched.append(given[name])


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Return the folder of the built site and what the build said."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = process_environment(NO_MKDOCS_2_WARNING="1", NO_COLOR="1")
    done = subprocess.run(command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout + done.stderr


def html(folder: Path) -> Iterator[tuple[Path, Html]]:
    for path in sorted(folder.rglob("*.html")):
        yield path, Html(path.read_text(encoding="utf-8"))


def test_the_site_builds_without_a_warning(built: tuple[Path, str]) -> None:
    _, said = built

    assert "WARNING" not in said
    assert "ERROR" not in said


def test_every_page_is_on_the_site_and_in_its_contents_once(built: tuple[Path, str]) -> None:
    folder, _ = built
    contents = yaml.safe_load((CHECKOUT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]

    listed = sorted(f"docs/{name}" for name in names(contents))

    assert listed == sorted(page.name for page in PAGES)
    assert all((folder / name).with_suffix(".html").is_file() for name in names(contents))


def test_every_link_within_the_site_leads_to_a_page_and_a_place_on_it(built: tuple[Path, str]) -> None:
    folder, _ = built
    found = dict(html(folder))
    leading_nowhere = []

    for path, page in found.items():
        for link in (urlsplit(link) for link in page.links):
            if link.scheme or link.netloc or path.name == "404.html":
                continue
            target = (path.parent / unquote(link.path)).resolve() if link.path else path
            target = target / "index.html" if target.is_dir() else target
            other = found.get(target)
            if other is None or (link.fragment and unquote(link.fragment) not in other.anchors):
                leading_nowhere.append(f"{path.name}: {link.geturl()}")

    assert len(found) > len(PAGES)
    assert not leading_nowhere


def test_the_site_fetches_nothing_from_another_host(built: tuple[Path, str]) -> None:
    folder, _ = built

    fetched = {address for _, page in html(folder) for address in page.fetched}
    styles = [path.read_text(encoding="utf-8") for path in folder.rglob("*.css")]

    assert fetched
    assert not {address for address in fetched if urlsplit(address).netloc}
    assert not [address for style in styles for address in re.findall(r"url\(['\"]?(https?://[^)'\"]+)", style)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_lists_and_tables_begin_after_an_empty_line_or_the_site_runs_them_together(page: Page) -> None:
    lines = outside_blocks(page.text)

    run_together = [
        line
        for before, line in itertools.pairwise(lines)
        if re.match(r"([-*] |\d+\. |\|)", line) and re.match(r"[^\s|#<>*-]", before) and not re.match(r"\d+\. ", before)
    ]

    assert not run_together


def outside_blocks(text: str) -> list[str]:
    return re.sub(r"^( *)```.*?^\1```$", "", text, flags=re.DOTALL | re.MULTILINE).splitlines()


def names(contents: list[object]) -> Iterator[str]:
    """Yield the pages of a table of contents."""
    for entry in contents:
        match entry:
            case str():
                yield entry
            case dict():
                for inner in entry.values():
                    yield from names(inner if isinstance(inner, list) else [inner])
