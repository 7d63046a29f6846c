"""What pydantic says of a spec, in the words of the file: path, value, what is wrong and what to do.

Not for rules between fields; those are in ``rules``.
"""

from __future__ import annotations

import difflib
import json
import types
from typing import TYPE_CHECKING, Annotated, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from batchyard.model.errors import Fault
from batchyard.model.names import DNS_LABEL_PATTERN, DNS_LABEL_RULE
from batchyard.model.spec_base import (
    DIMENSION_PATTERN,
    ENV_NAME_PATTERN,
    IMPORT_PATH_PATTERN,
    QUANTITY_PATTERN,
    RAY_VERSION_PATTERN,
)
from batchyard.model.text import child_path

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pydantic_core import ErrorDetails

    from batchyard.model.trial import JSON

MAX_SHOWN = 60

PATTERN_WORDS: Mapping[str, tuple[str, str]] = {
    DNS_LABEL_PATTERN: ("is not a DNS-safe name", f"use {DNS_LABEL_RULE}"),
    IMPORT_PATH_PATTERN: ("is not of the form module:function", "write for instance my_package.graph:build"),
    ENV_NAME_PATTERN: ("is not the name of a variable", "use letters, digits and '_', not beginning with a digit"),
    DIMENSION_PATTERN: ("is not the name of a dimension", "use letters, digits, '-', '_' and '.'"),
    RAY_VERSION_PATTERN: ("is not a version of Ray", "write three numbers, for instance 2.52.0"),
    QUANTITY_PATTERN: ("is not a quantity", 'write for instance "2", "500m" or 4Gi'),
}
"""What is wrong with a text that does not match, and what to do, for each pattern of the spec."""

_KINDS: Mapping[str, str] = {
    "string_type": "text",
    "bool_type": "true or false",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "tuple_type": "a list",
    "list_type": "a list",
}

_EXAMPLES: Mapping[str, str] = {"a mapping": "write {name: value, ...}", "a list": "write [value, ...]"}

_BOUNDS: Mapping[str, tuple[str, str, str]] = {
    "greater_than": ("gt", "must be more than {}", "write more than {}"),
    "greater_than_equal": ("ge", "must be at least {}", "write {} or more"),
    "less_than": ("lt", "must be less than {}", "write less than {}"),
    "less_than_equal": ("le", "must be at most {}", "write {} or less"),
}

# Fields whose values may be secrets, wherever they stand.
_SECRET_FIELDS = {"env", "env_vars", "envvars"}


def model_faults(error: ValidationError, model: type[BaseModel], root: str = "") -> Iterator[Fault]:
    """Yield a fault for each of pydantic's errors about ``model``, whose file stands at ``root``."""
    for detail in error.errors(include_url=False):
        if detail["type"] == "too_short" and len(detail["input"]) >= detail["ctx"]["min_length"]:
            continue  # pydantic counts the items that are right: what is wrong with the others is said of them
        loc = tuple(part for part in detail["loc"] if part != "[key]")
        path = root
        for part in loc:
            path = child_path(path, part)
        message, remedy = _said(detail, model)
        yield Fault(path or "file", _shown(detail, loc), message, remedy)


def in_brief(error: ValidationError) -> str:
    """Return the first of pydantic's errors and how many more there are, without any value: it may be a secret."""
    details = error.errors(include_url=False, include_input=False)
    path = ".".join(map(str, details[0]["loc"]))
    more = f"; and {len(details) - 1} more faults" if len(details) > 1 else ""
    return f"{path}: {details[0]['msg']}{more}" if path else f"{details[0]['msg']}{more}"


def shortened(value: JSON) -> str:
    """Return a value as JSON in at most 60 characters."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 3] + "..."


def did_you_mean(word: str, known: list[str]) -> str:
    """Return the remedy for a word that is not among the known ones."""
    # A snake_case spelling of a known field is the likeliest slip of all, and too far off for difflib at times.
    folded = {name.replace("_", "").lower(): name for name in known}
    near = folded.get(word.replace("_", "").replace("-", "").lower())
    close = [near] if near else difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f"did you mean {close[0]}?" if close else f"known here: {', '.join(known)}"


def _shown(detail: ErrorDetails, loc: tuple[str | int, ...]) -> str:
    if detail["type"] in {"missing", "extra_forbidden", "batchyard_fault"} and not isinstance(detail["input"], str):
        return ""
    # A field nobody knows may be a misspelt `env`.
    if detail["type"] == "extra_forbidden" or any(str(part).lower() in _SECRET_FIELDS for part in loc):
        return ""
    return shortened(detail["input"])


def _said(detail: ErrorDetails, model: type[BaseModel]) -> tuple[str, str]:
    kind, context, loc = detail["type"], detail.get("ctx", {}), detail["loc"]
    if kind == "batchyard_fault":
        return context["message"], context["remedy"]
    if kind == "missing":
        return "is required", _missing_remedy(model, loc)
    if kind == "extra_forbidden":
        return "is not a known field", did_you_mean(str(loc[-1]), _known_fields(model, loc[:-1]))
    if kind in _KINDS:
        return f"must be {_KINDS[kind]}", _type_remedy(kind, detail["input"])
    if kind in _BOUNDS:
        key, message, remedy = _BOUNDS[kind]
        bound = f"{int(context[key]):,}"
        return message.format(bound), remedy.format(bound)
    if kind in {"enum", "literal_error"}:
        return _choice(str(context["expected"]), detail["input"])
    if kind == "string_pattern_mismatch":
        return PATTERN_WORDS.get(context["pattern"], (f"does not match {context['pattern']}", "change it"))
    return _sized(kind, context) or (detail["msg"][:1].lower() + detail["msg"][1:], "change it")


def _sized(kind: str, context: Mapping[str, JSON]) -> tuple[str, str] | None:
    match kind:
        case "string_too_short" | "too_short":
            return "must not be empty", "write at least one"
        case "string_too_long":
            return f"is longer than {context['max_length']:,} characters", "shorten it"
        case "too_long":
            return f"has {context['actual_length']:,} entries, more than {context['max_length']:,}", "remove some"
        case "finite_number":
            return "is not a finite number", "write a finite number"
        case _:
            return None


def _type_remedy(kind: str, value: JSON) -> str:
    if kind == "string_type" and isinstance(value, (bool, int, float)):
        return "write it in quotes"
    if value is None:
        return "write a value or remove the line"
    if kind in {"int_type", "float_type", "bool_type"} and isinstance(value, str):
        return f"write {_KINDS[kind]} without quotes"
    return _EXAMPLES.get(_KINDS[kind], f"write {_KINDS[kind]}")


def _choice(expected: str, value: JSON) -> tuple[str, str]:
    allowed = [word.strip("'") for word in expected.replace(" or ", ", ").split(", ")]
    # pydantic's list is prose; a comma within a value would be split, but none of the contract's has one.
    message = f"must be {allowed[0]}" if len(allowed) == 1 else f"is not one of {', '.join(allowed)}"
    remedy = did_you_mean(str(value), allowed)
    return message, remedy if remedy.startswith("did") else "write one of them" if len(allowed) > 1 else "write that"


def _missing_remedy(model: type[BaseModel], loc: tuple[str | int, ...]) -> str:
    parent = _model_at(model, loc[:-1])
    for name, info in parent.model_fields.items() if parent else ():
        if loc[-1] in {name, info.alias}:
            if get_origin(info.annotation) is Literal:
                return f"write {loc[-1]}: {get_args(info.annotation)[0]}"
            return f"add {loc[-1]} ({_within_a_sentence(info.description or 'a value')})"
    return f"add {loc[-1]}"


def _within_a_sentence(text: str) -> str:
    # An acronym at the beginning stays as it is.
    first = text[0].lower() if text[1:2].islower() else text[0]
    return first + text[1:].rstrip(".")


def _known_fields(model: type[BaseModel], loc: tuple[str | int, ...]) -> list[str]:
    parent = _model_at(model, loc)
    return [info.alias or name for name, info in parent.model_fields.items()] if parent else []


def _model_at(model: type[BaseModel], loc: tuple[str | int, ...]) -> type[BaseModel] | None:
    here: type[BaseModel] | None = model
    for part in loc:
        if isinstance(part, int) or here is None:
            continue
        fields = here.model_fields.items()
        here = next((_model_in(info.annotation) for name, info in fields if part in {name, info.alias}), None)
    return here


def _model_in(annotation: object) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in {Union, types.UnionType, Annotated, tuple}:
        return next(filter(None, map(_model_in, get_args(annotation))), None)
    return None
