"""The status of a BatchTest: what it says of a batch, and when that is worth a write."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from batchyard.engine.cluster_ports import EnvironmentRecord, EnvironmentState
from batchyard.engine.ports import BatchRecord
from batchyard.kube.status import build_status, is_news, is_trouble, is_urgent, rejected_status
from batchyard.model.outcome import Phase, Reason
from kube_fakes import check_status

if TYPE_CHECKING:
    from kube_fakes import Object

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
TRIALS = {"total": 4, "pending": 1, "running": 1, "passed": 2, "failed": 0}
RECORD = BatchRecord(
    id="docs-search-1", name="docs-search", spec=None, spec_digest="", base="", total=4, accepted_at=NOW,
    deadline_at=NOW + timedelta(hours=1), phase=Phase.RUNNING, message="2 of 4 trials finished",
    status={"trials": TRIALS, "combinations": [], "failures": []}, audit_entries=5, audit_head="ab",
)  # fmt: skip
PLACE = EnvironmentRecord("docs-search-1", 1, "InProcess", "docs-search-1", EnvironmentState.RUNNING, NOW)


def status(
    record: BatchRecord = RECORD,
    place: EnvironmentRecord | None = PLACE,
    *,
    known: Object | None = None,
    at: float = 0.0,
    generation: int = 1,
    releasing: bool = False,
) -> Object:
    made = build_status(
        record, place, generation=generation, previous=known or {}, now=NOW + timedelta(seconds=at), releasing=releasing
    )
    check_status(made)
    return made


def condition(made: Object, kind: str) -> Object:
    found: Object = next(one for one in made["conditions"] if one["type"] == kind)
    return found


def truth(made: Object, kind: str) -> str:
    return str(condition(made, kind)["status"])


def ended(phase: Phase, reason: str = "", **fields: Any) -> BatchRecord:
    return replace(RECORD, phase=phase, reason=reason, completed_at=NOW + timedelta(minutes=5), **fields)


@pytest.mark.parametrize(
    ("phase", "reconciling", "finished", "succeeded", "ready", "stalled"),
    [
        (Phase.PENDING, "True", "False", "Unknown", "False", "False"),
        (Phase.PROVISIONING, "True", "False", "Unknown", "False", "False"),
        (Phase.RUNNING, "True", "False", "Unknown", "False", "False"),
        (Phase.EVALUATING, "True", "False", "Unknown", "False", "False"),
        (Phase.SUSPENDED, "False", "False", "Unknown", "False", "False"),
        (Phase.SUCCEEDED, "False", "True", "True", "True", "False"),
        (Phase.FAILED, "False", "True", "False", "False", "True"),
        (Phase.CANCELLED, "False", "True", "False", "False", "True"),
    ],
)
def test_each_phase_has_the_conditions_that_tools_wait_for(
    phase: Phase, reconciling: str, finished: str, succeeded: str, ready: str, stalled: str
) -> None:
    made = status(replace(RECORD, phase=phase))

    told = [truth(made, kind) for kind in ("Reconciling", "Finished", "Succeeded", "Ready", "Stalled")]
    assert told == [reconciling, finished, succeeded, ready, stalled]
    assert truth(made, "Accepted") == "True"


def test_a_condition_keeps_its_time_until_it_changes_between_true_and_false() -> None:
    first = status()

    later = status(replace(RECORD, message="3 of 4"), known=first, at=60)
    over = status(ended(Phase.SUCCEEDED), known=later, at=120)

    assert condition(later, "Finished")["lastTransitionTime"] == "2026-01-02T03:04:05Z"
    assert condition(over, "Finished")["lastTransitionTime"] == "2026-01-02T03:06:05Z"
    assert condition(over, "Accepted")["lastTransitionTime"] == "2026-01-02T03:04:05Z"


def test_times_are_those_of_the_batch_and_the_end_has_one_only_when_it_came() -> None:
    running, over = status(), status(ended(Phase.FAILED, Reason.GATE_FAILED))

    assert (running["startTime"], running["deadlineTime"]) == ("2026-01-02T03:04:05Z", "2026-01-02T04:04:05Z")
    assert "completionTime" not in running
    assert over["completionTime"] == "2026-01-02T03:09:05Z"


def test_a_place_is_told_as_it_is_and_as_given_back_once_that_was_asked() -> None:
    troubled = replace(PLACE, state=EnvironmentState.REQUESTED, reason="ErrImagePull", message="no such image")

    made = status(place=troubled)
    gone = status(ended(Phase.FAILED), troubled, releasing=True)

    assert made["environment"]["message"] == "no such image"
    assert condition(made, "EnvironmentReady") | {"lastTransitionTime": ""} == {
        "type": "EnvironmentReady", "status": "False", "reason": "ErrImagePull", "message": "no such image",
        "observedGeneration": 1, "lastTransitionTime": "",
    }  # fmt: skip
    assert (gone["environment"]["state"], gone["environment"]["message"]) == ("Released", "")
    assert gone == status(ended(Phase.FAILED), replace(troubled, state=EnvironmentState.RELEASED))


def test_between_two_places_it_still_says_what_became_of_the_last_one() -> None:
    lost = replace(PLACE, state=EnvironmentState.RELEASED, reason="NodeLost", message="the node is gone")

    made = status(replace(RECORD, phase=Phase.PROVISIONING), lost)

    assert made["environment"]["message"] == "the node is gone"


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        ("ImagePullBackOff", "ImagePullBackOff"),
        ("Evicted: by 3", "Evictedby3"),
        ("404", "Unknown"),
        ("", "Requested"),
        ("Grund mit Ä", "GrundmitA"[:-1]),
        ("x" * 2000, "x" * 128),
    ],
)
def test_a_reason_from_elsewhere_becomes_one_that_the_api_server_takes(reason: str, told: str) -> None:
    made = status(place=replace(PLACE, state=EnvironmentState.REQUESTED, reason=reason))

    assert condition(made, "EnvironmentReady")["reason"] == told


def test_entries_that_were_lost_are_a_condition() -> None:
    assert truth(status(), "AuditPersisted") == "True"
    assert truth(status(replace(RECORD, audit_dropped=3)), "AuditPersisted") == "False"


def test_a_gate_is_a_condition_only_if_there_is_one() -> None:
    check = {"name": "minScore", "passed": False, "actual": None, "threshold": 0.5, "message": "is below"}
    gated = {**(RECORD.status or {}), "gate": {"passed": False, "checks": [check]}}
    ungated = {**(RECORD.status or {}), "gate": {"passed": True, "checks": []}}

    failed = status(ended(Phase.FAILED, Reason.GATE_FAILED, status=gated))

    assert (truth(failed, "GatePassed"), condition(failed, "GatePassed")["message"]) == ("False", "is below")
    assert "GatePassed" not in {one["type"] for one in status(ended(Phase.SUCCEEDED, status=ungated))["conditions"]}


@pytest.mark.parametrize(
    ("phase", "reason", "told_by", "text"),
    [
        (Phase.RUNNING, "", "Reconciling", "2 of 4 trials finished"),
        (Phase.SUSPENDED, "Suspended", "Ready", "2 of 4 trials finished"),
        (Phase.SUCCEEDED, "", "Ready", "2 of 4 trials finished"),
        (Phase.FAILED, "GateFailed", "Stalled", "is below; 2 of 4 trials finished"),
        (Phase.CANCELLED, "Cancelled", "Stalled", "is below; 2 of 4 trials finished"),
    ],
)
def test_the_condition_that_decides_for_kstatus_says_why_and_the_others_keep_quiet(
    phase: Phase, reason: str, told_by: str, text: str
) -> None:
    check = {"name": "minScore", "passed": False, "actual": None, "threshold": 0.5, "message": "is below"}
    gated = {**(RECORD.status or {}), "gate": {"passed": False, "checks": [check]}} if phase.final else RECORD.status
    record = replace(RECORD, phase=phase, reason=reason, status=RECORD.status if phase is Phase.SUCCEEDED else gated)

    made = status(record)

    told = {kind: condition(made, kind)["message"] for kind in ("Ready", "Reconciling", "Stalled")}
    assert told == {"Ready": "", "Reconciling": "", "Stalled": "", told_by: text}


def test_a_rejection_is_final_for_this_generation_and_keeps_its_time() -> None:
    first = rejected_status("InvalidSpec", "2 faults", generation=1, final=True, previous={}, now=NOW)
    later = NOW + timedelta(minutes=1)

    again = rejected_status("InvalidSpec", "2 faults", generation=1, final=True, previous=first, now=later)
    other = rejected_status("InvalidSpec", "1 fault", generation=2, final=True, previous=first, now=later)

    for made in (first, again, other):
        check_status(made)
    assert again == first
    assert (first["completionTime"], other["completionTime"]) == ("2026-01-02T03:04:05Z", "2026-01-02T03:05:05Z")
    assert (truth(first, "Accepted"), truth(first, "Finished"), truth(first, "Stalled")) == ("False", "True", "True")


def test_only_what_is_more_than_the_trails_growth_is_news() -> None:
    known = status()

    assert not is_news(status(replace(RECORD, audit_entries=9, audit_head="cd"), known=known, at=60), known)
    assert is_news(status(replace(RECORD, message="3 of 4"), known=known), known)
    assert is_news(status(known=known, generation=2), known)


def test_a_phase_a_reason_a_truth_and_a_generation_are_urgent_and_progress_is_not() -> None:
    known = status()
    provisioning = replace(PLACE, state=EnvironmentState.REQUESTED)

    for made in (
        status(ended(Phase.SUCCEEDED), known=known),
        status(replace(RECORD, phase=Phase.SUSPENDED, reason="Suspended"), known=known),
        status(place=provisioning, known=known),
        status(known=known, generation=2),
        status(replace(RECORD, audit_dropped=1), known=known),
    ):
        assert is_urgent(made, known)
    progress = status(replace(RECORD, message="3 of 4"), known=known)
    assert not is_urgent(progress, known)
    assert not is_trouble(progress, known)


def test_another_reason_for_the_same_is_trouble_but_not_urgent() -> None:
    waiting = replace(PLACE, state=EnvironmentState.REQUESTED)
    known = status(place=waiting)

    made = status(place=replace(waiting, reason="ErrImagePull"), known=known)

    assert not is_urgent(made, known)
    assert is_trouble(made, known)


def test_a_status_without_nulls_comes_back_from_the_api_server_as_it_was_sent() -> None:
    row = {"name": "v0", "score": None, "metrics": {"a": None}}
    made = status(
        replace(RECORD, status={"trials": TRIALS, "combinations": [row], "best": {"combination": "v0", "margin": None}})
    )

    assert made["combinations"] == [{"name": "v0", "metrics": {}}]
    assert made["best"] == {"combination": "v0"}
