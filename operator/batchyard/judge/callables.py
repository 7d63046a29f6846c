"""The ``callable`` evaluator: a function of the user's own. It imports nothing itself."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping
from dataclasses import replace
from numbers import Real
from typing import TYPE_CHECKING

from batchyard.judge.fields import kind
from batchyard.judge.observation import Function, Judgement, Observed, Resolve
from batchyard.model.errors import BatchyardError

if TYPE_CHECKING:
    from batchyard.model.spec_evaluators import CallableConfig


class CallableInvalid(BatchyardError):
    """A scoring function cannot be called as one."""


class CallableEvaluator:
    """Calls ``function(output, expected)`` or ``function(output, expected, context)``.

    It may return true or false, a number within 0..1, or a mapping with ``score`` (null: nothing to say) and
    ``metrics``. ``context`` is the whole ``Observed``.
    """

    def __init__(self, config: CallableConfig, resolve: Resolve | None) -> None:
        """Import the function. Raises ``CallableInvalid``, and whatever ``resolve`` raises."""
        if resolve is None:
            raise CallableInvalid(f"callable {config.function}: user code cannot be imported here")
        self._name = config.function
        self._function = resolve(config.function)
        self._takes_context = _takes_context(self._name, self._function)

    def evaluate(self, observed: Observed) -> Judgement:
        """Call the function with a copy of what was observed, so that it cannot change the record."""
        context = replace(
            observed,
            output=copy.deepcopy(observed.output),
            expected=copy.deepcopy(observed.expected),
            input=copy.deepcopy(observed.input),
        )
        arguments = (context.output, context.expected, context)
        return self._read(self._function(*(arguments if self._takes_context else arguments[:2])))

    def _read(self, answer: object) -> Judgement:
        if isinstance(answer, Mapping):
            metrics = answer.get("metrics") or {}
            if "score" not in answer or not isinstance(metrics, Mapping):
                raise TypeError(f"{self._name} returned a mapping that is not {{score, metrics?}}")
            return Judgement(self._score(answer["score"]), dict(metrics))
        if answer is None:
            raise TypeError(f"{self._name} returned nothing; return a number within 0..1, true or false")
        return Judgement(self._score(answer))

    def _score(self, value: object) -> float | None:
        if value is None:
            return None
        if not isinstance(value, Real):  # bool, int, float and NumPy's numbers are
            raise TypeError(f"{self._name} returned {kind(value)} as its score, not a number within 0..1")
        return float(value)


def _takes_context(name: str, function: Function) -> bool:
    if not callable(function):
        raise CallableInvalid(f"callable {name}: is {kind(function)}, not a function")
    if inspect.iscoroutinefunction(function):
        raise CallableInvalid(f"callable {name}: is async; make it a plain function")
    try:
        signature = inspect.signature(function)
    except ValueError:  # some built-in functions do not tell
        return False
    # A third parameter with a default may mean anything; only its name says that it wants the context.
    if "context" not in signature.parameters and _accepts(signature, 2):
        return False
    if _accepts(signature, 3):
        return True
    raise CallableInvalid(f"callable {name}{signature}: must accept (output, expected) or (output, expected, context)")


def _accepts(signature: inspect.Signature, arguments: int) -> bool:
    try:
        signature.bind(*([None] * arguments))
    except TypeError:
        return False
    return True
