"""The CustomResourceDefinition of BatchTest, put together from the models; ``crds/`` holds what comes out.

Not for single schemas (``crd_schema``) nor for the rules between fields (``crd_rules`` and what it names).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import yaml

from batchyard.model import crd_evaluators, crd_rules
from batchyard.model.crd_schema import describing, structural
from batchyard.model.names import MAX_LABEL
from batchyard.model.spec import API_VERSION, KIND, BatchTest
from batchyard.model.status import BatchStatus

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batchyard.model.trial import JSON

Schema = dict[str, "JSON"]

PLURAL = "batchtests"
GROUP, _, VERSION = API_VERSION.partition("/")

_COLUMNS = (
    ("Phase", "string", ".status.phase", "Where the batch stands."),
    ("Progress", "string", ".status.progress", "Trials that ended, of all."),
    ("Best", "string", ".status.best.combination", "The combination that came out on top."),
    ("Score", "number", ".status.best.score", "Its score."),
    ("Reason", "string", ".status.reason", "Why the batch stands there."),
    ("Age", "date", ".metadata.creationTimestamp", "When the BatchTest was made."),
)

# The server holds names and values unique by itself; more of them than any rule in CEL could compare.
_UNIQUE_BY = {"spec.cases": "name", "spec.variants.include": "name", "status.conditions": "type"}
_SETS = ("spec.variants.matrix{}",)

# Room for conditions of a newer operator; the rule on changes looks through them, so there is a bound.
_MAX_CONDITIONS = 64


def crd_document() -> dict[str, JSON]:
    """Return the definition as JSON."""
    columns = [
        {"name": name, "type": kind, "jsonPath": path, "description": text} for name, kind, path, text in _COLUMNS
    ]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{PLURAL}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "names": {
                "kind": KIND,
                "listKind": f"{KIND}List",
                "plural": PLURAL,
                "singular": KIND.lower(),
                "shortNames": ["bt"],
                "categories": ["all"],
            },
            "scope": "Namespaced",
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": columns,
                    "schema": {"openAPIV3Schema": crd_schema()},
                }
            ],
        },
    }


def crd_yaml() -> str:
    """Return the definition as YAML."""
    return yaml.dump(crd_document(), Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True)


def crd_schema() -> Schema:
    """Return the schema of the whole object, with its rules."""
    schema = structural(BatchTest)
    schema["required"] = ["spec"]
    schema["properties"] = {
        "apiVersion": {"description": "Version of the format.", "type": "string"},
        "kind": {"description": "Kind of the object.", "type": "string"},
        "metadata": _metadata(),
        "spec": _spec(schema["properties"]["spec"]),
        "status": _status(),
    }
    by_path = dict(places(schema))
    for path, key in _UNIQUE_BY.items():
        by_path[path] |= {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [key]}
    for path in _SETS:
        by_path[path]["x-kubernetes-list-type"] = "set"
    for path, found in crd_rules.rules().items():
        _add_rules(by_path[path], found)
    return schema


def places(schema: Schema, path: str = "") -> Iterator[tuple[str, Schema]]:
    """Yield every schema within a schema with its path, spelled ``spec.cases[].name`` or ``spec.variants.matrix{}``."""
    yield path, schema
    for name, inner in schema.get("properties", {}).items():
        yield from places(inner, f"{path}.{name}" if path else name)
    if "items" in schema:
        yield from places(schema["items"], f"{path}[]")
    if "additionalProperties" in schema:
        yield from places(schema["additionalProperties"], f"{path}{{}}")


class _Dumper(yaml.SafeDumper):
    """Writes what stands in two places twice: references are not for readers."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _metadata() -> Schema:
    # Both names have to be declared, or the server overlooks the bound that the rule on the name needs.
    names: Schema = {"name": {"type": "string", "maxLength": MAX_LABEL}, "generateName": {"type": "string"}}
    return {"type": "object", "properties": names}


def _spec(schema: Schema) -> Schema:
    # A rule says what is wrong with another word; the keyword's own message would offer outcomes that are refused.
    retry_on = schema["properties"]["retry"]["properties"]["retryOn"]["items"]
    del retry_on["enum"]
    evaluator = schema["properties"]["evaluation"]["properties"]["evaluators"]["items"]
    evaluator["properties"]["config"] = crd_evaluators.config_schema()
    _add_rules(evaluator, crd_evaluators.evaluator_rules())
    for _, inner in places(schema):
        if "pattern" in inner:
            _add_rules(inner, crd_rules.pattern_rules(inner.pop("pattern")))
            # What a rule reads has a bound.
            inner.setdefault("maxLength", MAX_LABEL)
    return schema


def _status() -> Schema:
    status = describing(structural(BatchStatus))
    # kstatus takes an object that says nothing of itself for finished; one that no operator has seen is not.
    status["default"] = {"observedGeneration": -1}
    # What the operator adds for the columns of `kubectl get`.
    status["properties"]["progress"] = {"description": "Trials that ended, of all, as 6/12.", "type": "string"}
    conditions = status["properties"]["conditions"]
    conditions["maxItems"] = _MAX_CONDITIONS
    conditions["items"]["required"] = ["type"]
    return status


def _add_rules(schema: Schema, rules: list[Schema]) -> None:
    schema.setdefault("x-kubernetes-validations", []).extend(rules)
