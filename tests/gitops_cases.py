"""BatchTests in every state that a GitOps tool may find them in, with what Argo CD and kstatus shall make of each.

The statuses come from the operator's own builders, not from here.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from batchyard.engine.ports import BatchRecord
from batchyard.engine.summary import Summary
from batchyard.judge.gate import Check, GateResult
from batchyard.kube.status import build_status, rejected_status
from batchyard.model.matrix import Plan
from batchyard.model.outcome import GateOutcome, Outcome, Phase, Reason
from batchyard.model.trial import Case, Combination
from judge_builders import a_result
from status_builders import NOW, an_environment

Object = dict[str, Any]

UNSEEN = {"observedGeneration": -1}
"""What a BatchTest's status is before an operator sees it, by the CRD's default."""


@dataclass(frozen=True, slots=True)
class Told:
    """A state by one tool's word for it, and the text that it shows."""

    state: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class GitOpsCase:
    """A BatchTest as it is in the cluster, and what is said of it."""

    name: str
    argo: Told
    kstatus: Told
    status: Object | None
    generation: int = 1
    metadata: Object = field(default_factory=dict)

    @property
    def body(self) -> Object:
        """Return the object as the API server would."""
        metadata = {"name": self.name, "namespace": "batches", "generation": self.generation, **self.metadata}
        body: Object = {
            "apiVersion": "batchyard.dev/v1alpha1",
            "kind": "BatchTest",
            "metadata": metadata,
            "spec": {"workflow": {"factory": "greet:build"}},
        }
        return body if self.status is None else {**body, "status": self.status}


def _batch(phase: Phase, reason: str = "", message: str = "", **fields: Any) -> BatchRecord:
    return BatchRecord(
        id="greeting-1",
        name="greeting",
        spec={},
        spec_digest="",
        base="",
        total=2,
        accepted_at=NOW,
        deadline_at=NOW + timedelta(hours=1),
        phase=phase,
        reason=reason,
        message=message,
        completed_at=NOW + timedelta(minutes=1) if phase.final else None,
        **fields,
    )


def _status(record: BatchRecord, gate: GateResult | None = None, ended: int = 2, *, generation: int = 1) -> Object:
    """Return the operator's status of a batch of which ``ended`` trials are over: of two variants the warm one wins."""
    summary = Summary(Plan(tuple(Combination(name, {"style": name}) for name in ("plain", "warm")), (_CASE,)))
    for name, outcome, score in (("warm", Outcome.PASSED, 1.0), ("plain", Outcome.FAILED, 0.0))[:ended]:
        summary.add(a_result(name, outcome, score=score))
    record = replace(record, status=summary.status(record, running=0, gate=gate))
    return build_status(record, an_environment(), generation=generation, previous={}, now=NOW)


_CASE = Case("c", {}, None, 1.0, None)
_GATE_FAILED = GateResult((Check("minSuccessRate", GateOutcome.FAILED, 0.5, 0.9, "success rate 0.5 is below 0.9"),))
_OPEN = "score 0.5 of 'warm' may or may not be more than 0 below the 0.5 of baseline 'plain'"
_GATE_OPEN = GateResult((Check("baseline", GateOutcome.INCONCLUSIVE, 0.5, 0.5, _OPEN),))
_GATE_PASSED = GateResult((Check("minSuccessRate", GateOutcome.PASSED, 1.0, 0.9, "success rate 1 reaches 0.9"),))


def _rejected(reason: str, message: str, *, final: bool) -> Object:
    return rejected_status(reason, message, generation=1, final=final, previous={}, now=NOW)


def _moving(name: str, phase: Phase, message: str) -> GitOpsCase:
    said = Told("Progressing", f"{phase}: {message}")
    return GitOpsCase(name, said, Told("InProgress", message), _status(_batch(phase, message=message), ended=1))


def _lost(name: str, reason: Reason, message: str) -> GitOpsCase:
    status = _status(_batch(Phase.FAILED, reason, message), ended=0)
    return GitOpsCase(name, Told("Degraded", f"{reason}: {message}"), Told("Failed", message), status)


_DELETED = {"deletionTimestamp": "2026-01-01T12:00:00Z", "finalizers": ["example.com/kept"]}
_UNSEEN = "waiting for the operator of Batchyard"
_OUTDATED = "waiting for the operator to see the newest change"
_NO_MAP = "waiting for ConfigMap greeting-code in namespace batches; apply it"
_FAULTS = "1 fault: spec.repeats: 0 is not at least 1"
_HELD = _status(_batch(Phase.SUSPENDED, Reason.SUSPENDED, "1 of 2 trials finished"), ended=1)
_WON = _status(_batch(Phase.SUCCEEDED, message="2 trials: 1 passed, 1 failed"), _GATE_PASSED)

CASES = (
    GitOpsCase(
        "unseen", Told("Progressing", _UNSEEN),
        Told("InProgress", "BatchTest generation is 1, but latest observed generation is -1"), UNSEEN,
    ),
    GitOpsCase(
        "outdated", Told("Progressing", _OUTDATED),
        Told("InProgress", "BatchTest generation is 2, but latest observed generation is 1"), _HELD, generation=2,
    ),
    GitOpsCase(
        "outdated-verdict", Told("Progressing", _OUTDATED),
        Told("InProgress", "BatchTest generation is 3, but latest observed generation is 1"), _WON, generation=3,
    ),
    GitOpsCase(
        "config-map-missing", Told("Progressing", f"Pending: ConfigMapMissing: {_NO_MAP}"), Told("InProgress", _NO_MAP),
        _rejected(Reason.CONFIG_MAP_MISSING, _NO_MAP, final=False),
    ),
    GitOpsCase(
        "invalid-spec", Told("Degraded", f"InvalidSpec: {_FAULTS}"), Told("Failed", _FAULTS),
        _rejected(Reason.INVALID_SPEC, _FAULTS, final=True),
    ),
    _moving("pending", Phase.PENDING, "0 of 2 trials finished"),
    _moving("provisioning", Phase.PROVISIONING, "0 of 2 trials finished"),
    _moving("running", Phase.RUNNING, "1 of 2 trials finished"),
    _moving("evaluating", Phase.EVALUATING, "2 of 2 trials finished"),
    GitOpsCase(
        "suspended", Told("Suspended", "1 of 2 trials finished"), Told("InProgress", "1 of 2 trials finished"), _HELD,
    ),
    GitOpsCase(
        "succeeded", Told("Healthy", "2 trials: 1 passed, 1 failed; best is warm"),
        Told("Current", "Resource is Ready"), _WON,
    ),
    GitOpsCase(
        "gate-failed", Told("Degraded", "GateFailed: success rate 0.5 is below 0.9; 2 trials: 1 passed, 1 failed"),
        Told("Failed", "success rate 0.5 is below 0.9; 2 trials: 1 passed, 1 failed"),
        _status(_batch(Phase.FAILED, Reason.GATE_FAILED, "2 trials: 1 passed, 1 failed"), _GATE_FAILED),
    ),
    GitOpsCase(
        "gate-inconclusive", Told("Degraded", f"GateInconclusive: {_OPEN}; 2 trials: 1 passed, 1 failed"),
        Told("Failed", f"{_OPEN}; 2 trials: 1 passed, 1 failed"),
        _status(_batch(Phase.FAILED, Reason.GATE_INCONCLUSIVE, "2 trials: 1 passed, 1 failed"), _GATE_OPEN),
    ),
    _lost("fail-fast", Reason.FAIL_FAST, "2 trials: 1 failed, 1 not run"),
    _lost("batch-budget", Reason.BATCH_BUDGET_EXCEEDED, "2 trials: 1 cancelled, 1 not run"),
    _lost("all-trials-failed", Reason.ALL_TRIALS_FAILED, "2 trials: 2 failed"),
    _lost("environment-failed", Reason.ENVIRONMENT_FAILED, "the pod was lost 2 times; 2 trials: 2 not run"),
    _lost("environment-deadline", Reason.ENVIRONMENT_DEADLINE_EXCEEDED, "ImagePullBackOff; 2 trials: 2 not run"),
    _lost("batch-deadline", Reason.BATCH_DEADLINE_EXCEEDED, "2 trials: 2 not run"),
    _lost("workflow-invalid", Reason.WORKFLOW_INVALID, "greet has no build; 2 trials: 2 not run"),
    GitOpsCase(
        "cancelled", Told("Degraded", "Cancelled: 2 trials: 2 cancelled"), Told("Failed", "2 trials: 2 cancelled"),
        _status(_batch(Phase.CANCELLED, Reason.CANCELLED, "2 trials: 2 cancelled"), ended=0),
    ),
    GitOpsCase(
        "being-deleted", Told("Progressing", "Pending deletion"),
        Told("Terminating", "Resource scheduled for deletion"), _WON, metadata=_DELETED,
    ),
)  # fmt: skip

WITHOUT_STATUS = GitOpsCase("no-status", Told("Progressing", _UNSEEN), Told("Current", "Resource is current"), None)
"""As under a definition that is older than the default: kstatus takes it for finished."""

A_NEWER_PHASE = GitOpsCase(
    "newer-phase",
    Told("Progressing", "Musing: 1 of 2 trials finished"),
    Told("InProgress", "1 of 2 trials finished"),
    {**_status(_batch(Phase.RUNNING, message="1 of 2 trials finished"), ended=1), "phase": "Musing"},
)
"""As of an operator that is newer than the script."""
