"""The reference of BatchTest as Markdown, made from the models and the CRD; ``docs/batchtest.md`` is its output.

Not for how to write one: the guides are written by hand.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, get_args

from pydantic import BaseModel

from batchyard.model.crd import crd_schema
from batchyard.model.spec import API_VERSION, KIND, BatchTestSpec
from batchyard.model.status import BatchStatus

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pydantic.fields import FieldInfo

    from batchyard.model.trial import JSON

_HEAD = f"""\
# BatchTest, every field

Made from the models in the code by `make golden`; a test compares. Not to be edited by hand.

`apiVersion: {API_VERSION}`, `kind: {KIND}`, short name `bt`, namespaced. `metadata.name` is the name of the batch: at
most 63 lower-case letters, digits and dashes. A name that no table has is refused, by the command line and by the API
server. A field that is left out has its default. Once a cluster has accepted a BatchTest, only `suspend`, `cancel`,
`ttlSecondsAfterFinished` and its metadata may change.
"""
_STATUS = """\
## What the operator writes

Nobody else writes `status`. A field is there once it is known, and the whole is never larger than 16 KiB.
"""
_BOUNDS = (
    ("maxLength", "at most {} characters"),
    ("minItems", "at least {} entries"),
    ("maxItems", "at most {} entries"),
    ("minProperties", "at least {} keys"),
    ("maxProperties", "at most {} keys"),
)


@dataclass(frozen=True, slots=True)
class _Part:
    """One object of the schema, with the model that it was made from."""

    path: str
    schema: Mapping[str, JSON]
    model: type[BaseModel]


def batchtest_markdown() -> str:
    """Return the whole reference."""
    schema = crd_schema()["properties"]
    lines = [_HEAD, "## What a user writes\n"]
    for part in _parts(_Part("spec", schema["spec"], BatchTestSpec)):
        lines += _section(part, with_defaults=True)
    lines.append(_STATUS)
    for part in _parts(_Part("status", schema["status"], BatchStatus)):
        lines += _section(part, with_defaults=False)
    return "\n".join(lines)


def _parts(part: _Part) -> Iterator[_Part]:
    """Yield an object and all objects within it, each before its own."""
    yield part
    fields = _fields(part.model)
    for name, schema in part.schema["properties"].items():
        model = _model_in(fields[name].annotation) if name in fields else None
        inner, suffix = _inner(schema)
        if model is not None and "properties" in inner:
            yield from _parts(_Part(f"{part.path}.{name}{suffix}", inner, model))


def _section(part: _Part, *, with_defaults: bool) -> Iterator[str]:
    yield f"### `{part.path}`\n"
    yield f"{_sentence(part.schema)}\n"
    columns = ["field", "type", "default", "bounds", "meaning"]
    if not with_defaults:
        columns = ["field", "type", "meaning"]
    yield f"| {' | '.join(columns)} |\n|{' --- |' * len(columns)}"
    fields = _fields(part.model)
    for name, schema in part.schema["properties"].items():
        cells = {
            "field": f"`{name}`",
            "type": _type(schema, _target(part, fields.get(name), name)),
            "default": _default(fields.get(name)),
            "bounds": _bounds(schema),
            "meaning": _sentence(schema),
        }
        yield f"| {' | '.join(cells[column].replace('|', chr(92) + '|') for column in columns)} |"
    yield ""
    if refused := [message for _, message in _rules(part)]:
        yield "Refused, with these words, where it\n"
        yield from (f"- {message}" for message in refused)
        yield ""


def _rules(part: _Part) -> Iterator[tuple[str, str]]:
    """Yield the rules of an object and of its plain fields, each message once."""
    seen: set[str] = set()
    schemas = [("", part.schema), *part.schema["properties"].items()]
    for name, schema in schemas:
        if name and "properties" in _inner(schema)[0]:
            schema = {key: value for key, value in schema.items() if key == "x-kubernetes-validations"}
            if _inner(part.schema["properties"][name])[1] == "":
                continue
        for rule in schema.get("x-kubernetes-validations", []):
            place = name or str(rule.get("fieldPath", "")).lstrip(".")
            text = f"`{place}` {rule['message']}" if place else str(rule["message"])
            if text not in seen:
                seen.add(text)
                yield place, text


def _fields(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """Return a model's fields by the names that files use."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


def _model_in(annotation: object) -> type[BaseModel] | None:
    """Return the model that a field holds, be it within a list, a mapping or beside null."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = (_model_in(argument) for argument in get_args(annotation))
    return next((model for model in found if model is not None), None)


def _inner(schema: Mapping[str, JSON]) -> tuple[Mapping[str, JSON], str]:
    """Return the schema of what a list or mapping holds, and how its path is spelled."""
    if "items" in schema:
        return schema["items"], "[]"
    if "additionalProperties" in schema:
        return schema["additionalProperties"], "{}"
    return schema, ""


def _target(part: _Part, field: FieldInfo | None, name: str) -> str:
    """Return the anchor of the section on a field's own object, "" where it has none."""
    if field is None or _model_in(field.annotation) is None:
        return ""
    return "".join(sign for sign in f"{part.path}.{name}".lower() if sign.isalnum())


def _type(schema: Mapping[str, JSON], target: str) -> str:
    inner, suffix = _inner(schema)
    if "properties" in inner and target:
        word = f"[object](#{target})"
    elif "enum" in inner:
        word = " or ".join(f"`{value}`" for value in inner["enum"])
    else:
        word = str(inner.get("type", "any JSON"))
        if word == "object":
            word = "mapping"
        if "items" in inner:
            word = f"list of {inner['items'].get('type', 'any JSON')}"
    word = {"[]": f"list of {word}", "{}": f"mapping to {word}"}.get(suffix, word)
    return f"{word} or null" if schema.get("nullable") else word


def _default(field: FieldInfo | None) -> str:
    if field is None:
        return ""
    if field.is_required():
        return "**required**"
    value: Any = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        return "as below"
    if isinstance(value, tuple):
        value = [item.value if isinstance(item, Enum) else item for item in value]
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return f"`{value if isinstance(value, str) and value else json.dumps(value)}`"


def _bounds(schema: Mapping[str, JSON]) -> str:
    inner, _ = _inner(schema)
    found = [text.format(f"{schema[key]:,}") for key, text in _BOUNDS if key in schema]
    if inner is not schema:
        found += [f"each {text.format(f'{inner[key]:,}')}" for key, text in _BOUNDS if key in inner]
    if "minLength" in inner:
        found.append("not empty")
    if "minimum" in inner:
        found.append(f"{'more than' if inner.get('exclusiveMinimum') else 'at least'} {inner['minimum']:,}")
    if "maximum" in inner:
        found.append(f"{'less than' if inner.get('exclusiveMaximum') else 'at most'} {inner['maximum']:,}")
    if schema.get("x-kubernetes-list-type") == "map":
        found.append(f"each `{schema['x-kubernetes-list-map-keys'][0]}` once")
    return ", ".join(found)


def _sentence(schema: Mapping[str, JSON]) -> str:
    """Return the description without the default, which has a column of its own."""
    text, _, _ = str(schema.get("description", "")).partition(" Default: ")
    return text
