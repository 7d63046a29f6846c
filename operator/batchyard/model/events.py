"""What can happen, as one small record, and how severe each kind is.

The type of an event is also the type of its audit entry and, in a cluster, the reason of its Kubernetes event.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from batchyard.model.trial import JSON


class Severity(StrEnum):
    """How much attention an entry asks for, least first."""

    DEBUG = "debug"
    INFO = "info"
    SUCCESS = "success"
    WARNING = "warning"
    ERROR = "error"

    @property
    def rank(self) -> int:
        """Return 0 for debug up to 4 for error; entries of low rank are dropped first."""
        return tuple(Severity).index(self)


class EventType(StrEnum):
    """Every kind of event the engine publishes."""

    BATCH_ACCEPTED = "BatchAccepted"
    SPEC_INVALID = "SpecInvalid"
    ENVIRONMENT_PROVISIONING = "EnvironmentProvisioning"
    ENVIRONMENT_QUEUED = "EnvironmentQueued"
    ENVIRONMENT_ADMITTED = "EnvironmentAdmitted"
    ENVIRONMENT_READY = "EnvironmentReady"
    ENVIRONMENT_PREEMPTED = "EnvironmentPreempted"
    ENVIRONMENT_FAILED = "EnvironmentFailed"
    ENVIRONMENT_RELEASED = "EnvironmentReleased"
    BATCH_STARTED = "BatchStarted"
    BATCH_AMENDED = "BatchAmended"
    BATCH_SUSPENDED = "BatchSuspended"
    BATCH_RESUMED = "BatchResumed"
    BATCH_INTERRUPTED = "BatchInterrupted"
    SESSION_ABANDONED = "SessionAbandoned"
    BATCH_CANCELLED = "BatchCancelled"
    BATCH_FINISHED = "BatchFinished"
    TRIAL_STARTED = "TrialStarted"
    TRIAL_PASSED = "TrialPassed"
    TRIAL_FAILED = "TrialFailed"
    TRIAL_TIMED_OUT = "TrialTimedOut"
    TRIAL_NEEDS_INPUT = "TrialNeedsInput"
    TRIAL_CANCELLED = "TrialCancelled"
    TRIAL_ERRORED = "TrialErrored"
    TRIAL_RETRIED = "TrialRetried"
    TRIAL_CARRIED_OVER = "TrialCarriedOver"
    TRIALS_NOT_RUN = "TrialsNotRun"
    LATE_RESULT = "LateResult"
    DEADLINE_EXCEEDED = "DeadlineExceeded"
    BUDGET_EXCEEDED = "BudgetExceeded"
    DECIDED_EARLY = "DecidedEarly"
    GATE_PASSED = "GatePassed"
    GATE_FAILED = "GateFailed"
    GATE_INCONCLUSIVE = "GateInconclusive"
    PARITY_MISMATCH = "ParityMismatch"
    PARITY_VERIFIED = "ParityVerified"
    EXECUTION_MOVED = "ExecutionMoved"
    AUDIT_DROPPED = "AuditDropped"
    ORPHAN_REMOVED = "OrphanRemoved"
    STORE_REPAIRED = "StoreRepaired"
    # about Kubernetes events: ours, and those of others on our objects
    TRIAL_EVENTS_OMITTED = "TrialEventsOmitted"
    EVENT_UNDELIVERABLE = "EventUndeliverable"
    KUBERNETES_EVENT = "KubernetesEvent"
    KUBERNETES_EVENTS_OMITTED = "KubernetesEventsOmitted"
    MIRROR_GAP = "MirrorGap"
    # from a bridged foreign emitter
    CHECKPOINT_CREATED = "CheckpointCreated"
    ROLLBACK_PERFORMED = "RollbackPerformed"
    BRANCH_CREATED = "BranchCreated"
    BRIDGE_FAILED = "BridgeFailed"


_SEVERITY: Mapping[EventType, Severity] = {
    EventType.SPEC_INVALID: Severity.ERROR,
    EventType.ENVIRONMENT_FAILED: Severity.ERROR,
    EventType.ENVIRONMENT_PREEMPTED: Severity.WARNING,
    EventType.BATCH_INTERRUPTED: Severity.WARNING,
    EventType.SESSION_ABANDONED: Severity.WARNING,
    EventType.BATCH_CANCELLED: Severity.WARNING,
    EventType.TRIAL_STARTED: Severity.DEBUG,
    EventType.TRIAL_PASSED: Severity.SUCCESS,
    EventType.TRIAL_FAILED: Severity.WARNING,
    EventType.TRIAL_TIMED_OUT: Severity.WARNING,
    EventType.TRIAL_NEEDS_INPUT: Severity.WARNING,
    EventType.TRIAL_CANCELLED: Severity.WARNING,
    EventType.TRIAL_ERRORED: Severity.ERROR,
    EventType.TRIAL_RETRIED: Severity.WARNING,
    EventType.TRIALS_NOT_RUN: Severity.WARNING,
    EventType.LATE_RESULT: Severity.WARNING,
    EventType.DEADLINE_EXCEEDED: Severity.ERROR,
    EventType.BUDGET_EXCEEDED: Severity.ERROR,
    EventType.GATE_PASSED: Severity.SUCCESS,
    EventType.GATE_FAILED: Severity.ERROR,
    EventType.GATE_INCONCLUSIVE: Severity.WARNING,
    EventType.PARITY_MISMATCH: Severity.ERROR,
    EventType.PARITY_VERIFIED: Severity.SUCCESS,
    EventType.AUDIT_DROPPED: Severity.ERROR,
    EventType.ORPHAN_REMOVED: Severity.WARNING,
    EventType.STORE_REPAIRED: Severity.WARNING,
    EventType.TRIAL_EVENTS_OMITTED: Severity.WARNING,
    EventType.EVENT_UNDELIVERABLE: Severity.WARNING,
    EventType.KUBERNETES_EVENTS_OMITTED: Severity.WARNING,
    EventType.MIRROR_GAP: Severity.WARNING,
    EventType.ROLLBACK_PERFORMED: Severity.WARNING,
    EventType.BRIDGE_FAILED: Severity.WARNING,
}


def severity_of(kind: EventType) -> Severity:
    """Return how severe events of this kind are; info unless the table says otherwise."""
    return _SEVERITY.get(kind, Severity.INFO)


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened. ``trial_id`` and ``attempt`` are empty and 0 for batch-level events.

    ``details`` is small JSON: counts, reasons, names; never inputs, outputs or secrets. ``source`` names who saw it
    first, if that was not the engine.
    """

    type: EventType
    at: datetime
    batch_id: str
    message: str
    epoch: int = 0
    trial_id: str = ""
    attempt: int = 0
    details: Mapping[str, JSON] = field(default_factory=dict)
    source: str = "batchyard"
