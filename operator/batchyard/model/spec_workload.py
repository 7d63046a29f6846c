"""What a BatchTest runs: the workflow, its variants and its cases, as a file spells them.

Not for expanding them (``matrix``) nor for reading case files (``cases``).
"""

from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Self

from pydantic import AfterValidator, Field, StringConstraints, field_validator, model_validator

from batchyard.model.quantity import to_bytes
from batchyard.model.requirement import Requirement, parse_requirement
from batchyard.model.spec_base import (
    DimensionName,
    DnsLabel,
    EnvName,
    ImportPath,
    Quantity,
    Seconds,
    SpecModel,
    VariantName,
    Weight,
    fault,
)
from batchyard.model.spec_sharing import SharedPrefix
from batchyard.model.trial import JSON

MAX_COMBINATIONS = 256
MAX_TRIALS = 100_000
MAX_INLINE_CASES_BYTES = 64 * 1024
MIN_MEMORY_BYTES = 16 * 1024 * 1024


def _all_different(values: tuple[str, ...]) -> tuple[str, ...]:
    twice = [value for value, times in Counter(values).items() if times > 1]
    if twice:
        raise fault(f"names {', '.join(twice)} more than once", "keep one of each")
    return values


LocalPath = Annotated[str, StringConstraints(min_length=1, max_length=4096)]
Values = Annotated[tuple[VariantName, ...], Field(min_length=1, max_length=256), AfterValidator(_all_different)]
ConfigMapName = Annotated[str, StringConstraints(min_length=1, max_length=253)]


class ConfigMapRef(SpecModel):
    """A ConfigMap in the BatchTest's own namespace."""

    name: ConfigMapName = Field(description="Name of the ConfigMap.")


class ConfigMapKeyRef(SpecModel):
    """One key of a ConfigMap in the BatchTest's own namespace."""

    name: ConfigMapName = Field(description="Name of the ConfigMap.")
    key: ConfigMapName = Field(description="Key whose value is the file; its ending tells the format.")


class Source(SpecModel):
    """Where the workflow's code is; exactly one of the fields."""

    path: LocalPath | None = Field(
        default=None, description="Local folder, relative to the file; for runs on this machine."
    )
    config_map_ref: ConfigMapRef | None = Field(
        default=None, description="ConfigMap whose files are put on the import path."
    )
    image: Annotated[str, StringConstraints(min_length=1, max_length=1024)] | None = Field(
        default=None, description="Runner image that has the code in it."
    )

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        given = [name for name in ("path", "config_map_ref", "image") if getattr(self, name) is not None]
        if len(given) != 1:
            raise fault(
                "names no place" if not given else "names more than one place",
                "write exactly one of path, configMapRef and image",
            )
        return self


class Workflow(SpecModel):
    """The LangGraph workflow under test."""

    factory: ImportPath = Field(
        description="`module:function` that takes the chosen variants and returns a StateGraph."
    )
    source: Source = Field(description="Where the code is; exactly one of path, configMapRef and image.")
    input_schema: ImportPath | None = Field(
        default=None,
        description="`module:name` of a pydantic model or TypedDict that every input is checked against first.",
    )
    shared_prefix: SharedPrefix | None = Field(
        default=None, description="Run what combinations have in common once; null runs every trial from its input."
    )


class Resources(SpecModel):
    """What a trial's worker may use."""

    cpu: Quantity | None = Field(default=None, description="Processors, as a Kubernetes quantity.")
    memory: Quantity | None = Field(default=None, description="Memory, as a Kubernetes quantity.")

    @field_validator("memory")
    @classmethod
    def _enough_for_python(cls, memory: str | None) -> str | None:
        if memory is not None and to_bytes(memory) < MIN_MEMORY_BYTES:
            raise fault(
                f"is {to_bytes(memory):,} bytes, too little for Python itself", "write for instance 512Mi or 4Gi"
            )
        return memory


class Include(SpecModel):
    """One more combination, under a name of its own."""

    name: DnsLabel = Field(description="Name of the combination.")
    variants: dict[DimensionName, VariantName] = Field(
        min_length=1, max_length=32, description="One value for every dimension of the matrix."
    )


def _requirement(text: str) -> str:
    found = parse_requirement(text)
    if not isinstance(found, Requirement):
        raise fault(*found)
    return text


class Override(SpecModel):
    """What is different in the environment of the combinations that match; later overrides win."""

    match: dict[DimensionName, VariantName] = Field(
        default_factory=dict,
        max_length=32,
        description="Dimensions and values that a combination must have; {} is all.",
    )
    env: dict[EnvName, str] = Field(
        default_factory=dict, max_length=256, description="Environment variables, added to `environment.env`."
    )
    packages: tuple[
        Annotated[str, StringConstraints(min_length=1, max_length=512), AfterValidator(_requirement)], ...
    ] = Field(
        default=(),
        max_length=16,
        description="Requirements (PEP 508) that are installed for these combinations only; a path is relative to the "
        "workflow's source.",
    )
    resources: Resources | None = Field(default=None, description="What a worker of these combinations may use.")

    def matches(self, variants: Mapping[str, str]) -> bool:
        """Return whether the combination with these variants is one of those that this is about."""
        return all(variants.get(dimension) == value for dimension, value in self.match.items())


class Variants(SpecModel):
    """The combinations to compare."""

    matrix: dict[DimensionName, Values] = Field(
        default_factory=dict,
        max_length=32,
        description="Dimensions and their values; the product, in written order, makes the combinations.",
    )
    exclude: tuple[Annotated[dict[DimensionName, VariantName], Field(min_length=1, max_length=32)], ...] = Field(
        default=(), max_length=256, description="Products to leave out: those that have all the values an entry names."
    )
    include: tuple[Include, ...] = Field(
        default=(), max_length=MAX_COMBINATIONS, description="Combinations to add, each under its own name."
    )
    overrides: tuple[Override, ...] = Field(
        default=(), max_length=256, description="Environment of single combinations; later ones win."
    )


class AnswerSpec(SpecModel):
    """What is answered when the graph calls `interrupt`. It is given once."""

    value: JSON = Field(description="What `interrupt` returns.")
    node: Annotated[str, StringConstraints(min_length=1, max_length=253)] | None = Field(
        default=None, description="Only for a question of this node; without it, of any."
    )
    question: Annotated[str, StringConstraints(min_length=1, max_length=1024)] | None = Field(
        default=None, description="Only for a question whose text contains this; without it, any."
    )


class CaseSpec(SpecModel):
    """One input, with an optional expectation."""

    name: DnsLabel = Field(description="Name of the case, unique in the batch.")
    input: dict[str, JSON] = Field(default_factory=dict, description="What the workflow is given.")
    expected: JSON = Field(default=None, description="What the evaluators compare the final state with.")
    weight: Weight = Field(default=1.0, description="How much the case counts in a combination's score.")
    group: Annotated[str, StringConstraints(max_length=253)] = Field(
        default="",
        description="What it has in common with others, a document say; cases of a group count as one witness.",
    )
    deadline_seconds: Seconds | None = Field(
        default=None, description="Deadline of its trials instead of `trialSeconds`."
    )
    answers: Annotated[tuple[AnswerSpec, ...], Field(max_length=64)] = Field(
        default=(), description="Answers to what the graph asks by `interrupt`: each question takes the next that fits."
    )


class CasesFrom(SpecModel):
    """A file of cases; exactly one of the fields."""

    path: LocalPath | None = Field(
        default=None, description="Local JSONL, YAML or CSV file, relative to the BatchTest's file."
    )
    config_map_ref: ConfigMapKeyRef | None = Field(
        default=None, description="Key of a ConfigMap that holds such a file."
    )

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.path is None) == (self.config_map_ref is None):
            raise fault(
                "names no file" if self.path is None else "names more than one file",
                "write exactly one of path and configMapRef",
            )
        return self
