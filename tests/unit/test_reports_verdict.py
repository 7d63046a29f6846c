"""What reports say of a batch's end: it agrees with the exit code, and parity is part of it."""

from __future__ import annotations

import html
import io
import re
from dataclasses import replace
from typing import IO, TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest

from batchyard.engine.parity import parity_condition
from batchyard.model.outcome import Phase
from batchyard.model.spec_environment import Provider
from batchyard.model.status import GateStatus, ParityRow, ParityStatus, Truth
from batchyard.reports.html import write_html
from batchyard.reports.junit import write_junit
from batchyard.reports.markdown import write_markdown
from batchyard.testing.store_builders import T0
from report_builders import Made

if TYPE_CHECKING:
    from collections.abc import Callable

    from batchyard.reports.source import Source


def ended(phase: Phase, reason: str = "", parity: Truth | None = None) -> Source:
    """Return a batch without a gate that ended so and was compared so."""
    source = Made().source()
    record = replace(source.record, phase=phase, reason=reason, message="that is how it ended")
    status = source.status.model_copy(update={"phase": phase, "reason": reason, "gate": None})
    if parity is not None:
        row = ParityRow(type="Outcome", trial="base/one/0", message="Passed in this batch, Failed in threads")
        found = ParityStatus(against=Provider.IN_PROCESS, total=1, discrepancies=() if parity is Truth.TRUE else (row,))
        condition = parity_condition(parity, "against InProcess/Thread: 1 of 4 trials differs", T0)
        status = status.model_copy(update={"parity": found, "conditions": (condition,)})
    return replace(source, record=record, status=status)


def junit_suite(source: Source, name: str) -> dict[str, str]:
    """Return the cases of a suite of the JUnit file with the type of their failure, "" for one that passed."""
    out = io.StringIO()
    write_junit(source, out)
    root = ET.fromstring(out.getvalue())  # noqa: S314
    suite = next(suite for suite in root if suite.attrib["name"] == name)
    failures = {case.attrib["name"]: case.find("failure") for case in suite}
    assert int(suite.attrib["failures"]) == sum(found is not None for found in failures.values())
    return {case: found.attrib["type"] if found is not None else "" for case, found in failures.items()}


@pytest.mark.parametrize(
    ("source", "cases"),
    [
        (ended(Phase.SUCCEEDED), {"verdict": ""}),
        (ended(Phase.FAILED, "BatchBudgetExceeded"), {"verdict": "BatchBudgetExceeded"}),
        (ended(Phase.CANCELLED), {"verdict": "Cancelled"}),
        (ended(Phase.RUNNING), {"verdict": "Running"}),
        (ended(Phase.SUCCEEDED, parity=Truth.TRUE), {"verdict": "", "parity": ""}),
        (ended(Phase.SUCCEEDED, parity=Truth.FALSE), {"verdict": "ParityMismatch", "parity": "ParityMismatch"}),
        (ended(Phase.SUCCEEDED, parity=Truth.UNKNOWN), {"verdict": "NotCompared", "parity": "NotCompared"}),
        (ended(Phase.FAILED, "GateFailed", Truth.TRUE), {"verdict": "GateFailed", "parity": ""}),
    ],
)
def test_the_verdict_is_a_case_of_junit_that_fails_whenever_the_exit_code_is_not_0(
    source: Source, cases: dict[str, str]
) -> None:
    assert junit_suite(source, "batch") == cases


def test_a_rule_of_the_gate_that_was_left_open_is_not_said_to_have_failed() -> None:
    source = Made().source()
    unsure = {"passed": False, "outcome": "Inconclusive"}
    gate = GateStatus.model_validate({**unsure, "checks": [{"name": "baseline", "message": "unsure", **unsure}]})

    written = replace(source, status=source.status.model_copy(update={"gate": gate}))

    assert junit_suite(written, "gate") == {"baseline": "GateInconclusive"}


@pytest.mark.parametrize("write", [write_html, write_markdown])
@pytest.mark.parametrize(
    ("parity", "headline", "word"),
    [
        (Truth.TRUE, "Passed.", "pass"),
        (Truth.FALSE, "Failed: the trials differ in another place (parity).", "FAIL"),
        (Truth.UNKNOWN, "Not verified: the trials could not be compared (parity).", "unknown"),
    ],
)
def test_reports_say_what_another_place_came_to(
    parity: Truth, headline: str, word: str, write: Callable[[Source, IO[str]], None]
) -> None:
    out = io.StringIO()

    write(ended(Phase.SUCCEEDED, parity=parity), out)

    said = html.unescape(re.sub("<[^>]*>", "", out.getvalue()))
    assert headline in said
    assert re.search(f"{word}:? against InProcess/Thread: 1 of 4 trials differs", said)
    assert ("Passed in this batch, Failed in threads" in said) is (parity is not Truth.TRUE)
