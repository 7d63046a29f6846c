"""The ``config`` of an evaluator for the CRD: the fields of all evaluators, and rules for what each of them takes.

A schema cannot depend on the value of ``name``, so rules do. Whether a JSONPath compiles is the engine's to find.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchyard.model.crd_cel import rule
from batchyard.model.crd_schema import structural
from batchyard.model.spec_evaluators import EVALUATOR_CONFIGS, EvaluatorName

if TYPE_CHECKING:
    from batchyard.model.trial import JSON

# Fields that are words of CEL are spelled otherwise there.
_RESERVED = {"function": "__function__"}


def config_schema() -> dict[str, JSON]:
    """Return the schema of ``config`` with the fields of every evaluator."""
    fields: dict[str, dict[str, JSON]] = {}
    for name, field, schema in _fields():
        text = f"{name}: {schema['description']}"
        before = fields.get(field)
        if before is not None:
            text = f"{before['description']} {text}"
            schema = {**schema, **({"nullable": True} if "nullable" in before else {})}
        fields[field] = {**schema, "description": text}
    return {
        "description": "What the evaluator is told; each knows only fields of its own.",
        "type": "object",
        "properties": fields,
    }


def evaluator_rules() -> list[dict[str, JSON]]:
    """Return the rules of one evaluator."""
    rules = []
    for name in EvaluatorName:
        if needed := _needed(name):
            rules.append(needed)
        rules.append(_no_others(name))
    return [*rules, *_metric_rules(), _latency_order()]


def _fields() -> list[tuple[EvaluatorName, str, dict[str, JSON]]]:
    return [
        (name, field, schema)
        for name, model in EVALUATOR_CONFIGS.items()
        for field, schema in structural(model)["properties"].items()
    ]


def _needed(name: EvaluatorName) -> dict[str, JSON] | None:
    fields = structural(EVALUATOR_CONFIGS[name]).get("required", [])
    if not fields:
        return None
    given = " && ".join(["has(self.config)", *(_has(field) for field in fields)])
    return rule(
        f"self.name != '{name}' || ({given})",
        f"{' and '.join(fields)} {'are' if len(fields) > 1 else 'is'} required by {name}; add"
        f" {'them' if len(fields) > 1 else 'it'}",
        at="config",
    )


def _no_others(name: EvaluatorName) -> dict[str, JSON]:
    own = [field for owner, field, _ in _fields() if owner is name]
    # What has no type cannot be asked for in CEL; the engine refuses it where it does not belong.
    others = {field for _, field, schema in _fields() if field not in own and "type" in schema}
    return rule(
        f"self.name != '{name}' || !has(self.config) || !({' || '.join(map(_has, sorted(others)))})",
        f"has a field that {name} does not know; known here: {', '.join(own)}",
        at="config",
    )


def _has(field: str) -> str:
    return f"has({_path(field)})"


def _path(field: str) -> str:
    return f"self.config.{_RESERVED.get(field, field)}"


def _metric_rules() -> list[dict[str, JSON]]:
    return [
        rule(
            "self.name != 'metric' || !has(self.config)"
            " || has(self.config.min) || has(self.config.max) || has(self.config.target)",
            "names no value to hold the metric against; give min, max or target",
            at="config",
        ),
        _in_order("metric", "min", "max"),
    ]


def _latency_order() -> dict[str, JSON]:
    return _in_order("latency", "targetSeconds", "maxSeconds")


def _in_order(name: str, less: str, more: str) -> dict[str, JSON]:
    absent = f"!has(self.config) || !{_has(less)} || !{_has(more)}"
    return rule(
        f"self.name != '{name}' || {absent} || {_path(less)} <= {_path(more)}",
        f"{less} is more than {more}; make {less} the smaller",
        "config",
        f"{less} %s is more than {more} %s; make {less} the smaller",
        f"[string({_path(less)}), string({_path(more)})]",
    )
