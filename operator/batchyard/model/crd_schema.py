"""From pydantic models to the structural schemas that a CRD asks for: no references, no defaults, no unions.

Free JSON is kept as it comes. Defaults of a spec are told in the descriptions and are the engine's to apply, so that
what is read back from a cluster is what was written. Not for the rules between fields (``crd_rules``).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import BaseModel

    from batchyard.model.trial import JSON

_KEPT = ("type", "enum", "pattern", "format", "minimum", "maximum", "maxLength", "minLength")
_KEPT_OF_LISTS = ("minItems", "maxItems")
_KEPT_OF_MAPS = ("minProperties", "maxProperties")
_POLICING = ("enum", "pattern", "minimum", "maximum", "maxLength", "minLength", "format")


def structural(model: type[BaseModel]) -> dict[str, JSON]:
    """Return the structural schema of what a file may say of ``model``."""
    document = model.model_json_schema(by_alias=True)
    return _Walk(document.get("$defs", {})).schema(document)


def describing(schema: Mapping[str, JSON]) -> dict[str, JSON]:
    """Return a schema that tells what is there and refuses no value, for what only the operator writes."""
    kept = {key: value for key, value in schema.items() if key not in {*_POLICING, "required"}}
    if "properties" in kept:
        kept["properties"] = {name: describing(inner) for name, inner in kept["properties"].items()}
        kept["x-kubernetes-preserve-unknown-fields"] = True
    for key in ("items", "additionalProperties"):
        if key in kept:
            kept[key] = describing(kept[key])
    return kept


class _Walk:
    """One walk over a JSON schema, with its definitions at hand."""

    def __init__(self, definitions: Mapping[str, JSON]) -> None:
        self._definitions = definitions

    def schema(self, node: Mapping[str, JSON]) -> dict[str, JSON]:
        """Return the structural form of one node."""
        node, nullable = self._without_null(self._resolved(node))
        made: dict[str, JSON] = {}
        if description := _description(node):
            made["description"] = description
        made |= {key: node[key] for key in _KEPT if key in node}
        if "const" in node:
            made["enum"] = [node["const"]]
        for bound, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
            if exclusive in node:
                made |= {bound: node[exclusive], exclusive: True}
        if nullable:
            made["nullable"] = True
        made |= self._inside(node)
        if "type" not in made:
            made["x-kubernetes-preserve-unknown-fields"] = True
        return made

    def _inside(self, node: Mapping[str, JSON]) -> dict[str, JSON]:
        match node.get("type"):
            case "array":
                kept = {key: node[key] for key in _KEPT_OF_LISTS if key in node}
                return {**kept, "items": self.schema(node["items"])}
            case "object" if "properties" in node:
                made: dict[str, JSON] = {"required": node["required"]} if node.get("required") else {}
                made["properties"] = {name: self.schema(inner) for name, inner in node["properties"].items()}
                return made
            case "object":
                kept = {key: node[key] for key in _KEPT_OF_MAPS if key in node}
                values = _values_of(node)
                if values is None:
                    return {**kept, "x-kubernetes-preserve-unknown-fields": True}
                return {**kept, "additionalProperties": self.schema(values)}
            case _:
                return {}

    def _resolved(self, node: Mapping[str, JSON]) -> dict[str, JSON]:
        if "$ref" not in node:
            return dict(node)
        target = self._definitions[node["$ref"].rpartition("/")[2]]
        # What a field says of itself goes before what its type says of all its fields.
        return {**target, **{key: value for key, value in node.items() if key != "$ref"}}

    def _without_null(self, node: dict[str, JSON]) -> tuple[dict[str, JSON], bool]:
        options = node.pop("anyOf", None)
        if options is None:
            return node, "type" not in node and "const" not in node
        (kept,) = [option for option in options if option.get("type") != "null"]
        return {**self._resolved(kept), **node}, True


def _values_of(node: Mapping[str, JSON]) -> Mapping[str, JSON] | None:
    """Return the schema of a mapping's values, None if they are free. What its keys may be cannot be said in a CRD."""
    if "patternProperties" in node:
        (patterned,) = node["patternProperties"].values()
        return dict(patterned)
    values = node.get("additionalProperties")
    return values if isinstance(values, dict) and values else None


def _description(node: Mapping[str, JSON]) -> str:
    text = " ".join(str(node.get("description", "")).split())
    default = node.get("default")
    if default is None or default in ("", [], {}) or isinstance(default, dict):
        return text
    if isinstance(default, float) and default.is_integer():
        default = int(default)
    return f"{text} Default: {default if isinstance(default, str) else json.dumps(default)}."
