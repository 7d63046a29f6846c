"""Statuses as large and as whole as they may be."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from batchyard.engine.cluster_ports import EnvironmentRecord, EnvironmentState
from batchyard.engine.ports import BatchRecord
from batchyard.engine.summary import Summary
from batchyard.judge.gate import Check, GateResult
from batchyard.model.matrix import Plan
from batchyard.model.outcome import GateOutcome, Outcome, Phase
from batchyard.model.spec import MAX_COMBINATIONS, Provider
from batchyard.model.status import (
    MAX_FAILURE_ROWS,
    AuditStatus,
    BatchStatus,
    Best,
    CombinationRow,
    Condition,
    ConditionType,
    EnvironmentStatus,
    FailureRow,
    GateCheck,
    GateDifference,
    GateStatus,
    ParityStatus,
    ReportStatus,
    TrialCounts,
    Truth,
)
from batchyard.model.trial import Case, Combination
from judge_builders import a_result

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
MOST = MAX_COMBINATIONS
FAILURES = MAX_FAILURE_ROWS


def the_fullest_record() -> BatchRecord:
    """Return a finished batch of as many combinations as there may be, with failures, metrics and a gate."""
    combinations = tuple(Combination(f"v{number}", {"act": f"v{number}"}) for number in range(MOST))
    plan = Plan(combinations, (Case("c", {}, None, 1.0, None),))
    record = BatchRecord(
        id="demo-1",
        name="demo",
        spec={},
        spec_digest="",
        base="",
        total=len(plan),
        accepted_at=NOW,
        deadline_at=NOW + timedelta(hours=1),
        phase=Phase.SUCCEEDED,
        message="all done",
        completed_at=NOW + timedelta(minutes=1),
    )
    summary = Summary(plan)
    for number in range(MOST - FAILURES):
        summary.add(a_result(f"v{number}", score=1.0 if number == 0 else 0.5))
    for number in range(MOST - FAILURES, MOST):
        summary.add(a_result(f"v{number}", Outcome.FAILED, score=0.0))
    gate = GateResult((Check("minScore", GateOutcome.PASSED, 1.0, 0.5, "score 1 is at least 0.5"),))
    return replace(record, status=summary.status(record, running=0, gate=gate))


def an_environment() -> EnvironmentRecord:
    """Return a place that is given back."""
    return EnvironmentRecord(
        batch_id="demo-1",
        attempt=2,
        provider="KubeRay",
        name="demo-1-a2",
        state=EnvironmentState.RELEASED,
        requested_at=NOW,
        ready_at=NOW,
        ended_at=NOW,
    )


def a_whole_status() -> BatchStatus:
    """Return a status in which no field is left out."""
    row = CombinationRow(
        name="a",
        variants={"act": "a"},
        passed=1,
        success_rate=1.0,
        score=0.75,
        mean_seconds=0.25,
        metrics={"cost": 0.5, "tokens per second": 3.0},
        metric_trials={"cost": 1, "tokens per second": 1},
    )
    failure = FailureRow(trial="a/c/0", attempt=1, outcome=Outcome.TIMED_OUT, reason="TrialDeadlineExceeded")
    check = GateCheck(
        name="baseline", passed=True, outcome=GateOutcome.PASSED, actual=0.75, threshold=0.5, message="is enough",
        difference=GateDifference(
            combination="a", against="b", estimate=0.25, low=0.1, high=0.4, confidence=0.95, p_value=0.001,
            cases=9, groups=8, unpaired=1,
            cases_needed=12,
        ),
    )  # fmt: skip
    accepted = Condition(
        type=ConditionType.ACCEPTED, status=Truth.TRUE, last_transition_time=NOW, reason="Accepted", message="m"
    )
    return BatchStatus(
        observed_generation=1,
        phase=Phase.RUNNING,
        reason="GateFailed",
        message="1 of 2 trials finished",
        start_time=NOW,
        deadline_time=NOW,
        completion_time=NOW,
        trials=TrialCounts(total=2, passed=1, timed_out=1),
        combinations=(row,),
        failures=(failure,),
        best=Best(combination="a", score=0.75, margin=0.25),
        gate=GateStatus(passed=True, outcome=GateOutcome.PASSED, checks=(check,)),
        environment=EnvironmentStatus(provider=Provider.KUBE_RAY, name="e", state="Running", message="m"),
        audit=AuditStatus(entries=3, dropped=1, head="0" * 64),
        parity=ParityStatus(against=Provider.RAY, batch="b", compared=2, matching=1, total=1),
        report=ReportStatus(location="a", digest="b"),
        conditions=(accepted,),
    )
