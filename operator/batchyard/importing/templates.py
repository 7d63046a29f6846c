"""``{{name}}`` in promptfoo's texts, filled in from the case's variables. No other part of Nunjucks is known here."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchyard.model.trial import JSON

_NAME = re.compile(r"\{\{-?\s*([A-Za-z_][\w.]*)\s*-?\}\}")
_ANY = re.compile(r"\{\{|\{%")
_MOST_ROUNDS = 5


def filled(value: JSON, variables: Mapping[str, JSON]) -> tuple[JSON, bool]:
    """Return the value with what could be filled in, and whether nothing of a template is left in it."""
    if isinstance(value, str):
        text = _text(value, variables)
        return text, _ANY.search(text) is None
    if isinstance(value, list):
        items = [filled(item, variables) for item in value]
        return [item for item, _ in items], all(whole for _, whole in items)
    if isinstance(value, dict):
        entries = {key: filled(item, variables) for key, item in value.items()}
        return {key: item for key, (item, _) in entries.items()}, all(whole for _, whole in entries.values())
    return value, True


def _text(text: str, variables: Mapping[str, JSON]) -> str:
    # A variable may refer to another one; one that refers to itself ends with the rounds.
    for _ in range(_MOST_ROUNDS):
        replaced = _NAME.sub(lambda match: _value(match, variables), text)
        if replaced == text:
            break
        text = replaced
    return text


def _value(match: re.Match[str], variables: Mapping[str, JSON]) -> str:
    value: JSON = variables
    for step in match[1].split("."):
        if not isinstance(value, dict) or step not in value:
            return match[0]
        value = value[step]
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
