"""Say which value of a state cannot be stored, as a path a user can find: ``docs[3].handle`` holds a ``socket``.

Not for storing: any serializer with ``dumps_typed`` will do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

_DEPTH = 8
"""How deep to look for the culprit; the place found so far is told if it lies deeper."""


class Dumper(Protocol):
    """Turns a value into bytes, or raises."""

    def dumps_typed(self, obj: Any) -> tuple[str, bytes]:
        """Return the kind of encoding and the bytes."""
        ...


class StateNotSerialisable(TypeError):
    """A value of the state cannot be stored. ``key`` is the state's key, ``path`` leads into its value."""

    def __init__(self, key: str, path: str, kind: str, reason: str) -> None:
        self.key = key
        self.path = path
        self.kind = kind
        super().__init__(f'"{path}" holds a {kind}, which cannot be stored: {reason}')


def blame(dumper: Dumper, values: Mapping[str, object], error: Exception) -> StateNotSerialisable:
    """Return the error that names the first value the dumper refuses; ``error`` is what it said of the whole."""
    for key, value in values.items():
        if (refusal := _refusal(dumper, value)) is not None:
            path, culprit, reason = _inward(dumper, key, value, refusal, _DEPTH)
            kind = type(culprit)
            name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
            return StateNotSerialisable(key, path, name, str(reason))
    return StateNotSerialisable("?", "?", "value", str(error))


def _refusal(dumper: Dumper, value: object) -> Exception | None:
    try:
        dumper.dumps_typed(value)
    except Exception as error:  # a value's own hooks (pydantic, dataclass) may raise anything
        return error
    return None


def _inward(dumper: Dumper, path: str, value: object, refusal: Exception, depth: int) -> tuple[str, object, Exception]:
    """Follow the refused value into dictionaries and lists as far as the fault can be narrowed down."""
    if depth > 0:
        for step, part in _parts(value):
            if (inner := _refusal(dumper, part)) is not None:
                return _inward(dumper, f"{path}{step}", part, inner, depth - 1)
    return path, value, refusal


def _parts(value: object) -> list[tuple[str, object]]:
    if isinstance(value, dict):
        return [(f".{key}", part) for key, part in value.items()]
    if isinstance(value, list | tuple):
        return [(f"[{index}]", part) for index, part in enumerate(value)]
    return []
