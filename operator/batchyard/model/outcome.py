"""How a trial and a batch can end, spelled once."""

from __future__ import annotations

from enum import StrEnum


class Outcome(StrEnum):
    """How one attempt of a trial ended."""

    PASSED = "Passed"
    FAILED = "Failed"
    TIMED_OUT = "TimedOut"
    NEEDS_INPUT = "NeedsInput"
    CANCELLED = "Cancelled"
    NOT_RUN = "NotRun"
    ERRORED = "Errored"


class Verdict(StrEnum):
    """How a batch ended; always paired with one ``Reason``."""

    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    INCONCLUSIVE = "Inconclusive"
    CANCELLED = "Cancelled"


class GateOutcome(StrEnum):
    """What one rule of a gate, or the whole gate, came to."""

    PASSED = "Passed"
    FAILED = "Failed"
    INCONCLUSIVE = "Inconclusive"
    """The results show neither that it is met nor that it is not."""


class Phase(StrEnum):
    """Where a batch stands."""

    PENDING = "Pending"
    PROVISIONING = "Provisioning"
    RUNNING = "Running"
    EVALUATING = "Evaluating"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    CANCELLED = "Cancelled"
    SUSPENDED = "Suspended"

    @property
    def final(self) -> bool:
        """Return whether a batch in this phase will never change again."""
        return self in {Phase.SUCCEEDED, Phase.FAILED, Phase.CANCELLED}


FINAL_PHASES = tuple(phase for phase in Phase if phase.final)


class Reason(StrEnum):
    """Why an attempt or a batch ended as it did."""

    NONE = ""
    # batch
    INVALID_SPEC = "InvalidSpec"
    ENVIRONMENT_FAILED = "EnvironmentFailed"
    ENVIRONMENT_DEADLINE_EXCEEDED = "EnvironmentDeadlineExceeded"
    BATCH_DEADLINE_EXCEEDED = "BatchDeadlineExceeded"
    BATCH_BUDGET_EXCEEDED = "BatchBudgetExceeded"
    ALL_TRIALS_FAILED = "AllTrialsFailed"
    GATE_FAILED = "GateFailed"
    GATE_INCONCLUSIVE = "GateInconclusive"
    CANCELLED = "Cancelled"
    FAIL_FAST = "FailFast"
    DECIDED_EARLY = "DecidedEarly"
    EXECUTION = "Execution"
    SUSPENDED = "Suspended"
    CONFIG_MAP_MISSING = "ConfigMapMissing"
    FORK_SOURCE_NOT_READY = "ForkSourceNotReady"
    AMENDED_NOT_READY = "AmendedNotReady"
    QUEUED = "Queued"
    PREEMPTED = "Preempted"
    # attempt
    TRIAL_DEADLINE_EXCEEDED = "TrialDeadlineExceeded"
    NODE_DEADLINE_EXCEEDED = "NodeDeadlineExceeded"
    IDLE_DEADLINE_EXCEEDED = "IdleDeadlineExceeded"
    STEP_BUDGET_EXCEEDED = "StepBudgetExceeded"
    TOKEN_BUDGET_EXCEEDED = "TokenBudgetExceeded"  # noqa: S105 - tokens of a language model
    COST_BUDGET_EXCEEDED = "CostBudgetExceeded"
    BELOW_THRESHOLD = "BelowThreshold"
    NODE_RAISED = "NodeRaised"
    RECURSION_LIMIT = "RecursionLimitExceeded"
    STATE_NOT_SERIALISABLE = "StateNotSerialisable"
    FILES_NOT_KEPT = "FilesNotKept"
    WORKFLOW_INVALID = "WorkflowInvalid"
    EVALUATION_FAILED = "EvaluationFailed"
    INTERRUPTED_BY_GRAPH = "GraphInterrupted"
    PAUSED = "Paused"
    START_REFUSED = "StartRefused"
    WORKER_LOST = "WorkerLost"
    OUT_OF_MEMORY = "OutOfMemory"
    INTERRUPTED = "Interrupted"
