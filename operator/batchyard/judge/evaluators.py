"""The built-in evaluators. Each scores one run by one rule; weights and thresholds are the engine's.

One principle: what is wrong scores 0, what is not there is no score at all (``CannotJudge``).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, TypeVar

from batchyard.judge.callables import CallableEvaluator
from batchyard.judge.exact import as_written
from batchyard.judge.fields import expected_value, kind, number, output_field, same
from batchyard.judge.observation import CannotJudge, Judgement, Observed
from batchyard.judge.registry import Registry
from batchyard.model.spec_base import SpecModel
from batchyard.model.spec_evaluators import (
    CallableConfig,
    ContainsConfig,
    Direction,
    EvaluatorName,
    ExactMatchConfig,
    JsonPathConfig,
    LatencyConfig,
    MetricConfig,
    NumericToleranceConfig,
)

if TYPE_CHECKING:
    from batchyard.model.trial import JSON

_Config = TypeVar("_Config", bound=SpecModel)


def built_in() -> Registry:
    """Return a new registry with every evaluator of the contract."""
    registry = Registry()
    registry.register(EvaluatorName.EXACT_MATCH, lambda config, _: ExactMatch(_read(ExactMatchConfig, config)))
    registry.register(EvaluatorName.CONTAINS, lambda config, _: Contains(_read(ContainsConfig, config)))
    registry.register(EvaluatorName.JSON_PATH, lambda config, _: JsonPath(_read(JsonPathConfig, config)))
    registry.register(
        EvaluatorName.NUMERIC_TOLERANCE, lambda config, _: NumericTolerance(_read(NumericToleranceConfig, config))
    )
    registry.register(EvaluatorName.LATENCY, lambda config, _: Latency(_read(LatencyConfig, config)))
    registry.register(EvaluatorName.METRIC, lambda config, _: Metric(_read(MetricConfig, config)))
    registry.register(
        EvaluatorName.CALLABLE, lambda config, resolve: CallableEvaluator(_read(CallableConfig, config), resolve)
    )
    return registry


def _read(model: type[_Config], config: Mapping[str, JSON]) -> _Config:
    # From JSON, not from Python: in strict mode only JSON's lists become tuples and its texts enums.
    return model.model_validate_json(json.dumps(dict(config)))


class ExactMatch:
    """1 if the output equals what is expected, else 0.

    Without a field, every entry of ``expected`` must be in the output and equal; the output may have more.
    """

    def __init__(self, config: ExactMatchConfig) -> None:
        self._config = config

    def evaluate(self, observed: Observed) -> Judgement:
        """Compare one field, or all that is expected. Raises ``CannotJudge`` if either side is missing."""
        field = self._config.field
        wanted = expected_value(observed, field)
        if field is not None:
            pairs = [(output_field(observed, field), wanted)]
        elif isinstance(wanted, Mapping):
            pairs = [(output_field(observed, name), value) for name, value in wanted.items()]
        else:
            raise CannotJudge(
                f"`expected` of case {observed.case!r} is {kind(wanted)}, but the output is a mapping; "
                "name the output's field with config.field"
            )
        equal = all(same(found, value, ignore_case=self._config.ignore_case) for found, value in pairs)
        return Judgement(1.0 if equal else 0.0)


class Contains:
    """1 if the texts are there, else 0: part of a text, an element of a list, or part of any text of a mapping."""

    def __init__(self, config: ContainsConfig) -> None:
        self._config = config

    def evaluate(self, observed: Observed) -> Judgement:
        """Search one field, or the whole output. Raises ``CannotJudge`` if there is nothing to search or to find."""
        field = self._config.field
        place: JSON = observed.output if field is None else output_field(observed, field)
        if isinstance(place, bool | int | float):
            raise CannotJudge(f"field {field!r} of the output is {kind(place)}, neither text nor list")
        must = self._config.all or ()
        may = self._config.any or ()
        if not must and not may:
            must = _expected_texts(observed, field)
        there = all(self._has(place, text) for text in must) and (
            not may or any(self._has(place, text) for text in may)
        )
        return Judgement(1.0 if there else 0.0)

    def _has(self, place: JSON, text: str) -> bool:
        if isinstance(place, list | tuple):
            return any(same(_as_text(item), text, ignore_case=self._config.ignore_case) for item in place)
        if self._config.ignore_case:
            return any(text.casefold() in found.casefold() for found in _texts(place))
        return any(text in found for found in _texts(place))


class JsonPath:
    """1 if the first value that a JSONPath (RFC 9535) finds in the output is the wanted one, else 0.

    Wanted is ``equals``; or what the path finds in ``expected``, or ``expected`` itself if it is no mapping; or, with
    none of these, any value at all.
    """

    def __init__(self, config: JsonPathConfig) -> None:
        # Late: only batches that use this evaluator pay for the library.
        from jsonpath import JSONPath, JSONPathEnvironment

        self._config = config
        self._path = JSONPathEnvironment(strict=True).compile(config.path)
        self._one_place = isinstance(self._path, JSONPath) and self._path.singular_query()

    def evaluate(self, observed: Observed) -> Judgement:
        """Follow the path. Raises ``CannotJudge`` if it leads to one place, a value is wanted there and none is."""
        wanted = self._wanted(observed)
        found = self._first(observed.output)
        if not wanted:
            return Judgement(1.0 if found else 0.0)
        if not found and self._one_place:
            raise CannotJudge(f"output has nothing at {self._config.path}")
        return Judgement(1.0 if found and same(found[0], wanted[0]) else 0.0)

    def _wanted(self, observed: Observed) -> tuple[JSON, ...]:
        if "equals" in self._config.model_fields_set:
            return (self._config.equals,)
        if isinstance(observed.expected, Mapping):
            return self._first(observed.expected)
        return () if observed.expected is None else (observed.expected,)

    def _first(self, data: Mapping[str, JSON]) -> tuple[JSON, ...]:
        """Return the first value found, or an empty tuple: null is a value too."""
        match = next(iter(self._path.finditer(data)), None)
        return () if match is None else (match.obj,)


class NumericTolerance:
    """1 if a number is near the expected one, else 0; of two tolerances the wider holds, with none it must be equal."""

    def __init__(self, config: NumericToleranceConfig) -> None:
        self._config = config

    def evaluate(self, observed: Observed) -> Judgement:
        """Compare the field. Raises ``CannotJudge`` if either side is missing or no number."""
        field = self._config.field
        found = number(output_field(observed, field), f"field {field!r} of the output")
        wanted = number(expected_value(observed, field), f"`expected` of case {observed.case!r} for {field!r}")
        expected = as_written(wanted)
        absolute, relative = (as_written(part or 0.0) for part in (self._config.absolute, self._config.relative))
        allowed = max(absolute, relative * abs(expected))
        return Judgement(1.0 if abs(as_written(found) - expected) <= allowed else 0.0)


class Latency:
    """1 up to the target, falling in a straight line to 0 at the maximum."""

    def __init__(self, config: LatencyConfig) -> None:
        self._config = config

    def evaluate(self, observed: Observed) -> Judgement:
        """Score the run's duration."""
        seconds = number(observed.duration_seconds, "the run's duration")
        return Judgement(_fall(seconds, self._config.target_seconds, self._config.max_seconds))


class Metric:
    """0 outside ``min`` and ``max``; within, 1, or with a ``target`` the way to it that was made."""

    def __init__(self, config: MetricConfig) -> None:
        self._config = config

    def evaluate(self, observed: Observed) -> Judgement:
        """Score the metric. Raises ``CannotJudge`` if the trial has none of this name."""
        config = self._config
        if config.name not in observed.metrics:
            there = ", ".join(sorted(observed.metrics)) or "none"
            raise CannotJudge(f"the trial has no metric {config.name!r}; it has: {there}")
        value = number(observed.metrics[config.name], f"metric {config.name!r}")
        if (config.min is not None and value < config.min) or (config.max is not None and value > config.max):
            return Judgement(0.0)
        if config.target is None:
            return Judgement(1.0)
        if config.direction is Direction.LOWER:
            return Judgement(_fall(value, config.target, 2 * config.target if config.max is None else config.max))
        # The mirror image: from 0 at the minimum up to 1 at the target.
        return Judgement(_fall(-value, -config.target, -(config.min or 0.0)))


def _fall(value: float, best: float, worst: float) -> float:
    """Return 1 up to ``best``, 0 from ``worst``, a straight line between; a step if there is no room between."""
    if value <= best:
        return 1.0
    if value >= worst:
        return 0.0
    return (worst - value) / (worst - best)


def _expected_texts(observed: Observed, field: str | None) -> tuple[str, ...]:
    wanted = expected_value(observed, field)
    texts = tuple(_as_text(item) for item in (wanted if isinstance(wanted, list | tuple) else (wanted,)))
    if not texts or not all(isinstance(text, str) for text in texts):
        raise CannotJudge(
            f"`expected` of case {observed.case!r} is {kind(wanted)}, not a text or a list of texts; "
            "name its field with config.field, or the texts with config.all or config.any"
        )
    return texts


def _as_text(value: JSON) -> JSON:
    """Return a number as JSON spells it, anything else as it is."""
    return json.dumps(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _texts(value: JSON) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)
