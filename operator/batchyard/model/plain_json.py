"""Values as JSON that every database and every JSON library gives back unchanged.

For whatever is hashed or compared after a trip through a store. Not a serialiser of workflow states: what JSON
cannot say is turned into text here, not kept.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from batchyard.model.trial import JSON

_DEEPEST = 20
_TOO_DEEP = "<nested too deeply>"
# Python refuses to spell longer integers in decimal (over 4300 digits); no float is near this.
_LONGEST_INT_BITS = 1100


def plain_text(text: str) -> str:
    """Return ``text`` as UTF-8 and every database can hold it; almost always ``text`` itself.

    NUL, which PostgreSQL refuses, becomes its visible sign; a lone surrogate becomes a backslash escape.
    """
    plain = str.__str__(text)
    if "\0" in plain:
        plain = plain.replace("\0", "\N{SYMBOL FOR NULL}")
    if plain.isascii():
        return plain
    try:
        plain.encode()
    except UnicodeEncodeError:
        return plain.encode("utf-8", "backslashreplace").decode()
    return plain


def plain_json(value: object, text: Callable[[str], str] = plain_text) -> JSON:
    """Return ``value`` as new JSON with one spelling; applied twice it changes nothing.

    Keys become strings, tuples lists, sets sorted lists. A whole-numbered float becomes an integer and one that is
    not finite becomes a string: binary JSON columns rewrite ``1e+16`` and ``-0.0`` and refuse ``NaN``. Anything
    else that JSON lacks becomes its ``str``.

    Args:
        value: Anything at all; cycles are cut off, never followed for ever.
        text: What every string, key or value, goes through; it must itself return plain text.
    """
    return _plain(value, text, ())


def _plain(value: object, text: Callable[[str], str], within: tuple[int, ...]) -> JSON:
    if isinstance(value, str):
        return text(value)
    if value is None or value is True or value is False:
        return value
    if isinstance(value, int):
        return int(value) if value.bit_length() <= _LONGEST_INT_BITS else hex(value)
    if isinstance(value, float):
        return _number(float(value))
    # dict is a Mapping too, but asking an abstract class is slow, and this runs for every audit entry.
    if not isinstance(value, (dict, list, tuple, Mapping, AbstractSet)):
        return text(_shown(value))
    if id(value) in within or len(within) == _DEEPEST:
        return _TOO_DEEP
    inner = (*within, id(value))
    if isinstance(value, (dict, Mapping)):
        return {text(_key(key)): _plain(item, text, inner) for key, item in value.items()}
    items = [_plain(item, text, inner) for item in value]
    return sorted(items, key=json.dumps) if isinstance(value, AbstractSet) else items


def _number(value: float) -> JSON:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return int(value) if value.is_integer() else value


def _key(key: object) -> str:
    return key if isinstance(key, str) else _shown(key)


def _shown(value: object) -> str:
    try:
        return str(value)
    except Exception:  # a foreign __str__ may raise anything, and a record must not fail for it
        return f"<{type(value).__name__} that cannot be shown>"
