"""From variants and cases to trials: which combinations there are, what they are called, and each trial by number.

Nothing here keeps all trials at once, so that 100,000 of them cost what their combinations and cases cost.
"""

from __future__ import annotations

import itertools
import json
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from batchyard.model.names import MAX_LABEL, dns_label, short_hash, with_suffix
from batchyard.model.trial import JSON, Case, Combination, Trial

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from batchyard.model.spec_workload import Variants


def dimensions(variants: Variants) -> dict[str, tuple[str, ...]]:
    """Return each dimension with its values: the matrix, or without one what the includes name between them."""
    if variants.matrix:
        return dict(variants.matrix)
    named: dict[str, dict[str, None]] = {}
    for include in variants.include:
        for dimension, value in include.variants.items():
            named.setdefault(dimension, {})[value] = None
    return {dimension: tuple(values) for dimension, values in named.items()}


def expand_combinations(variants: Variants) -> tuple[Combination, ...]:
    """Return the matrix's product in written order without what is excluded, then the includes.

    A name is the values joined by '-', made DNS-safe; where that is too long, lost something that tells two
    combinations apart, or nothing is left, a hash of the variants is added. Names do not depend on the order of
    other combinations.
    """
    products = [chosen for chosen in _product(variants.matrix) if not excluded(chosen, variants.exclude)]
    names = _names(products)
    combinations = [Combination(name, chosen) for name, chosen in zip(names, products, strict=True)]
    combinations += [Combination(include.name, dict(include.variants)) for include in variants.include]
    return tuple(combinations)


def excluded(chosen: Mapping[str, str], exclude: Iterable[Mapping[str, str]]) -> bool:
    """Return whether one of the entries has only values that were chosen."""
    return any(matches(chosen, entry) for entry in exclude)


def matches(chosen: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    """Return whether every wanted value was chosen; nothing wanted is always met."""
    return all(chosen.get(dimension) == value for dimension, value in wanted.items())


@dataclass(frozen=True, slots=True)
class Plan:
    """Every trial of a batch, by number: combinations, then cases, then repeats.

    With ``only``, a sample: those numbers of the whole plan, ascending, and counted anew.
    """

    combinations: tuple[Combination, ...]
    cases: tuple[Case, ...]
    repeats: int = 1
    initial_state: Mapping[str, JSON] = field(default_factory=dict)
    only: tuple[int, ...] | None = None

    def __len__(self) -> int:
        return self._whole if self.only is None else len(self.only)

    @property
    def _whole(self) -> int:
        return len(self.combinations) * len(self.cases) * self.repeats

    def __iter__(self) -> Iterator[Trial]:
        return map(self.trial, range(len(self)))

    def trial(self, ordinal: int) -> Trial:
        """Return trial number ``ordinal``, counted from 0. Raises ``IndexError`` outside the plan."""
        if not 0 <= ordinal < len(self):
            raise IndexError(f"trial {ordinal} is outside the plan of {len(self)} trials")
        cell, repeat = divmod(ordinal if self.only is None else self.only[ordinal], self.repeats)
        combination, case = divmod(cell, len(self.cases))
        return Trial(ordinal, self.combinations[combination], self.cases[case], repeat)

    def input_for(self, case: Case) -> dict[str, JSON]:
        """Return the initial state with the case's input laid over it, mapping by mapping.

        Nothing in it is shared with another call's result, so that no trial can change what another is given.
        """
        return _merged(self.initial_state, case.input)


def _product(matrix: Mapping[str, Sequence[str]]) -> Iterator[dict[str, str]]:
    # The product of no dimensions is one empty choice; a batch without a matrix has only its includes.
    if matrix:
        for values in itertools.product(*matrix.values()):
            yield dict(zip(matrix, values, strict=True))


def _names(products: Sequence[Mapping[str, str]]) -> list[str]:
    names = [_plain_name(chosen) for chosen in products]
    # More digits each time: a written value may happen to look like another's name with its hash. Who makes one
    # for every length gets names that clash, which parsing refuses.
    for length in (8, 16, 32):
        for index in _clashing(names):
            suffix = short_hash(json.dumps(sorted(products[index].items())), length)
            names[index] = with_suffix(_plain_name(products[index]), suffix)
    return names


def _plain_name(chosen: Mapping[str, str]) -> str:
    return "-".join(filter(None, map(dns_label, chosen.values())))


def _clashing(names: Sequence[str]) -> list[int]:
    same: dict[str, list[int]] = defaultdict(list)
    for index, name in enumerate(names):
        same[name].append(index)
    return [
        index
        for name, indices in same.items()
        if len(indices) > 1 or not name or len(name) > MAX_LABEL
        for index in indices
    ]


def _merged(under: Mapping[str, JSON], over: Mapping[str, JSON]) -> dict[str, JSON]:
    merged = {key: _copied(value) for key, value in under.items() if key not in over}
    for key, value in over.items():
        below = under.get(key)
        if isinstance(value, dict) and isinstance(below, dict):
            merged[key] = _merged(below, value)
        else:
            merged[key] = _copied(value)
    return merged


def _copied(value: JSON) -> JSON:
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_copied(item) for item in value]
    return value
