"""Reports for other programs: CSV and Parquet read back equal, JUnit counts right, Markdown is bounded."""

from __future__ import annotations

import csv
import html
import io
import json
import re
from dataclasses import replace
from datetime import datetime
from itertools import repeat
from typing import IO, TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest

from batchyard.judge.first_difference import Difference, How
from batchyard.judge.lost_trials import Regression, Regressions
from batchyard.model.outcome import Outcome
from batchyard.model.status import BatchStatus
from batchyard.reports.html import write_html
from batchyard.reports.junit import write_junit
from batchyard.reports.markdown import plain, write_markdown
from batchyard.reports.rows import write_csv
from batchyard.reports.statistics import Statistics, contrast_sentence, contrast_table, reliability_cells
from batchyard.reports.verdict import sentence
from batchyard.testing.store_builders import a_batch
from command_line import TESTS, Bench
from report_builders import HOSTILE, Made

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from batchyard.reports.source import Source


@pytest.mark.parametrize("text", ["", "=1+1, \"quoted\"\n'ümlaut' \u202e"])
def test_csv_read_back_has_every_value(text: str) -> None:
    made = Made(text=text)
    out = io.StringIO(newline="")

    write_csv(made.source(), out)

    rows = list(csv.DictReader(io.StringIO(out.getvalue(), newline="")))
    assert len(rows) == made.total
    for row, result in zip(rows, made.results(), strict=True):
        assert (row["trial"], row["case"], row["message"]) == (result.trial_id, result.case, result.message)
        assert (row["score"] and float(row["score"])) == (result.score if result.score is not None else "")
        assert float(row["seconds"]) == result.duration_seconds
        assert datetime.fromisoformat(row["started"]) == result.started_at
        assert float(row["metric.tokens"]) == result.metrics["tokens"]
        assert row[f"variant.part{text}"] == result.combination


def test_parquet_read_back_has_every_value(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    from batchyard.reports.parquet import write_parquet

    made = Made(text=HOSTILE)

    write_parquet(made.source(), tmp_path / "trials.parquet")

    rows = pq.read_table(tmp_path / "trials.parquet").to_pylist()
    assert [row["message"] for row in rows] == [result.message for result in made.results()]
    assert [row["score"] for row in rows] == [result.score for result in made.results()]
    assert [row["started"] for row in rows] == [result.started_at for result in made.results()]
    assert "output" not in rows[0]


@pytest.mark.parametrize("text", ["", HOSTILE])
def test_junit_has_a_suite_for_each_combination_and_counts_that_add_up(text: str) -> None:
    made = Made(combinations=3, cases=7, repeats=2, text=text)
    out = io.StringIO()

    write_junit(made.source(), out)

    root = ET.fromstring(out.getvalue())  # noqa: S314
    suites = root.findall("testsuite")
    assert len(suites) == 5
    for suite in suites:
        cases = suite.findall("testcase")
        assert len(cases) == int(suite.attrib["tests"])
        assert len(suite.findall("testcase/failure")) == int(suite.attrib["failures"])
        assert len({case.attrib["name"] for case in cases}) == len(cases)
    assert int(root.attrib["tests"]) == made.total + 3
    assert int(root.attrib["failures"]) == sum(int(suite.attrib["failures"]) for suite in suites)


def test_junit_of_a_batch_that_goes_on_has_what_ended_before_it_was_counted() -> None:
    made = Made(combinations=3, cases=4)
    whole = made.source()
    looks = iter([[one for one in made.results() if one.ordinal % 5 == 1], list(made.results())])
    out = io.StringIO()

    write_junit(replace(whole, results=lambda: iter(next(looks))), out)

    suites = ET.fromstring(out.getvalue()).findall("testsuite")  # noqa: S314
    assert [len(suite.findall("testcase")) for suite in suites] == [int(suite.attrib["tests"]) for suite in suites]


def test_a_failed_case_of_junit_names_the_node_and_the_checkpoint_before_it() -> None:
    made = Made()
    failed = next(result for result in made.results() if result.outcome == "Failed")
    out = io.StringIO()

    write_junit(made.source(), out)

    root = ET.fromstring(out.getvalue())  # noqa: S314
    failures = {one.find("failure") for one in root.iter("testcase") if failed.case in one.attrib["name"]}
    texts = [one.text or "" for one in failures if one is not None]
    assert any(f"node read: failed; checkpoint before it: c{failed.ordinal}-1" in text for text in texts)


def test_a_rule_of_the_gate_that_is_not_met_is_a_failed_case() -> None:
    out = io.StringIO()

    write_junit(Made().source(), out)

    root = ET.fromstring(out.getvalue())  # noqa: S314
    gate = next(suite for suite in root if suite.attrib["name"] == "gate")
    assert [case.attrib["name"] for case in gate if case.find("failure") is not None] == ["minSuccessRate"]


def test_markdown_begins_with_the_verdict_and_does_not_grow_with_the_batch() -> None:
    few, many = io.StringIO(), io.StringIO()

    write_markdown(Made(combinations=20, cases=20).source(), few)
    write_markdown(Made(combinations=200, cases=2).source(), many)

    assert few.getvalue().startswith("## Failed&#58; the gate is not met &#40;minSuccessRate&#41;.")
    assert len(many.getvalue()) < len(few.getvalue()) + 8_000
    assert "180 more: `batchyard compare b1`" in many.getvalue()


def test_no_name_or_message_is_markup_in_markdown() -> None:
    out = io.StringIO()

    write_markdown(Made(text=HOSTILE).source(), out)

    assert not re.search(r"[<>\x00\x1b\u202e]", out.getvalue())
    widths = {line.count("|") for line in out.getvalue().splitlines() if line.startswith("|")}
    assert widths <= {4, 8, 5, 6}
    assert plain("a|b\n@all") == "a&#124;b &#64;all"


@pytest.mark.parametrize("text", ["", HOSTILE])
def test_html_begins_with_the_verdict_and_holds_no_name_or_message_as_markup(text: str) -> None:
    out = io.StringIO()

    write_html(Made(text=text).source(), out)

    page = out.getvalue()
    assert re.findall(r"<h\d[^>]*>", page)[0] == "<h1>"
    assert "<h1>Failed: the gate is not met (minSuccessRate)." in page
    assert re.findall(r"<(?:img|b)\b", page) == []
    assert page.count("<script") == page.count("</script>") == 3
    assert not re.search(r"[\x00\x1b\u202e]|https?:|the final state", page)


@pytest.mark.parametrize("write", [write_html, write_markdown])
@pytest.mark.parametrize("text", ["", HOSTILE])
def test_reports_say_how_far_each_combination_is_from_the_best_and_how_sure_that_is(
    text: str, write: Callable[[Source, IO[str]], None]
) -> None:
    made, out = Made(combinations=3, cases=40, repeats=3, text=text), io.StringIO()
    status = made.source().status
    statistics = Statistics(made.source().record, status)
    statistics.take(made.results)

    write(made.source(), out)

    rows = rows_of(out.getvalue())
    contrasts, repeated = statistics.contrasts(), statistics.reliability()
    assert [one.combination for one in contrasts] == [made.combination(1), made.combination(2)]
    assert [one.combination for one in repeated] == [made.combination(number) for number in range(3)]
    for found in [*(cells for _, *cells in contrast_table(contrasts)[1]), *map(reliability_cells, repeated)]:
        assert list(found) in [row[1:] for row in rows]
    assert all(one.flaky for one in repeated)


@pytest.mark.parametrize("write", [write_html, write_markdown])
@pytest.mark.parametrize(("repeats", "there"), [(1, True), (2, False)])
def test_mcnemars_test_is_in_a_report_where_each_case_passed_or_failed_once(
    write: Callable[[Source, IO[str]], None], repeats: int, *, there: bool
) -> None:
    source, out = Made(combinations=2, cases=40, repeats=repeats).source(), io.StringIO()
    unscored = tuple(row.model_copy(update={"score": None}) for row in source.status.combinations)

    write(replace(source, status=source.status.model_copy(update={"combinations": unscored})), out)

    assert (["McNemar" in row for row in rows_of(out.getvalue())].count(True) == 1) is there
    assert ("McNemar's exact test" in html.unescape(out.getvalue())) is there


@pytest.mark.parametrize("write", [write_html, write_markdown])
def test_combinations_are_held_against_the_gates_baseline_if_there_is_one(
    write: Callable[[Source, IO[str]], None],
) -> None:
    source, out = Made(cases=40).source(), io.StringIO()
    gate = {"baseline": {"combination": "combination-1"}}
    named = replace(source.record, spec={"spec": {**source.record.spec["spec"], "gate": gate}})

    write(replace(source, record=named), out)

    said = html.unescape(out.getvalue())
    assert "Difference in score to combination-1" in said
    assert ("for all pairs" in said, "one look" in said) == (False, False)


def test_what_the_table_of_differences_does_not_allow_for_is_said() -> None:
    source = Made(cases=40).source()
    often = {"baseline": {"combination": "combination-1", "sequential": {}}}
    looked = replace(source.record, spec={"spec": {**source.record.spec["spec"], "gate": often}})

    assert "allow for all pairs" in contrast_sentence(Statistics(source.record, source.status), ())
    assert "as if there had been one look" in contrast_sentence(Statistics(looked, source.status), ())


@pytest.mark.parametrize("spelled", [[{}], ["x"], [{"name": 3}], [{"name": "a", "weight": None, "group": 7}], {}, None])
def test_a_stored_spec_that_says_less_costs_no_report(spelled: object) -> None:
    source, out = Made(cases=40).source(), io.StringIO()
    damaged = replace(source.record, spec={"spec": {**source.record.spec["spec"], "cases": spelled}})

    write_html(replace(source, record=damaged), out)

    assert "</html>" in out.getvalue()


@pytest.mark.parametrize("write", [write_html, write_markdown])
def test_a_batch_of_one_combination_and_no_repeats_is_not_said_to_be_sure_of_anything(
    write: Callable[[Source, IO[str]], None],
) -> None:
    out = io.StringIO()

    write(Made(combinations=1).source(), out)

    assert "How sure" not in out.getvalue()


def test_a_trail_that_is_not_shown_whole_says_of_how_many_entries_it_is() -> None:
    out, (entry, *_) = io.StringIO(), Made().entries()

    write_html(replace(Made().source(), entries=lambda: repeat(entry, 300)), out)

    assert "These are 200 of the 300 of the batch itself, from its beginning and its end" in out.getvalue()


@pytest.mark.parametrize("write", [write_html, write_junit, write_markdown])
@pytest.mark.parametrize("text", ["", HOSTILE])
def test_reports_name_the_node_after_which_a_lost_trial_first_differs(
    text: str, write: Callable[[Source, IO[str]], None]
) -> None:
    made, out = Made(text=text), io.StringIO()
    difference = Difference(How.STATE, (f"read{text}",), (f"answer{text}",))
    row = Regression(made.trial_id(0), "base/case-0/0", Outcome.FAILED, "BelowThreshold", difference)
    lost = Regressions(f"base{text}", {made.combination(0): 3}, (row,))

    write(replace(made.source(), regressions=lambda: lost), out)

    said = html.unescape(out.getvalue())
    assert f"3 trials of {made.combination(0)[:13]}" in said
    assert f"first differs from base{text[:9]}" in said
    assert "after node read" in said
    assert not re.search(r"<img|[\x00\x1b]", out.getvalue())


def test_a_batch_that_has_not_ended_has_no_verdict() -> None:
    assert sentence(a_batch(), BatchStatus()).startswith("No verdict yet: 0 of 10 trials have ended.")


def rows_of(report: str) -> list[list[str]]:
    """Return the cells of every row of HTML or Markdown tables, as a reader sees them."""
    if report.startswith("<"):
        rows = re.findall(r"<tr>(.*?)</tr>", report, re.DOTALL)
        cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL) for row in rows]
    else:
        cells = [line.strip("| ").split(" | ") for line in report.splitlines() if line.startswith("|")]
    return [[html.unescape(cell) for cell in row] for row in cells]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """A batch that was run with reports."""
    bench = Bench(tmp_path_factory.mktemp("ran"))
    done = bench.run("run", bench.write(), "--quiet", "--report", "out/junit.xml", "--report", "trials.csv")
    assert (done.returncode, done.stderr) == (0, "")
    return bench


def test_run_writes_the_reports_that_were_asked_for(ran: Bench) -> None:
    root = ET.parse(ran.folder / "out" / "junit.xml").getroot()  # noqa: S314

    assert [suite.attrib["name"] for suite in root] == ["x", "y", "batch"]
    assert len((ran.folder / "trials.csv").read_text("utf-8").splitlines()) == 5
    assert sorted(path.name for path in (ran.folder / "out").iterdir()) == ["junit.xml"]


def test_a_report_goes_to_standard_output_if_it_is_text(ran: Bench) -> None:
    told = ran.run("report", "small", "--format", "markdown")

    assert (told.returncode, told.stderr) == (0, "")
    assert told.stdout.startswith("## Passed.")


def test_a_report_is_shown_in_a_browser_if_there_is_one(ran: Bench) -> None:
    with_one, without = (replace(ran, env=env) for env in ({"BROWSER": "echo shows %s"}, {"PATH": str(ran.folder)}))

    shown, not_shown = (bench.run("report", "small", "--out", "r.html", "--open") for bench in (with_one, without))

    assert shown.stdout == f"shows {(ran.folder / 'r.html').as_uri()}\n"
    assert (not_shown.returncode, not_shown.stdout) == (0, "")
    assert "no browser can be started from here; open r.html in one" in not_shown.stderr


@pytest.mark.parametrize("options", [["--format", "markdown"], ["--out", "trials.csv"], ["--out", "-"]], ids=" ".join)
def test_what_no_browser_shows_is_not_opened(ran: Bench, options: list[str]) -> None:
    refused = ran.run("report", "small", "--open", *options)

    assert (refused.returncode, refused.stdout) == (2, "")
    assert "--open shows a file of HTML" in refused.stderr


def test_a_suffix_that_says_nothing_is_refused_before_anything_runs(ran: Bench) -> None:
    done = ran.run("run", ran.write("other.yaml"), "--report", "report.docx")

    assert done.returncode == 2
    assert "its suffix must be among .html" in done.stderr


@pytest.mark.parametrize("place", ["/proc/x.html", "other.yaml/x.html"])
def test_a_report_that_cannot_be_written_is_refused_before_anything_runs(tmp_path: Path, place: str) -> None:
    bench = Bench(tmp_path)

    done = bench.run("run", bench.write("other.yaml"), "--output", "json", "--report", place)

    assert (done.returncode, list(json.loads(done.stdout))) == (2, ["error"])
    assert f"error: {place}: cannot be written: " in done.stderr
    assert not bench.store.exists()


def test_a_report_that_cannot_be_written_in_the_end_changes_neither_verdict_nor_document(tmp_path: Path) -> None:
    bench, folder = Bench(tmp_path), tmp_path / "r.html"
    # The workflow takes the report's place, which is free before the batch and not after it.
    taking = f"import pathlib\nfrom workflows import noop\n\ndef build(variants):\n    pathlib.Path({str(folder)!r})"
    (tmp_path / "taking.py").write_text(f"{taking}.mkdir(exist_ok=True)\n    return noop.build(variants)\n", "utf-8")
    bench = replace(bench, env={"PYTHONPATH": str(TESTS)})
    workflow = {"factory": "taking:build", "source": {"path": "."}}
    file = bench.write(workflow=workflow, gate={"minScore": 0.5})

    done = bench.run("run", file, "--quiet", "--output", "json", "--report", "r.html", "--report", "r.md")

    assert (done.returncode, json.loads(done.stdout)["batch"]["phase"]) == (1, "Failed")
    assert "r.html: cannot be written: it is a folder" in done.stderr
    assert (tmp_path / "r.md").exists()


def test_a_report_goes_through_a_link_and_leaves_it(ran: Bench) -> None:
    (ran.folder / "link.md").symlink_to("behind.md")

    told = ran.run("report", "small", "--out", "link.md")

    assert told.returncode == 0
    assert (ran.folder / "link.md").is_symlink()
    assert (ran.folder / "behind.md").read_text("utf-8").startswith("## Passed.")
