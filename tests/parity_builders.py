"""Build results to be held against each other, with only the facts that a test is about."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from batchyard.judge.parity import ParityChecker, ParityConfig
from judge_builders import a_result

if TYPE_CHECKING:
    from collections.abc import Iterable

    from batchyard.judge.parity_report import ParityReport
    from batchyard.model.trial import JSON, AttemptResult


def a_trial(name: str = "a/one/0", *, output: JSON = None, **facts: Any) -> AttemptResult:
    """The final result of the trial of this id; ``output`` is its whole final state."""
    combination, case, repeat = name.split("/")
    plain = {key: facts.pop(key) for key in ("outcome", "score", "seconds", "metrics", "reason") if key in facts}
    result = a_result(combination, **plain)
    digest = hashlib.sha256(json.dumps(output, sort_keys=True).encode()).hexdigest()
    whole = {"trial_id": name, "case": case, "repeat": int(repeat), "output": output, "output_digest": digest}
    return replace(result, **{**whole, **facts})


def check(left: Iterable[AttemptResult], right: Iterable[AttemptResult], **config: Any) -> ParityReport:
    return ParityChecker(ParityConfig(**config)).check(left, right)


def kinds(report: ParityReport) -> list[str]:
    return [discrepancy.kind.value for discrepancy in report.discrepancies]
