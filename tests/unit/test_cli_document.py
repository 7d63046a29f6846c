"""JSON for programs, errors and logs: what goes to which stream in which form."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from batchyard.cli import document, failures
from batchyard.engine.ports import BatchRecord
from batchyard.judge.first_difference import Difference, How
from batchyard.judge.lost_trials import Regression, Regressions
from batchyard.model.errors import (
    BatchAmbiguous,
    BatchBusy,
    BatchNotFound,
    EnvironmentUnavailable,
    Fault,
    SpecInvalid,
    StaleSession,
    StoreError,
    WorkflowInvalid,
)
from batchyard.model.execution import BatchRuns
from batchyard.model.outcome import Outcome
from batchyard.model.status import BatchStatus
from batchyard.model.trial import AttemptResult, NodeBoundary

if TYPE_CHECKING:
    from collections.abc import Iterator

AT = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
RECORD = BatchRecord(
    id="small-abc123", name="small", spec=None, spec_digest="", base="/", total=2, accepted_at=AT, deadline_at=AT
)
STATUS = BatchStatus.from_json({"combinations": [{"name": "x", "variants": {"a": "x"}}]})


def result(ordinal: int = 0, **values: Any) -> AttemptResult:
    fields: dict[str, Any] = {
        "trial_id": f"x/one/{ordinal}",
        "ordinal": ordinal,
        "combination": "x",
        "case": "one",
        "repeat": ordinal,
        "attempt": 1,
        "epoch": 1,
        "outcome": Outcome.PASSED,
        "reason": "",
        "message": "",
        "started_at": AT,
        "ended_at": AT,
        "duration_seconds": 0.0123456789,
        **values,
    }
    return AttemptResult(**fields)


def printed(capsys: pytest.CaptureFixture[str], *results: AttemptResult) -> Any:
    document.print_batch(RECORD, STATUS, results)
    return json.loads(capsys.readouterr().out)


def test_the_document_has_what_was_lost_to_the_baseline(capsys: pytest.CaptureFixture[str]) -> None:
    difference = Difference(How.STATE, ("read",), ("answer",))
    row = Regression("new/a/0", "base/a/0", Outcome.FAILED, "BelowThreshold", difference)

    document.print_batch(RECORD, STATUS, [], regressions=Regressions("base", {"new": 1}, (row,)))

    assert json.loads(capsys.readouterr().out)["regressions"] == {
        "baseline": "base",
        "total": 1,
        "combinations": {"new": 1},
        "trials": [
            {
                "trial": "new/a/0",
                "baselineTrial": "base/a/0",
                "outcome": "Failed",
                "reason": "BelowThreshold",
                "how": "State",
                "nodes": ["read"],
                "keys": ["answer"],
                "message": "first differs from base after node read (answer)",
            }
        ],
    }


def test_the_document_has_every_field_of_the_contract(capsys: pytest.CaptureFixture[str]) -> None:
    boundary = NodeBoundary(node="read", status="completed", duration_seconds=0.1)

    shown = printed(capsys, result(boundaries=(boundary,), score=1.0, metrics={"tokens": 3}))

    assert shown["trials"] == [
        {
            "id": "x/one/0",
            "combination": {"a": "x"},
            "case": "one",
            "repeat": 0,
            "attempt": 1,
            "outcome": "Passed",
            "reason": "",
            "message": "",
            "score": 1.0,
            "metrics": {"tokens": 3},
            "durationSeconds": 0.012346,
            "startTime": "2026-01-02T03:04:05.678Z",
            "completionTime": "2026-01-02T03:04:05.678Z",
            "nodes": ["read"],
        }
    ]
    assert list(shown) == ["batch", "counts", "trials", "combinations", "best", "gate", "failures", "audit"]
    assert shown["batch"]["id"] == "small-abc123"


@pytest.mark.parametrize("count", [0, 1, 3])
def test_any_number_of_trials_makes_one_valid_document(capsys: pytest.CaptureFixture[str], count: int) -> None:
    shown = printed(capsys, *(result(number) for number in range(count)))

    assert [trial["repeat"] for trial in shown["trials"]] == list(range(count))


def test_trials_are_written_as_they_come(capsys: pytest.CaptureFixture[str]) -> None:
    written: list[int] = []

    def results() -> Iterator[AttemptResult]:
        for number in range(3):
            written.append(capsys.readouterr().out.count('"id": "x/one/'))
            yield result(number)

    document.print_batch(RECORD, STATUS, results())

    assert written == [0, 1, 1]


def test_what_json_cannot_say_is_null(capsys: pytest.CaptureFixture[str]) -> None:
    shown = printed(capsys, result(metrics={"a": float("nan"), "b": float("inf"), "c": 1.5}))

    assert shown["trials"][0]["metrics"] == {"a": None, "b": None, "c": 1.5}


def test_every_character_can_be_written_whatever_the_encoding(capsys: pytest.CaptureFixture[str]) -> None:
    document.print_batch(RECORD, STATUS, [result(message="é 中 \ud800")])

    assert capsys.readouterr().out.isascii()


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SpecInvalid("file", [Fault("spec", "", "is wrong")]), 2),
        (WorkflowInvalid("no factory"), 2),
        (BatchNotFound("no batch"), 2),
        (BatchAmbiguous("several"), 2),
        (BatchRuns("its batch runs"), 2),
        (StoreError("no store"), 4),
        (BatchBusy("runs already"), 4),
        (StaleSession("taken over"), 4),
        (EnvironmentUnavailable("no place"), 4),
        (OSError(28, "No space left on device"), 4),
        (ZeroDivisionError("by nought"), 4),
    ],
)
def test_every_error_has_its_exit_code_and_one_document(
    capsys: pytest.CaptureFixture[str], error: Exception, code: int
) -> None:
    assert failures.tell(error, as_json=True, debug=False) == code

    out, err = capsys.readouterr()
    assert json.loads(out)["error"]["exitCode"] == code
    assert err.startswith("error: ")
    assert "Traceback" not in err


def test_all_faults_are_told_each_on_a_line_and_in_the_document(capsys: pytest.CaptureFixture[str]) -> None:
    faults = [Fault("spec.a", "1", "is wrong", "write 2"), Fault("spec.b", "", "is missing")]

    failures.tell(SpecInvalid("file.yaml", faults), as_json=True, debug=False)

    out, err = capsys.readouterr()
    assert err.splitlines() == [
        "error: file.yaml: 2 faults",
        "  spec.a: 1: is wrong; write 2",
        "  spec.b: is missing",
    ]
    assert json.loads(out)["error"]["faults"] == [
        {"path": "spec.a", "value": "1", "message": "is wrong", "remedy": "write 2"},
        {"path": "spec.b", "value": "", "message": "is missing", "remedy": ""},
    ]


def test_an_error_that_quotes_a_file_cannot_command_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    failures.tell(StoreError("bad \x1b]0;name\x07 here"), as_json=False, debug=False)

    assert "\x1b" not in capsys.readouterr().err


LOGGING = """
import logging, sys, structlog
from batchyard.log_format import LogFormat
from batchyard.logs import configure
configure(LogFormat(sys.argv[1]), int(sys.argv[2]))
structlog.get_logger("ours").warning("something odd", trial="x/one/0")
structlog.get_logger("ours").info("something small")
logging.getLogger("theirs").error("something bad", extra={"batch_id": "b"})
"""


def logged(form: str, verbosity: int) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", LOGGING, form, str(verbosity)], capture_output=True, text=True, check=True
    )
    assert done.stdout == ""
    return done.stderr.splitlines()


def test_log_lines_are_json_when_asked_for_from_whatever_library() -> None:
    odd, small, bad = (json.loads(line) for line in logged("json", 0))

    assert (odd["event"], odd["level"], odd["trial"]) == ("something odd", "warning", "x/one/0")
    assert (small["event"], small["level"]) == ("something small", "info")
    assert (bad["event"], bad["logger"], bad["batch_id"]) == ("something bad", "theirs", "b")


def test_more_is_logged_when_asked_for() -> None:
    assert len(logged("text", 0)) == 2
    assert len(logged("text", 1)) == 3
