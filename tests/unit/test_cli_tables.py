"""Results as text, and the words and numbers they are told in."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from rich.console import Console

from batchyard.cli import terminal, words
from batchyard.cli.notices import limits_of_sharing, notices, sharing_notices
from batchyard.cli.tables import print_result
from batchyard.engine.ports import BatchRecord
from batchyard.engine.sources import LoadedBatch
from batchyard.model.matrix import Plan
from batchyard.model.outcome import Phase
from batchyard.model.parse import parse_batch_test
from batchyard.model.status import BatchStatus
from batchyard.model.trial import Case, Combination
from command_line import batch_test

if TYPE_CHECKING:
    from batchyard.model.spec import BatchTestSpec

AT = datetime(2026, 1, 1, tzinfo=UTC)
RECORD = BatchRecord(
    id="small-abc123",
    name="small",
    spec=None,
    spec_digest="",
    base="/",
    total=4,
    accepted_at=AT,
    deadline_at=AT,
    phase=Phase.SUCCEEDED,
    message="4 of 4 trials finished: 3 Passed, 1 Failed",
    started_at=AT,
    completed_at=AT + timedelta(seconds=2.5),
)


def row(name: str, **values: Any) -> dict[str, Any]:
    return {"name": name, "passed": 1, "failed": 1, "successRate": 0.5, "score": 0.5, "meanSeconds": 0.01, **values}


def status(**values: Any) -> BatchStatus:
    fields: dict[str, Any] = {
        "trials": {"total": 4, "passed": 3, "failed": 1},
        "combinations": [row("bold", passed=2, failed=0, successRate=1.0, score=1.0), row("meek")],
        "best": {"combination": "bold", "score": 1.0, "margin": 0.5, "by": "score"},
        **values,
    }
    return BatchStatus.from_json(fields)


def shown(status: BatchStatus, record: BatchRecord = RECORD, width: int = 200) -> list[str]:
    console = Console(file=io.StringIO(), width=width, markup=False, highlight=False, color_system=None)
    with console.capture() as captured:
        print_result(console, record, status)
    return captured.get().splitlines()


def test_the_best_combination_is_marked_with_its_margin() -> None:
    lines = shown(status())

    assert lines[2].split() == ["bold", "+0.5000", "100.0%", "1.0000", "10", "ms", "2/2", "0"]
    assert lines[3].split() == ["meek", "50.0%", "0.5000", "10", "ms", "1/2", "1"]


def test_only_outcomes_that_happened_have_a_column() -> None:
    head = shown(status(combinations=[row("bold", timedOut=3)]))[0]

    assert "timed out" in head
    assert "errored" not in head


def test_metrics_have_columns_and_a_missing_one_is_not_nought() -> None:
    lines = shown(status(combinations=[row("bold", metrics={"tokens": 1234.5}), row("meek")]))

    assert lines[0].split()[-1] == "tokens"
    assert lines[2].split()[-1] == "1234.5"
    assert lines[3].split()[-1] == "-"


def test_a_narrow_terminal_loses_columns_the_name_and_the_rate_last() -> None:
    many = [row("a-rather-long-name", metrics={f"metric{number}": 1.0 for number in range(8)}, errored=1)]

    wide, narrow = shown(status(combinations=many), width=200)[0], shown(status(combinations=many), width=50)[0]

    assert "metric7" in wide
    assert "metric0" not in narrow
    assert narrow.split()[:1] == ["combination"]
    assert "rate" in narrow


def test_every_rule_of_the_gate_is_shown_with_its_reason() -> None:
    checks = [
        {"name": "minScore", "passed": False, "message": "score 0.5 is below 0.9"},
        {"name": "minSuccessRate", "passed": True, "message": "fine"},
    ]

    text = "\n".join(shown(status(gate={"passed": False, "checks": checks})))

    assert "gate FAIL  minScore: score 0.5 is below 0.9" in text
    assert "gate pass  minSuccessRate: fine" in text


def test_the_first_failures_are_named_and_the_way_to_the_others() -> None:
    failures = [
        {"trial": f"meek/one/{number}", "attempt": 1, "outcome": "Failed", "reason": "NodeRaised", "message": "no\nway"}
        for number in range(9)
    ]

    lines = shown(status(trials={"total": 40, "failed": 9, "timedOut": 2}, failures=failures))

    named = [line for line in lines if line.startswith("  Failed")]
    assert len(named) == 5
    assert named[0] == "  Failed     meek/one/0  NodeRaised: no"
    assert "11 of 40 trials did not pass, the first:" in lines
    assert "  all of them: batchyard show small-abc123 --outcome Failed --outcome TimedOut" in lines


def test_the_end_is_one_sentence_with_verdict_time_counts_and_best() -> None:
    assert shown(status())[-1] == (
        "small-abc123: Succeeded after 2.5 s: 4 of 4 trials finished: 3 Passed, 1 Failed. "
        "Best: bold, score 1.0000, 0.5000 ahead in score."
    )


def test_the_end_says_how_sure_the_lead_over_the_baseline_is() -> None:
    difference = {
        "combination": "bold", "against": "meek", "estimate": 0.5, "low": 0.25, "high": 0.75, "confidence": 0.95,
        "pValue": 0.001, "cases": 40, "groups": 40, "unpaired": 0,
    }  # fmt: skip
    rule = {"name": "baseline", "passed": True, "outcome": "Passed", "message": "fine", "difference": difference}

    lines = shown(status(gate={"passed": True, "outcome": "Passed", "checks": [rule]}))

    assert lines[-1].endswith(
        "Best: bold, score 1.0000, 0.5000 ahead in score; +0.5000 over meek, 95% sure of at least +0.2500."
    )


def test_a_gate_that_stayed_open_is_no_failure_and_no_success() -> None:
    rule = {"name": "baseline", "passed": False, "outcome": "Inconclusive", "message": "may or may not"}
    record = replace(RECORD, phase=Phase.FAILED, reason="GateInconclusive")

    lines = shown(status(gate={"passed": False, "outcome": "Inconclusive", "checks": [rule]}), record)

    assert "gate open  baseline: may or may not" in lines
    assert lines[-1].startswith("small-abc123: Inconclusive (GateInconclusive) after 2.5 s")


@pytest.mark.parametrize(
    ("reason", "advice"),
    [
        ("Interrupted", "Go on with: batchyard resume small-abc123"),
        ("", "If nothing runs it any more: batchyard resume small-abc123"),
    ],
)
def test_a_batch_that_is_not_finished_ends_with_the_way_to_go_on(reason: str, advice: str) -> None:
    lines = shown(status(), replace(RECORD, phase=Phase.RUNNING, reason=reason, completed_at=None))

    assert lines[-1] == advice
    assert "Best so far: bold" in lines[-2]


def test_a_batch_that_has_not_begun_is_one_sentence() -> None:
    waiting = replace(RECORD, phase=Phase.PENDING, message="", started_at=None, completed_at=None)

    assert len(shown(BatchStatus(), waiting)) == 2


def test_names_in_brackets_are_no_markup() -> None:
    assert "[bold]x[/bold]" in shown(status(combinations=[row("[bold]x[/bold]")]))[2]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "-"),
        (0.0, "0.0%"),
        (0.0002, "<0.1%"),
        (2 / 3, "66.6%"),
        (0.8279, "82.7%"),
        (29 / 100, "29.0%"),
        (0.57, "57.0%"),
        (0.9999, "99.9%"),
        (1.0, "100.0%"),
    ],
)
def test_a_rate_is_never_said_to_be_more_than_it_is(value: float | None, said: str) -> None:
    assert words.rate(value) == said


@pytest.mark.parametrize(
    ("value", "said"), [(None, "-"), (0.89999, "0.8999"), (1.0, "1.0000"), (1e-9, "0.0000"), (-0.5, "-0.5000")]
)
def test_a_score_is_cut_not_rounded(value: float | None, said: str) -> None:
    assert words.number(value) == said


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "-"),
        (0.0000034, "0.00 ms"),
        (0.0123, "12.3 ms"),
        (0.9999, "1.0 s"),
        (59.96, "60.0 s"),
        (125, "2:05 min"),
        (3725, "1:02:05"),
    ],
)
def test_a_duration_is_said_in_the_unit_that_suits_it(value: float | None, said: str) -> None:
    assert words.seconds(value) == said


def test_one_is_not_said_in_the_plural() -> None:
    one, many = Combination("x", {}), tuple(Combination(name, {}) for name in "xyz")
    cases = tuple(Case(f"c{number}", {}) for number in range(500))

    assert words.plan_sentence(Plan((one,), cases[:1])) == "1 trial (1 combination x 1 case)"
    assert words.plan_sentence(Plan(many, cases, 2)) == "3,000 trials (3 combinations x 500 cases x 2 repeats)"


@pytest.mark.parametrize(
    ("text", "said"), [("plain", "plain"), ("a\nb\tc", "a b c"), ("\x1b[31mred", "\\x1b[31mred"), ("é·中", "é·中")]
)
def test_text_of_others_is_one_line_without_commands_to_the_terminal(text: str, said: str) -> None:
    assert terminal.printable(text) == said


def spec(**values: Any) -> BatchTestSpec:
    return parse_batch_test(json.dumps(batch_test(**values)), "test").spec


def test_an_ordinary_batch_needs_no_notice() -> None:
    assert list(notices(spec())) == []


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"environment": {"isolation": "Thread"}}, "cooperative"),
        ({"environment": {"provider": "Ray"}}, "local worker processes; use the operator for Ray"),
        ({"environment": {"envFrom": [{"secretRef": {"name": "keys"}}]}}, "set these variables yourself"),
        ({"workflow": {"factory": "a.b:c", "source": {"image": "x:1"}}}, "names no local folder"),
        ({"suspend": True}, "spec.suspend"),
        ({"cancel": True}, "spec.cancel"),
        ({"parity": {"enabled": True}}, "come to the same twice"),
    ],
)
def test_what_a_local_run_does_in_its_own_way_is_said_once(values: dict[str, Any], said: str) -> None:
    (notice,) = notices(spec(**values))

    assert said in notice


@pytest.mark.parametrize("details", [{}, {"shared": ["load"]}, {"notShared": {}}])
def test_where_every_declared_node_is_shared_nothing_is_said(details: dict[str, Any]) -> None:
    assert list(sharing_notices(details)) == []


def test_nodes_that_are_not_shared_are_named_by_the_reason() -> None:
    why = {f"n{number}": "a lock" for number in range(10)} | {"rank": "an open file"}

    assert list(sharing_notices({"notShared": why})) == [
        "nodes n0, n1, n2, n3, n4, n5, n6, n7, and 2 more are not shared: a lock",
        "node rank is not shared: an open file",
    ]


def test_a_graph_whose_beginning_has_no_fingerprint_is_said_to_share_nothing() -> None:
    (said,) = sharing_notices({"notShared": {"__start__": "a lock"}})

    assert said == "nothing is shared, because of where the graph begins or what its state is: a lock"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, []),
        ({"variants": {"include": [{"name": "only", "variants": {"a": "1"}}]}}, ["one combination only"]),
        ({"cases": [{"name": "first", "input": {}, "answers": [{"value": 1}]}, {"name": "second", "input": {}}]},
         ["1 of 2 cases have answers"]),
    ],
)  # fmt: skip
def test_what_the_file_itself_keeps_from_sharing_is_said(values: dict[str, Any], said: list[str]) -> None:
    shared = {"nodes": [{"name": "load", "dependsOn": []}]}
    document = batch_test(
        **{"variants": {"matrix": {"a": ["1", "2"]}}, "cases": [{"name": "first", "input": {}}], **values}
    )
    document["spec"]["workflow"]["sharedPrefix"] = shared
    loaded = LoadedBatch.from_json(document, Path("/"))

    found = list(limits_of_sharing(loaded.batch.spec, loaded.plan))

    assert [part in sentence for part, sentence in zip(said, found, strict=True)] == [True] * len(said)
