"""Whatever a batch is like, its status fits, the API server takes it, and a merge patch brings it about."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batchyard.engine.cluster_ports import EnvironmentRecord, EnvironmentState
from batchyard.engine.ports import BatchRecord
from batchyard.engine.summary import Summary
from batchyard.judge.gate import Check, GateResult
from batchyard.kube.status import STATUS_BYTES, build_status, fit, is_news, is_urgent, patch_of, rejected_status
from batchyard.model.matrix import Plan
from batchyard.model.outcome import GateOutcome, Outcome, Phase, Reason
from batchyard.model.trial import AttemptResult, Case, Combination
from kube_fakes import check_status, merged

if TYPE_CHECKING:
    from random import Random

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
MAX_COMBINATIONS = 256

# Everything that a text can hold, surrogates and control characters too: messages come from user code and the cluster.
TEXTS = st.text(st.characters(), max_size=30).flatmap(lambda text: st.integers(1, 200).map(lambda times: text * times))
WORST = st.sampled_from(
    ["\x00" * 3000, "\x1f" * 3000, "\U0001f600" * 3000, "ä" * 3000, '"\\' * 2000, "\ud800" * 1500, ""]
)
MESSAGES = TEXTS | WORST
REASONS = st.sampled_from([*Reason, "Evicted", "Error: 7", "ä", "9" * 3000]) | TEXTS


@st.composite
def summaries(draw: st.DrawFn) -> dict[str, Any]:
    """Return the status of a batch with up to 256 combinations of long names, failures and metrics."""
    count = draw(st.sampled_from([1, 2, 17, 100, MAX_COMBINATIONS]))
    width = draw(st.integers(1, 60))
    metrics = {f"metric-{number}": 0.1 * number for number in range(draw(st.integers(0, 12)))}
    variants = {f"dimension-{number}": "v" * width for number in range(draw(st.integers(1, 4)))}
    combinations = tuple(Combination(f"{'c' * (width - 1)}{number:03d}", variants) for number in range(count))
    plan = Plan(combinations, (Case("k" * 63, {}),), 1, {})
    summary = Summary(plan)
    message, outcomes = draw(MESSAGES), draw(st.lists(st.sampled_from(Outcome), min_size=1, max_size=5))
    for ordinal in range(draw(st.integers(0, count))):
        summary.add(a_result(plan, ordinal, outcomes[ordinal % len(outcomes)], message, metrics))
    checks = tuple(
        Check(f"check-{number}", GateOutcome.FAILED, None, 0.5, draw(MESSAGES))
        for number in range(draw(st.integers(0, 3)))
    )
    gate = GateResult(checks)
    return summary.status(a_record(count), running=draw(st.integers(0, 9)), gate=draw(st.sampled_from([gate, None])))


def a_result(plan: Plan, ordinal: int, outcome: Outcome, message: str, metrics: dict[str, float]) -> AttemptResult:
    trial = plan.trial(ordinal)
    return AttemptResult(
        trial_id=trial.id, ordinal=ordinal, combination=trial.combination.name, case=trial.case.name, repeat=0,
        attempt=1, epoch=1, outcome=outcome, reason="NodeRaised", message=message, started_at=NOW, ended_at=NOW,
        duration_seconds=0.123456789, score=1 / 3, metrics=metrics,
    )  # fmt: skip


def a_record(total: int) -> BatchRecord:
    return BatchRecord(
        id="batch", name="batch", spec=None, spec_digest="", base="", total=total, accepted_at=NOW, deadline_at=LATER
    )


RECORDS = st.builds(
    lambda status, phase, reason, message, dropped: replace(
        a_record(status["trials"]["total"]),
        phase=phase,
        reason=reason,
        message=message,
        status=status,
        audit_dropped=dropped,
        audit_head="f" * 64,
        audit_entries=10**6,
        completed_at=LATER if phase.final else None,
    ),
    status=summaries(),
    phase=st.sampled_from(Phase),
    reason=REASONS,
    message=MESSAGES,
    dropped=st.integers(0, 1),
)
PLACES = st.none() | st.builds(
    EnvironmentRecord,
    batch_id=st.just("batch"),
    attempt=st.integers(1, 99),
    provider=st.just("KubeRay"),
    name=st.just("n" * 50),
    state=st.sampled_from(EnvironmentState),
    requested_at=st.just(NOW),
    reason=REASONS,
    message=MESSAGES,
)


@st.composite
def statuses(draw: st.DrawFn) -> dict[str, Any]:
    return build_status(
        draw(RECORDS),
        draw(PLACES),
        generation=draw(st.integers(1, 9)),
        previous={},
        now=NOW,
        releasing=draw(st.booleans()),
    )


SLOWLY = settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


@SLOWLY
@given(statuses())
def test_every_status_fits_and_is_one_that_the_api_server_takes_and_gives_back(status: dict[str, Any]) -> None:
    check_status(status)

    assert len(json.dumps(status, separators=(",", ":"), ensure_ascii=False).encode()) <= STATUS_BYTES
    assert len(status["message"]) <= 1024
    assert merged({}, json.loads(json.dumps(status))) == status
    assert fit(status, STATUS_BYTES) == status
    assert not is_news(status, status)
    assert not is_urgent(status, status)


@SLOWLY
@given(statuses(), statuses())
def test_a_merge_patch_of_the_difference_brings_a_status_about(status: dict[str, Any], known: dict[str, Any]) -> None:
    patch = patch_of(status, known)

    assert merged({"status": known}, patch)["status"] == status
    assert is_news(status, known) or not is_urgent(status, known)


@given(reason=st.sampled_from(["InvalidSpec", "ConfigMapMissing"]), message=MESSAGES, final=st.booleans())
def test_every_rejection_fits_too(reason: str, message: str, final: bool) -> None:
    status = rejected_status(reason, message, generation=1, final=final, previous={}, now=NOW)

    check_status(status)


def test_the_largest_batch_keeps_the_best_combinations_and_its_counts() -> None:
    """256 combinations of the longest names, 100,000 trials, 20 failures with long messages."""
    combinations = tuple(
        Combination(f"{'c' * 60}{number:03d}", {"model": "m" * 60, "reader": "r" * 60})
        for number in range(MAX_COMBINATIONS)
    )
    plan = Plan(combinations, tuple(Case(f"{'k' * 59}{number:04d}", {}) for number in range(390)), 1, {})
    summary = Summary(plan)
    for ordinal in range(0, len(plan), 13):
        outcome = Outcome.PASSED if ordinal % 3 else Outcome.FAILED
        summary.add(a_result(plan, ordinal, outcome, "ä" * 500, {"tokens": 0.1, "cost": 0.2}))
    record = replace(a_record(len(plan)), phase=Phase.RUNNING)
    whole = summary.status(record, running=4, gate=None)

    status = build_status(replace(record, status=whole), None, generation=1, previous={}, now=NOW)

    check_status(status)
    kept = [row["name"] for row in status["combinations"]]
    assert kept == [row["name"] for row in whole["combinations"]][: len(kept)]
    assert len(kept) > 20
    assert len(status["failures"]) == 20
    assert status["trials"] == whole["trials"]
    assert status["best"]["combination"] == kept[0]


@given(st.lists(st.sampled_from(Outcome), min_size=1, max_size=60), st.randoms(use_true_random=False))
def test_the_order_in_which_trials_end_changes_nothing_of_the_status(outcomes: list[Outcome], chance: Random) -> None:
    plan = Plan((Combination("a", {}),), tuple(Case(f"k{number}", {}) for number in range(len(outcomes))), 1, {})
    results = [a_result(plan, ordinal, outcome, "", {"m": 0.1}) for ordinal, outcome in enumerate(outcomes)]
    in_order, shuffled = Summary(plan), Summary(plan)
    for result in results:
        in_order.add(result)
    for result in chance.sample(results, len(results)):
        shuffled.add(result)

    record = a_record(len(outcomes))
    assert shuffled.status(record, running=0, gate=None) == in_order.status(record, running=0, gate=None)
