"""What each built-in evaluator can be told: one model for the ``config`` of each name.

The evaluators themselves are in ``batchyard.judge``; here is only what a file may say.
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated, Self

from pydantic import Field, StringConstraints, field_validator, model_validator

from batchyard.model.spec_base import ImportPath, SpecModel, fault
from batchyard.model.trial import JSON

FieldName = Annotated[str, StringConstraints(min_length=1, max_length=253)]


class EvaluatorName(StrEnum):
    """The evaluators that are built in."""

    EXACT_MATCH = "exactMatch"
    CONTAINS = "contains"
    JSON_PATH = "jsonPath"
    NUMERIC_TOLERANCE = "numericTolerance"
    LATENCY = "latency"
    METRIC = "metric"
    CALLABLE = "callable"


class Direction(StrEnum):
    """Which values of a metric are better."""

    HIGHER = "higher"
    LOWER = "lower"


class ExactMatchConfig(SpecModel):
    """The output (or one field of it) equals what is expected."""

    field: FieldName | None = Field(
        default=None,
        description="Field of the final state and of `expected` to compare; without it, all that `expected` names.",
    )
    ignore_case: bool = Field(default=False, description="Whether texts that differ only in case are equal.")


class ContainsConfig(SpecModel):
    """The output has certain texts in it."""

    field: FieldName | None = Field(
        default=None, description="Field of the final state to search; without it, the whole state."
    )
    all: Annotated[tuple[FieldName, ...], Field(min_length=1, max_length=64)] | None = Field(
        default=None, description="Texts that must all be there; without `all` and `any`, what the case expects."
    )
    any: Annotated[tuple[FieldName, ...], Field(min_length=1, max_length=64)] | None = Field(
        default=None, description="Texts of which one must be there."
    )
    ignore_case: bool = Field(default=False, description="Whether case matters not.")


class JsonPathConfig(SpecModel):
    """What a JSONPath finds in the final state."""

    path: FieldName = Field(description="JSONPath (RFC 9535), for instance `$.answers[0].topic`.")
    equals: JSON = Field(
        default=None,
        description="What the first match must equal; without it, what the case expects, or else any match.",
    )

    @field_validator("path")
    @classmethod
    def _compiles(cls, path: str) -> str:
        # Late: only files that use this evaluator pay for the library.
        from jsonpath import JSONPathEnvironment, JSONPathError

        try:
            JSONPathEnvironment(strict=True).compile(path)
        except JSONPathError as err:
            raise fault(f"is not a JSONPath: {str(err).splitlines()[0]}", "write one such as $.answer") from err
        return path


class NumericToleranceConfig(SpecModel):
    """A number of the output is near the expected one."""

    field: FieldName = Field(description="Field of the final state and of `expected` that holds the number.")
    absolute: float | None = Field(default=None, ge=0, description="Greatest difference allowed.")
    relative: float | None = Field(
        default=None, ge=0, description="Greatest difference allowed, as a share of the expected."
    )


class LatencyConfig(SpecModel):
    """The trial was fast: 1 up to the target, falling to 0 at the maximum."""

    target_seconds: float = Field(gt=0, description="Duration up to which the score is 1.")
    max_seconds: float = Field(gt=0, description="Duration from which the score is 0.")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.target_seconds > self.max_seconds:
            raise fault(
                f"targetSeconds {self.target_seconds:g} is more than maxSeconds {self.max_seconds:g}",
                "make targetSeconds the smaller",
            )
        return self


class MetricConfig(SpecModel):
    """A metric that the workflow reported lies where it should."""

    name: FieldName = Field(description="Name of the metric.")
    min: float | None = Field(default=None, description="Least value that passes.")
    max: float | None = Field(default=None, description="Greatest value that passes.")
    target: float | None = Field(default=None, description="Value that scores 1.")
    direction: Direction = Field(default=Direction.HIGHER, description="Which values are better.")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min is None and self.max is None and self.target is None:
            raise fault("names no value to hold the metric against", "give min, max or target")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise fault(f"min {self.min:g} is more than max {self.max:g}", "make min the smaller")
        return self


class CallableConfig(SpecModel):
    """A function of the user's own scores the trial."""

    function: ImportPath = Field(description="`module:function`, importable where the workflow is.")


EVALUATOR_CONFIGS: Mapping[EvaluatorName, type[SpecModel]] = MappingProxyType(
    {
        EvaluatorName.EXACT_MATCH: ExactMatchConfig,
        EvaluatorName.CONTAINS: ContainsConfig,
        EvaluatorName.JSON_PATH: JsonPathConfig,
        EvaluatorName.NUMERIC_TOLERANCE: NumericToleranceConfig,
        EvaluatorName.LATENCY: LatencyConfig,
        EvaluatorName.METRIC: MetricConfig,
        EvaluatorName.CALLABLE: CallableConfig,
    }
)
"""The model of each evaluator's ``config``."""
