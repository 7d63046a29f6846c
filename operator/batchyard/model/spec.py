"""The BatchTest a user writes, as closed, frozen, strict models: the one source of the CRD and of the file's rules.

Rules between fields are in ``rules``; reading text is in ``parse``. The parts are in the ``spec_*`` modules and
offered again here.
"""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, StringConstraints

from batchyard.model.execution import Keep
from batchyard.model.outcome import Outcome
from batchyard.model.spec_base import YEAR_SECONDS, DnsLabel, Quantity, Seconds, SpecModel, fault
from batchyard.model.spec_budgets import Budget, Budgets, Price
from batchyard.model.spec_environment import (
    EnvFrom,
    Environment,
    Isolation,
    KubeRay,
    Provider,
    RayHead,
    RayWorkers,
    Reuse,
    SecretRef,
)
from batchyard.model.spec_evaluation import Baseline, Evaluation, Evaluator, Gate, Parity
from batchyard.model.spec_files import FileTracking
from batchyard.model.spec_forking import ForkFrom, PostgresThreads, SecretKeyRef
from batchyard.model.spec_workload import (
    MAX_COMBINATIONS,
    MAX_INLINE_CASES_BYTES,
    MAX_TRIALS,
    CasesFrom,
    CaseSpec,
    ConfigMapKeyRef,
    ConfigMapRef,
    Include,
    Override,
    Resources,
    Source,
    Variants,
    Workflow,
)
from batchyard.model.trial import JSON

__all__ = [
    "API_VERSION",
    "KIND",
    "MAX_COMBINATIONS",
    "MAX_INLINE_CASES_BYTES",
    "MAX_TRIALS",
    "Audit",
    "Baseline",
    "BatchTest",
    "BatchTestSpec",
    "Budget",
    "Budgets",
    "CaseSpec",
    "CasesFrom",
    "Checkpoints",
    "ConfigMapKeyRef",
    "ConfigMapRef",
    "Deadlines",
    "Durability",
    "EnvFrom",
    "Environment",
    "Evaluation",
    "Evaluator",
    "FileTracking",
    "ForkFrom",
    "Gate",
    "Include",
    "Isolation",
    "KubeRay",
    "Limits",
    "Metadata",
    "Override",
    "Parity",
    "PostgresThreads",
    "Price",
    "Provider",
    "RayHead",
    "RayWorkers",
    "Resources",
    "Retry",
    "Reuse",
    "SecretKeyRef",
    "SecretRef",
    "Source",
    "Variants",
    "Workflow",
]

API_VERSION = "batchyard.dev/v1alpha1"
KIND = "BatchTest"


def _retryable(outcome: object) -> object:
    if outcome != Outcome.ERRORED:
        raise fault(
            "is not Errored, and only a broken place is tried again: a result is a result",
            "write [Errored], or [] for no retries",
        )
    return outcome


class Retry(SpecModel):
    """When an attempt that the place broke is made again."""

    max_attempts: int = Field(default=2, ge=1, le=20, description="Attempts a trial may have, the first one included.")
    backoff_seconds: float = Field(
        default=1.0, ge=0, le=86_400, description="Wait before the second attempt; doubles after."
    )
    backoff_max_seconds: float = Field(default=30.0, ge=0, le=86_400, description="Longest wait.")
    retry_on: tuple[Annotated[Outcome, BeforeValidator(_retryable)], ...] = Field(
        default=(Outcome.ERRORED,), max_length=1, description="Outcomes that are tried again; only Errored is allowed."
    )


class Deadlines(SpecModel):
    """How long each scope may take, in seconds."""

    batch_seconds: Seconds = Field(default=3600.0, description="The whole batch, counted from its acceptance.")
    environment_seconds: Seconds = Field(default=600.0, description="Making the environment.")
    trial_seconds: Seconds = Field(default=300.0, description="One attempt of a trial, counted from its beginning.")
    node_seconds: Seconds | None = Field(
        default=None, description="One node of the workflow; null is no limit of its own."
    )
    idle_seconds: Seconds | None = Field(
        default=None,
        description="Time in which no node begins or ends and nothing is reported; null is no limit of its own.",
    )
    grace_seconds: float = Field(
        default=5.0, ge=0, le=3600, description="How long a trial over its deadline may take to end by itself."
    )


class Durability(StrEnum):
    """When a checkpoint is on disk: before the next node, soon, or only at the end."""

    SYNC = "sync"
    ASYNC = "async"
    EXIT = "exit"


class Checkpoints(SpecModel):
    """How the states between nodes are kept."""

    durability: Durability = Field(default=Durability.SYNC, description="When a node's state is written.")
    keep: Keep = Field(
        default=Keep.ALWAYS,
        description="Which attempts' states stay after the batch, to be looked at, gone on with and forked from.",
    )
    keep_limit: Quantity = Field(
        default="256Mi",
        description="Bytes that they may take, on disk or in the database; if all need more, the failed stay on disk.",
    )
    postgres: PostgresThreads | None = Field(
        default=None, description="Database that checkpoints are kept in, in a cluster."
    )
    files: FileTracking | None = Field(
        default=None, description="Files of the trial's folder to keep with each state; null keeps none."
    )


class Limits(SpecModel):
    """Bounds on one run of the workflow."""

    recursion_limit: int = Field(default=100, ge=1, le=1_000_000, description="Steps a run may take.")


class Audit(SpecModel):
    """How much of the audit trail is kept."""

    max_entries: int = Field(
        default=10_000, ge=100, le=10_000_000, description="Entries held in memory between flushes."
    )
    retention_days: int = Field(default=30, ge=1, le=36_500, description="Days that stored entries are kept.")


class BatchTestSpec(SpecModel):
    """What is to be run and how it is to be judged."""

    description: Annotated[str, StringConstraints(max_length=4096)] = Field(
        default="", description="What the batch is for."
    )
    workflow: Workflow = Field(description="The workflow under test.")
    variants: Variants = Field(description="The combinations to compare.")
    cases: tuple[CaseSpec, ...] = Field(
        default=(), max_length=10_000, description="Cases written here, at most 64 KiB of JSON in all."
    )
    cases_from: tuple[CasesFrom, ...] = Field(
        default=(), max_length=64, description="Files of further cases, appended in order."
    )
    initial_state: dict[str, JSON] = Field(default_factory=dict, description="Merged under the input of every case.")
    fork_from: ForkFrom | None = Field(
        default=None, description="Finished batch whose kept checkpoints the trials begin from."
    )
    amends: DnsLabel | None = Field(
        default=None,
        description="Name of a BatchTest of the same namespace, or of a batch in the same store, whose results stand "
        "for trials that would run the same again; its newest is taken.",
    )
    repeats: int = Field(
        default=1, ge=1, le=MAX_TRIALS, description="How often each case is run with each combination."
    )
    parallelism: int = Field(default=4, ge=1, le=1024, description="Trials that run at the same time.")
    fail_fast: bool = Field(default=False, description="Whether the first trial that does not pass ends the batch.")
    retry: Retry = Field(default_factory=Retry, description="When a broken attempt is made again.")
    deadlines: Deadlines = Field(default_factory=Deadlines, description="How long each scope may take.")
    budgets: Budgets | None = Field(default=None, description="How much may be used; null counts nothing.")
    environment: Environment = Field(default_factory=Environment, description="The place where trials run.")
    checkpoints: Checkpoints = Field(default_factory=Checkpoints, description="How states between nodes are kept.")
    limits: Limits = Field(default_factory=Limits, description="Bounds on one run of the workflow.")
    evaluation: Evaluation = Field(default_factory=Evaluation, description="How trials are scored.")
    gate: Gate = Field(default_factory=Gate, description="What the batch must reach to succeed.")
    parity: Parity = Field(default_factory=Parity, description="Comparison with another provider.")
    audit: Audit = Field(default_factory=Audit, description="How much of the audit trail is kept.")
    suspend: bool = Field(default=False, description="Whether the batch is held; may change while it runs.")
    cancel: bool = Field(default=False, description="Whether the batch is to end; may change while it runs.")
    ttl_seconds_after_finished: Annotated[int, Field(ge=0, le=YEAR_SECONDS)] | None = Field(
        default=None, description="Seconds after its end that the finished batch is deleted; null keeps it."
    )


class Metadata(SpecModel):
    """What the batch is called."""

    name: DnsLabel = Field(description="Name of the batch.")
    namespace: DnsLabel | None = Field(default=None, description="Namespace in a cluster; no meaning on this machine.")
    labels: dict[str, str] = Field(default_factory=dict, description="Labels, as in Kubernetes.")
    annotations: dict[str, str] = Field(default_factory=dict, description="Annotations, as in Kubernetes.")


class BatchTest(SpecModel):
    """A test of a workflow: variants x cases x repeats, with deadlines, evaluation and a gate."""

    api_version: Literal["batchyard.dev/v1alpha1"] = Field(description="Version of the format.")
    kind: Literal["BatchTest"] = Field(description="Kind of the object.")
    metadata: Metadata = Field(description="What the batch is called.")
    spec: BatchTestSpec = Field(description="What is to be run and how it is to be judged.")
