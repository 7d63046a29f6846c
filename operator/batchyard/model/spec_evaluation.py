"""How results are judged: evaluators, the gate and the parity check, as a file spells them.

Not for judging; that is ``batchyard.judge``.
"""

import json
from typing import Annotated

from pydantic import Field, StringConstraints

from batchyard.model.spec_base import DnsLabel, Share, SpecModel, Weight
from batchyard.model.spec_environment import Isolation, Provider
from batchyard.model.spec_evaluators import EVALUATOR_CONFIGS, EvaluatorName
from batchyard.model.trial import JSON


class Evaluator(SpecModel):
    """One way to score a trial."""

    name: EvaluatorName = Field(description="Which evaluator.")
    weight: Weight = Field(default=1.0, description="How much it counts in the trial's score.")
    config: dict[str, JSON] = Field(default_factory=dict, description="What the evaluator is told.")

    def settings(self) -> SpecModel:
        """Return ``config`` as the evaluator's own model, an instance of ``EVALUATOR_CONFIGS[name]``.

        Raises ``pydantic.ValidationError``; never for a spec that was parsed.
        """
        return EVALUATOR_CONFIGS[self.name].model_validate_json(json.dumps(self.config))


class Evaluation(SpecModel):
    """How trials are scored."""

    evaluators: tuple[Evaluator, ...] = Field(
        default=(), max_length=64, description="Evaluators, by weight; with none, a trial that ends by itself passes."
    )
    pass_threshold: Share = Field(default=0.5, description="Least score with which a trial passes.")


class Sequential(SpecModel):
    """Looking at the comparison while the batch runs, and ending it once it is decided."""

    looks: int = Field(
        default=10, ge=2, le=20, description="How many looks, evenly over the cases; fewer if there are few cases."
    )
    futility: Share = Field(
        default=0.1,
        description="End the batch if the chance that the rest decides it is below this; 0 never does.",
    )
    seed: int = Field(default=0, ge=0, le=2**31 - 1, description="Of the random order in which the cases are run.")


class Baseline(SpecModel):
    """The combination that the others are held against."""

    combination: DnsLabel = Field(description="Name of the combination.")
    max_regression: Share = Field(
        default=0.02, description="How far the best combination's score may be below the baseline's."
    )
    confidence: Annotated[float, Field(ge=0.5, lt=1)] | None = Field(
        default=0.95,
        description="How sure the gate must be, either way, over the cases; null compares the means as they are.",
    )
    sequential: Sequential | None = Field(
        default=None, description="End the batch as soon as the comparison is decided; null runs every trial."
    )


class Gate(SpecModel):
    """What a batch must reach to succeed; a rule that is null is not applied."""

    min_success_rate: Share | None = Field(
        default=None, description="Least share of the best combination's trials that must pass."
    )
    min_score: Share | None = Field(default=None, description="Least score of the best combination.")
    baseline: Baseline | None = Field(default=None, description="Combination against which no regression is allowed.")


class Parity(SpecModel):
    """Running a sample of the trials a second time in another place and comparing what comes out."""

    enabled: bool = Field(default=False, description="Whether the check is made.")
    against: Provider = Field(
        default=Provider.IN_PROCESS, description="The other provider; in a cluster Ray means KubeRay."
    )
    isolation: Isolation = Field(
        default=Isolation.PROCESS, description="What stands between two trials there; Thread only with InProcess."
    )
    sample_size: int = Field(default=3, ge=1, le=1000, description="How many trials are compared.")
    metric_tolerance: float = Field(
        default=0.01,
        ge=0,
        description="Greatest difference of two numbers that count as equal, as a share of the larger.",
    )
    absolute_tolerance: float = Field(
        default=1e-6,
        ge=0,
        description="Greatest difference of two numbers that count as equal, however small they are.",
    )
    ignored_metrics: tuple[Annotated[str, StringConstraints(min_length=1, max_length=253)], ...] = Field(
        default=(), max_length=64, description="Metrics that are not compared."
    )
    ignore_timing_metrics: bool = Field(
        default=True, description="Whether metrics that measure time, by their names, are left out as well."
    )
    max_discrepancies: int = Field(
        default=100, ge=1, le=1000, description="How many discrepancies are kept; all are counted."
    )
