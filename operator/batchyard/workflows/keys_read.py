"""See in a function's code which keys it reads of a mapping that it closes over. Nothing is run.

What is not plainly a key written in the code counts as unseen: a mapping that is handed on, looped over, copied or read
by a computed name may be read in full.
"""

from __future__ import annotations

import dis
import types
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# With these, code reaches its variables in ways that do not name them.
_REACH_ALL = frozenset(("locals", "vars", "eval", "exec"))
_NO_PART = ("EXTENDED_ARG", "PRECALL")


def keys_read(code: types.CodeType, variable: str) -> frozenset[str] | None:
    """Return the keys that are read of the mapping in a free variable of the code; None if that cannot be seen."""
    found = set()
    for part in nested(code):
        if variable not in part.co_freevars:
            continue
        if not _REACH_ALL.isdisjoint(part.co_names):
            return None
        steps = [step for step in dis.get_instructions(part) if step.opname not in _NO_PART]
        for at, step in enumerate(steps):
            if step.argval == variable and step.opname.endswith("DEREF"):
                key = _key(steps[at : at + 5])
                if key is None:
                    return None
                found.add(key)
    return frozenset(found)


def nested(code: types.CodeType) -> Iterator[types.CodeType]:
    """Yield the code and that of all functions, classes and comprehensions within."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from nested(constant)


def _key(steps: Sequence[dis.Instruction]) -> str | None:
    """Return the key of ``mapping["key"]``, ``mapping.get("key")`` or ``mapping.get("key", constant)``."""
    match [step.opname for step in steps]:
        case ["LOAD_DEREF", "LOAD_CONST", *_] if steps[2].opname == "BINARY_SUBSCR" or steps[2].argrepr == "[]":
            key = steps[1].argval
        case ["LOAD_DEREF", "LOAD_METHOD" | "LOAD_ATTR", "LOAD_CONST", *_] if steps[1].argval == "get" and _calls(
            steps[3:]
        ):
            key = steps[2].argval
        case _:
            return None
    return key if type(key) is str else None


def _calls(steps: Sequence[dis.Instruction]) -> bool:
    """Return whether a method is called now, with what was loaded before and perhaps one constant more."""
    called, given = (steps[1], 2) if steps[0].opname == "LOAD_CONST" else (steps[0], 1)
    return called.opname == "CALL" and called.arg == given
