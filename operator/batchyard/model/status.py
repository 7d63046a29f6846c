"""The status of a BatchTest, as the contract writes it: bounded, and the source of the CRD's status schema.

Not for how a batch stands while it runs (``engine.summary``) nor for rows of single trials (the store).
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Self

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, model_validator
from pydantic.alias_generators import to_camel

from batchyard.model.outcome import GateOutcome, Outcome, Phase
from batchyard.model.spec_environment import Isolation, Provider
from batchyard.model.spec_workload import MAX_COMBINATIONS
from batchyard.model.trial import JSON

MAX_FAILURE_ROWS = 20
MAX_PARITY_ROWS = 5
MAX_MESSAGE = 1024


def _utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC)


Moment = Annotated[AwareDatetime, AfterValidator(_utc)]
Message = Annotated[str, StringConstraints(max_length=MAX_MESSAGE)]
Count = Annotated[int, Field(ge=0)]


class StatusModel(BaseModel):
    """A part of the status: frozen, camelCase in JSON. Fields of a newer version are left out, not refused."""

    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        allow_inf_nan=False,
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
    )


class TrialCounts(StatusModel):
    """How many trials stand where; all but `total` and `retried` add up to `total`."""

    total: Count = Field(default=0, description="All trials of the batch.")
    pending: Count = Field(default=0, description="Not begun yet, or waiting to be tried again.")
    running: Count = Field(default=0, description="Running now.")
    passed: Count = Field(default=0, description="Ended, and right.")
    failed: Count = Field(default=0, description="Ended, and wrong or with an exception.")
    timed_out: Count = Field(default=0, description="Ended by a deadline.")
    needs_input: Count = Field(default=0, description="Stopped because the graph asked for input.")
    errored: Count = Field(default=0, description="Lost with the place they ran in, after all attempts.")
    cancelled: Count = Field(default=0, description="Ended by a cancel.")
    not_run: Count = Field(default=0, description="Never begun because the batch ended first.")
    retried: Count = Field(default=0, description="Attempts that were made again.")
    carried_over: Count = Field(default=0, description="Final results that another batch's trials had come to.")


class CombinationRow(StatusModel):
    """What all trials of one combination come to."""

    name: str = Field(description="Name of the combination.")
    variants: dict[str, str] = Field(default_factory=dict, description="The choice for every dimension.")
    passed: Count = Field(default=0, description="Trials that passed.")
    failed: Count = Field(default=0, description="Trials that failed.")
    timed_out: Count = Field(default=0, description="Trials ended by a deadline.")
    needs_input: Count = Field(default=0, description="Trials stopped because the graph asked for input.")
    errored: Count = Field(default=0, description="Trials lost with the place they ran in.")
    cancelled: Count = Field(default=0, description="Trials ended by a cancel.")
    not_run: Count = Field(default=0, description="Trials never begun.")
    success_rate: float | None = Field(default=None, description="Share of the judged trials that passed.")
    score: float | None = Field(default=None, description="Weighted mean score; null if nothing was scored.")
    mean_seconds: float | None = Field(default=None, description="Mean duration of the judged trials.")
    metrics: dict[str, float] = Field(default_factory=dict, description="Mean of each metric.")
    metric_trials: dict[str, int] = Field(default_factory=dict, description="How many trials had each metric.")


class FailureRow(StatusModel):
    """One trial that did not pass."""

    trial: str = Field(description="Id of the trial.")
    attempt: int = Field(ge=1, description="Number of the attempt.")
    outcome: Outcome = Field(description="How it ended.")
    reason: str = Field(default="", description="Why, in one word.")
    message: Message = Field(default="", description="Why, in a sentence.")


class Best(StatusModel):
    """The combination that came out on top."""

    combination: str = Field(description="Name of the combination.")
    score: float | None = Field(default=None, description="Its score.")
    margin: float | None = Field(default=None, description="How far it is ahead of the next; null without a next.")
    by: str = Field(default="score", description="What the margin is measured in: score or successRate.")


def _is_absent(value: JSON) -> bool:
    # A status in a cluster has no nulls; what prints one from a file shall be the same.
    return value is None


def gate_outcome(told: Mapping[str, JSON]) -> GateOutcome:
    """Return what a gate, or one rule of it, came to; older batches tell only whether it passed."""
    return GateOutcome(told.get("outcome") or (GateOutcome.PASSED if told["passed"] else GateOutcome.FAILED))


class GateDifference(StatusModel):
    """How two combinations differ over the cases that both have."""

    combination: str = Field(description="The one that was held against the baseline: the best of the others.")
    against: str = Field(description="The baseline.")
    estimate: float = Field(description="Mean difference of a case, above 0 if the combination is better.")
    low: float = Field(
        description="What the difference is not below, with the gate's confidence, whichever of the others is best."
    )
    high: float = Field(description="What the difference is not above, with the gate's confidence.")
    confidence: float = Field(description="The confidence of either bound.")
    p_value: float = Field(
        description="Of the claim that the rule is met, adjusted for the number of combinations, not for looks."
    )
    cases: Count = Field(default=0, description="Cases that both have.")
    groups: Count = Field(
        default=0, description="Groups of cases, or cases without a group: the independent witnesses."
    )
    unpaired: Count = Field(default=0, description="Cases left out because one of the two lost all its trials of it.")
    cases_needed: Count | None = Field(
        default=None,
        exclude_if=_is_absent,
        description="About how many cases would decide; absent if decided or if none would.",
    )
    look: Count | None = Field(
        default=None, exclude_if=_is_absent, description="Which look decided, in a gate with `sequential`."
    )
    looks: Count | None = Field(default=None, exclude_if=_is_absent, description="How many looks were planned.")


class _Decided(StatusModel):
    passed: bool = Field(description="Whether it is met.")
    outcome: GateOutcome = Field(description="Passed, Failed, or Inconclusive: neither is shown.")

    @model_validator(mode="before")
    @classmethod
    def _of_an_older_batch(cls, told: dict[str, JSON]) -> dict[str, JSON]:
        return {**told, "outcome": gate_outcome(told)} if "passed" in told else told


class GateCheck(_Decided):
    """One rule of the gate, applied."""

    name: str = Field(description="Name of the rule.")
    actual: float | None = Field(default=None, description="What was reached.")
    threshold: float | None = Field(default=None, description="What was asked for.")
    message: Message = Field(default="", description="Both in a sentence.")
    difference: GateDifference | None = Field(
        default=None,
        exclude_if=_is_absent,
        description="The difference to the baseline over the cases; absent for other rules.",
    )


class GateStatus(_Decided):
    """What the gate said."""

    checks: tuple[GateCheck, ...] = Field(default=(), max_length=8, description="The rules, one by one.")


class EnvironmentStatus(StatusModel):
    """The place where the trials run."""

    provider: Provider = Field(description="Who made it.")
    name: str = Field(default="", description="Its name.")
    state: str = Field(default="", description="Where it stands.")
    attempt: int = Field(default=1, ge=0, description="Which attempt at making it this is.")
    message: Message = Field(default="", description="What was seen of it last.")


class AuditStatus(StatusModel):
    """The batch's audit trail."""

    entries: Count = Field(default=0, description="Entries in the trail.")
    dropped: Count = Field(default=0, description="Entries lost before they could be stored.")
    head: str = Field(default="", description="Newest hash of the chain.")


class ParityRow(StatusModel):
    """One difference between two runs of a trial."""

    type: str = Field(description="What differs.")
    trial: str = Field(description="Id of the trial.")
    message: Message = Field(default="", description="The difference in a sentence.")


class ParityStatus(StatusModel):
    """What running a sample of the trials in another place came to."""

    against: Provider = Field(description="The other provider.")
    isolation: Isolation = Field(default=Isolation.PROCESS, description="What stood between two trials there.")
    batch: str = Field(default="", description="Id of the batch that ran them there.")
    compared: Count = Field(default=0, description="Trials that both places have.")
    matching: Count = Field(default=0, description="Those of them without a difference.")
    total: Count = Field(default=0, description="Differences, listed or not.")
    discrepancies: tuple[ParityRow, ...] = Field(
        default=(), max_length=MAX_PARITY_ROWS, description="The first differences."
    )


class ReportStatus(StatusModel):
    """The written report."""

    location: str = Field(default="", description="Where it is.")
    digest: str = Field(default="", description="SHA-256 of it.")


class ConditionType(StrEnum):
    """Every condition a BatchTest has; the last three are kstatus'."""

    ACCEPTED = "Accepted"
    ENVIRONMENT_READY = "EnvironmentReady"
    FINISHED = "Finished"
    SUCCEEDED = "Succeeded"
    GATE_PASSED = "GatePassed"
    PARITY_VERIFIED = "ParityVerified"
    AUDIT_PERSISTED = "AuditPersisted"
    READY = "Ready"
    RECONCILING = "Reconciling"
    STALLED = "Stalled"


class Truth(StrEnum):
    """Whether a condition holds."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Condition(StatusModel):
    """One statement about the batch, as ``metav1.Condition``."""

    type: ConditionType = Field(description="What it is about.")
    status: Truth = Field(description="Whether it holds.")
    observed_generation: Count = Field(default=0, description="Generation of the spec it was seen for.")
    last_transition_time: Moment = Field(description="When it last changed between True, False and Unknown.")
    reason: Annotated[str, StringConstraints(pattern=r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$", max_length=1024)] = (
        Field(description="Why, in one word.")
    )
    message: Message = Field(default="", description="Why, in a sentence.")


class BatchStatus(StatusModel):
    """Where a batch stands."""

    observed_generation: Count = Field(default=0, description="Generation of the spec that this is about.")
    phase: Phase = Field(default=Phase.PENDING, description="Where the batch stands, in one word.")
    reason: str = Field(default="", description="Why, in one word.")
    message: Message = Field(default="", description="Where it stands, in a sentence.")
    start_time: Moment | None = Field(default=None, description="When the batch was accepted.")
    deadline_time: Moment | None = Field(default=None, description="When its deadline passes; decided once.")
    completion_time: Moment | None = Field(default=None, description="When it ended.")
    trials: TrialCounts = Field(default_factory=TrialCounts, description="How many trials stand where.")
    combinations: tuple[CombinationRow, ...] = Field(
        default=(), max_length=MAX_COMBINATIONS, description="The combinations, best first."
    )
    failures: tuple[FailureRow, ...] = Field(
        default=(), max_length=MAX_FAILURE_ROWS, description="The first trials that did not pass, in matrix order."
    )
    best: Best | None = Field(default=None, description="The combination that came out on top.")
    gate: GateStatus | None = Field(default=None, description="What the gate said.")
    environment: EnvironmentStatus | None = Field(default=None, description="The place where the trials run.")
    audit: AuditStatus = Field(default_factory=AuditStatus, description="The audit trail.")
    parity: ParityStatus | None = Field(default=None, description="What another place came to, if one was asked.")
    report: ReportStatus | None = Field(default=None, description="The written report.")
    conditions: tuple[Condition, ...] = Field(
        default=(), max_length=len(ConditionType), description="Statements about the batch."
    )

    @property
    def parity_condition(self) -> Condition | None:
        """Return the condition that says what another place came to, None if it was never set."""
        return next((one for one in self.conditions if one.type is ConditionType.PARITY_VERIFIED), None)

    @property
    def parity_verified(self) -> Truth | None:
        """Return what the condition ``ParityVerified`` says, None if it was never set."""
        found = self.parity_condition
        return found.status if found is not None else None

    def to_json(self) -> dict[str, JSON]:
        """Return the status as JSON, without what is not known yet."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)

    @classmethod
    def from_json(cls, document: JSON) -> Self:
        """Return the status that ``to_json`` gave. Raises ``pydantic.ValidationError``."""
        return cls.model_validate(document)
