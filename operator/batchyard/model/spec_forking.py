"""Where threads are kept beyond their batch, and what a batch's trials begin from, as a file spells them.

Not for which trial begins where (``decide.forking``) nor for keeping (``workflows.postgres_threads``).
"""

from typing import Annotated

from pydantic import Field, StringConstraints

from batchyard.model.spec_base import DimensionName, DnsLabel, SpecModel, VariantName
from batchyard.model.spec_workload import ConfigMapName
from batchyard.model.trial import JSON


class SecretKeyRef(SpecModel):
    """One key of a Secret in the BatchTest's own namespace."""

    name: ConfigMapName = Field(description="Name of the Secret.")
    key: ConfigMapName = Field(description="Key whose value is the URL, postgresql://user:password@host/database.")


class PostgresThreads(SpecModel):
    """The PostgreSQL database that a cluster's kept checkpoints go to; runs on this machine keep theirs in files."""

    secret_ref: SecretKeyRef = Field(description="Where its URL is; only the batch's own pods get it.")
    retention_days: int = Field(
        default=30, ge=1, le=36_500, description="Days after which a kept thread is deleted by the next batch's pods."
    )


class ForkFrom(SpecModel):
    """The finished batch whose kept checkpoints the trials begin from, instead of their inputs."""

    batch_test: DnsLabel = Field(
        description="Name of a BatchTest of the same namespace, or of a batch in the same store; its newest is taken."
    )
    node: Annotated[str, StringConstraints(min_length=1, max_length=253)] = Field(
        description="Node of the workflow; each trial begins where it had last ended in the other batch's trial."
    )
    variants: dict[DimensionName, VariantName] = Field(
        default_factory=dict,
        max_length=32,
        description="Values that the other batch's combination has in place of the trial's own; the rest is alike.",
    )
    set: dict[str, JSON] = Field(
        default_factory=dict, description="Keys of the state that are set before the trial goes on."
    )
