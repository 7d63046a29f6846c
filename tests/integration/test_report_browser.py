"""The HTML report in a real Chromium: of ten trials, of a thousand, of as many as a batch may have, and as served."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from batchyard.clock import SystemClock
from batchyard.judge.cases import CaseCell
from batchyard.judge.comparison import earned
from batchyard.judge.ranking import Measure
from batchyard.kube import read_api
from batchyard.kube.limits import Limits
from batchyard.kube.server import App, Router
from batchyard.reports.html import write_html
from chromium_browser import running
from endpoint_bench import served
from report_builders import HOSTILE, Made, MadeReader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page

# The first test of a fresh machine installs the browser.
pytestmark = pytest.mark.timeout(900)

SIZES = {
    10: Made(),
    1_000: Made(combinations=20, cases=25, repeats=2),
    100_000: Made(combinations=2, cases=50_000, slots=16, noise=True),
}
OPENS_A_TRIAL = "document.activeElement.getAttribute('aria-haspopup') === 'dialog'"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running() as found:
        yield found


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Made], Path]:
    """Write the report of a batch, once for all tests."""
    folder = tmp_path_factory.mktemp("reports")
    written: dict[Made, Path] = {}

    def report(made: Made) -> Path:
        if made not in written:
            written[made] = folder / f"{len(written)}.html"
            with written[made].open("w", encoding="utf-8") as out:
                write_html(made.source(), out)
        return written[made]

    return report


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    with browser.new_context(viewport={"width": 1280, "height": 900}) as context:
        yield context.new_page()


def opened(page: Page, file: Path) -> list[str]:
    """Open a report and wait until it is usable; return what it asked of anybody or complained of."""
    return opened_at(page, file.as_uri())


def opened_at(page: Page, url: str) -> list[str]:
    """Open a report at an address; see ``opened``."""
    heard: list[str] = []
    page.on("request", lambda request: heard.append(request.url))
    page.on("console", lambda message: heard.append(message.text))
    page.on("pageerror", lambda error: heard.append(str(error)))
    page.goto(url)
    page.wait_for_selector("html[data-ready]", state="attached")
    return [one for one in heard if one != url]


@pytest.mark.parametrize("size", SIZES)
def test_the_report_is_small_asks_nobody_and_begins_with_the_verdict(
    size: int, report: Callable[[Made], Path], page: Page
) -> None:
    file = report(SIZES[size])

    heard = opened(page, file)

    assert heard == []
    assert file.stat().st_size < 2_000_000
    first = page.locator("h1, h2, h3").first
    assert first.evaluate("heading => heading.tagName") == "H1"
    assert first.inner_text().startswith("Failed: the gate is not met (minSuccessRate). combination-0 is best")
    assert f"all ({size})" in page.locator("#trials-outcome").inner_text()


@pytest.mark.parametrize("size", SIZES)
def test_a_trial_is_opened_and_left_by_the_keyboard_alone(
    size: int, report: Callable[[Made], Path], page: Page
) -> None:
    opened(page, report(SIZES[size]))

    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    for _ in range(30):
        page.keyboard.press("Tab")
        if page.evaluate(OPENS_A_TRIAL):
            break
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    page.keyboard.press("Enter")

    dialog = page.get_by_role("dialog")
    assert outline == "solid"
    assert dialog.get_by_role("heading").first.inner_text().startswith("Trial combination-0")
    assert page.evaluate("document.activeElement.id") == "trial-title"
    page.keyboard.press("Escape")
    assert dialog.count() == 0
    assert page.evaluate(OPENS_A_TRIAL)


def test_a_trial_shows_its_nodes_the_state_at_fault_and_its_audit_entries(
    report: Callable[[Made], Path], page: Page
) -> None:
    failed = next(result for result in SIZES[10].results() if result.outcome == "Failed")
    opened(page, report(SIZES[10]))

    page.get_by_role("button", name=failed.trial_id, exact=True).click()

    shown = page.get_by_role("dialog").inner_text()
    assert f"node read failed; the state it began from is checkpoint c{failed.ordinal}-1" in shown
    assert failed.message in shown
    rows = page.get_by_role("dialog").get_by_role("row")
    assert [row.inner_text().split("\t")[0] for row in rows.all()] == ["node", "retrieve", "read", "entry", "2"]
    assert f"{failed.trial_id} has ended" in shown


def test_a_trial_with_more_audit_entries_than_are_shown_says_of_how_many(
    report: Callable[[Made], Path], page: Page
) -> None:
    opened(page, report(Made(cases=1, combinations=1, entries_each=25)))

    page.locator("button[aria-haspopup=dialog]").first.click()

    entries = page.get_by_role("dialog").get_by_role("region", name="Entries of this trial")
    assert entries.get_by_role("row").count() == 1 + 20
    assert "The first 20 of 25." in page.get_by_role("dialog").inner_text()


def test_every_cell_of_the_heat_map_says_in_words_what_its_trials_came_to_for_the_gate(
    report: Callable[[Made], Path], page: Page
) -> None:
    made = SIZES[1_000]
    found: dict[tuple[str, str], CaseCell] = {}
    for result in made.results():
        found.setdefault((result.case, result.combination), CaseCell()).add(result.outcome, earned(result))
    late = {(result.case, result.combination) for result in made.results() if result.outcome == "TimedOut"}
    case, name = max(late, key=lambda key: sum(found[key].scores))
    opened(page, report(made))

    page.get_by_label("Find a case").first.fill(case)

    cell = page.get_by_role("button", name=f"{case}, {name}: {found[case, name].passed} of 2 passed, score ")
    said = cell.get_attribute("aria-label") or ""
    assert float(said.rpartition(" ")[2]) == pytest.approx(found[case, name].mean(Measure.SCORE), abs=0.01)


def test_the_means_of_a_combination_are_those_of_the_comparison(report: Callable[[Made], Path], page: Page) -> None:
    opened(page, report(SIZES[10]))

    page.get_by_text("The same as a table").last.click()

    rows = [row.inner_text().split("\t") for row in page.get_by_role("region", name="Means").get_by_role("row").all()]
    assert rows[1:] == [[f"combination-{number}", "0.5", "5 s", "0.02", "2000"] for number in range(2)]


def test_tables_have_captions_and_headings_and_pictures_have_a_text(report: Callable[[Made], Path], page: Page) -> None:
    opened(page, report(SIZES[10]))

    tables = page.locator("table").all()
    assert len(tables) >= 7
    assert all(table.locator("caption").inner_text() for table in tables if table.is_visible())
    assert page.locator("thead th:not([scope=col]), tbody th:not([scope=row])").count() == 0
    for picture in page.locator("canvas").all():
        described = picture.get_attribute("aria-describedby")
        assert len(page.locator(f"#{described}").inner_text()) > 50


def test_the_timeline_draws_each_outcome_and_the_scatter_its_trials(report: Callable[[Made], Path], page: Page) -> None:
    opened(page, report(SIZES[1_000]))

    colours = (
        "id => new Set(new Uint32Array(document.getElementById(id).getContext('2d').getImageData(0, 0, 1200, 60)"
        ".data.buffer)).size"
    )
    assert page.evaluate(colours, "timeline-canvas") > 4
    assert page.evaluate(colours, "scatter-canvas") > 2
    assert "ran out of it" in page.locator("#timeline-said").inner_text()


def test_trials_that_were_carried_over_are_counted_and_not_drawn_where_they_did_not_run(
    report: Callable[[Made], Path], page: Page
) -> None:
    opened(page, report(Made(slots=4, carried=8)))

    said = page.locator("#timeline-said").inner_text()
    page.get_by_text("The same as a table").first.click()
    rows = page.get_by_role("region", name="Slots").get_by_role("row").all()

    assert said.startswith("2 trials on 2 slots in ")
    assert "8 more were carried over from another batch and are not drawn." in said
    assert [row.inner_text().split("\t")[:2] for row in rows[1:]] == [["slot-0", "1"], ["slot-1", "1"]]


def test_the_dark_scheme_of_the_system_is_followed(report: Callable[[Made], Path], browser: Browser) -> None:
    grounds = []
    for scheme in ("light", "dark"):
        with browser.new_context(color_scheme=scheme) as context:
            shown = context.new_page()
            opened(shown, report(SIZES[10]))
            grounds.append(shown.evaluate("getComputedStyle(document.body).backgroundColor"))

    assert grounds == ["rgb(255, 255, 255)", "rgb(13, 17, 23)"]


def test_names_and_messages_are_never_taken_for_markup_or_code(report: Callable[[Made], Path], page: Page) -> None:
    heard = opened(page, report(Made(text=HOSTILE)))
    page.locator("button[aria-haspopup=dialog]").first.click()

    assert heard == []
    assert page.title().startswith("docs-search: Failed")
    assert page.locator("img, b").count() == 0
    assert "<img src=x" in page.get_by_role("dialog").inner_text()


def test_the_file_forbids_every_request_even_to_code_that_got_in(report: Callable[[Made], Path], page: Page) -> None:
    opened(page, report(SIZES[10]))

    said = page.evaluate("""new Promise(done => {
        document.addEventListener('securitypolicyviolation', found => done(found.effectiveDirective));
        fetch('http://127.0.0.1:9/').catch(() => {});
    })""")

    assert said == "connect-src"


def test_the_report_that_an_operator_serves_works_apart_from_everything_else_there(page: Page) -> None:
    limits, token = Limits(), "r" * 64
    routes = read_api.routes(MadeReader(Made(text=HOSTILE)), token, limits)
    page.set_extra_http_headers({"Authorization": f"Bearer {token}"})

    with served(lambda: App(Router(routes, limits=limits, clock=SystemClock(), meter=None), limits)) as endpoint:
        heard = opened_at(page, f"http://127.0.0.1:{endpoint.port}/v1/read/report?reference=docs-search")
        page.locator("button[aria-haspopup=dialog]").first.click()
        shown = page.get_by_role("dialog").inner_text()

    assert heard == []
    assert "node read failed" in shown
    assert page.evaluate("window.origin") == "null"
