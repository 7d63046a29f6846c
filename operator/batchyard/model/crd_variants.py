"""The rules of the CRD on variants: names and values that fit together, and how many combinations and trials there are.

Not for the other rules between fields (``crd_rules``).
"""

from __future__ import annotations

import string
from typing import TYPE_CHECKING

from batchyard.model.crd_cel import rule, some
from batchyard.model.faults import PATTERN_WORDS
from batchyard.model.names import MAX_LABEL
from batchyard.model.spec import MAX_COMBINATIONS, MAX_TRIALS
from batchyard.model.spec_base import DIMENSION_PATTERN

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchyard.model.trial import JSON

# CEL has no product of a list. More than this many dimensions of two values or more are beyond MAX_TRIALS in any case.
_MOST_FACTORS = MAX_TRIALS.bit_length() - 1
_BEYOND_COUNTING = -1


def variant_rules() -> list[dict[str, JSON]]:
    """Return the rules of ``spec.variants``."""
    return [
        rule(
            f"{some('self.matrix')} || {some('self.include')}",
            "gives no combination; write matrix: {dimension: [value, ...]}",
        ),
        _dimension_names(),
        _known_to_the_matrix("exclude", "one", "one"),
        _known_to_the_matrix("include", "one.variants", "one.name"),
        _known_to_the_matrix("overrides", "one.match", "one.match"),
        *_whole_includes(),
        *_combination_caps(),
        _something_left(),
    ]


def trial_cap() -> dict[str, JSON]:
    """Return the rule on the number of trials; where it cannot be known, on the least that it can be."""
    products, included = _products("self.variants"), _included("self.variants")
    open_ended = f"({some('self.variants.exclude')} || {some('self.casesFrom')})"
    combinations = f"({some('self.variants.exclude')} ? ({included} > 0 ? {included} : 1) : {products} + {included})"
    cases = " + ".join(f"(has(self.{field}) ? self.{field}.size() : 0)" for field in ("cases", "casesFrom"))
    repeats = "(has(self.repeats) ? self.repeats : 1)"
    counts = f"[{combinations}, {cases}, {repeats}]"
    return rule(
        f"[{counts}].all(n, n[0] * n[1] * n[2] <= {MAX_TRIALS})",
        f"gives more than {MAX_TRIALS:,} trials; split the batch or lower repeats",
        "",
        f"%s combinations x %s cases x %s repeats are %s%s trials, more than {MAX_TRIALS:,};"
        " split the batch or lower repeats",
        f"[{counts}].map(n, [string(n[0]), string(n[1]), string(n[2]), {open_ended} ? 'at least ' : '',"
        " string(n[0] * n[1] * n[2])])[0]",
    )


def _dimension_names() -> dict[str, JSON]:
    """Return the rule on the keys of the matrix, character by character: they have no bound, so no pattern may."""
    message, remedy = PATTERN_WORDS[DIMENSION_PATTERN]
    letters = string.ascii_letters + string.digits
    inner, outer = f"'{letters}-_.'.split('')", f"'{letters}'.split('')"
    fine = (
        f"key.size() <= {MAX_LABEL} && key.charAt(0) in {outer} && key.charAt(key.size() - 1) in {outer}"
        f" && {[*range(MAX_LABEL)]}.all(index, index >= key.size() || key.charAt(index) in {inner})"
    )
    return rule(
        f"!has(self.matrix) || self.matrix.all(key, key.size() > 0 && {fine})",
        f"{message}; {remedy}",
        "matrix",
        f"%s {message}; {remedy}",
        f"[self.matrix.filter(key, key.size() == 0 || !({fine}))]",
    )


def _known_to_the_matrix(field: str, chosen: str, shown: str) -> dict[str, JSON]:
    known = f"(!has({chosen}) || " if chosen == "one.match" else "("
    known += f"{chosen}.all(key, key in self.matrix && {chosen}[key] in self.matrix[key]))"
    text = "names a dimension or a value that is not in the matrix; correct it, or add it to the matrix"
    return rule(
        f"!{some('self.matrix')} || !has(self.{field}) || self.{field}.all(one, {known})",
        text,
        field,
        f"%s {text}",
        f"[self.{field}.filter(one, !{known}).map(one, {shown})]",
    )


def _whole_includes() -> list[dict[str, JSON]]:
    """Return the rules that every include has a value for each dimension: the matrix's, or those of the others."""
    text = "has no value for a dimension; name a value for every dimension"
    cases: Mapping[str, str] = {
        f"!{some('self.matrix')}": "self.matrix.all(key, key in one.variants)",
        some("self.matrix"): "one.variants.size() == self.include[0].variants.size()"
        " && self.include[0].variants.all(key, key in one.variants)",
    }
    return [
        rule(
            f"{elsewhere} || !has(self.include) || self.include.all(one, {whole})",
            text,
            "include",
            f"%s {text}",
            f"[self.include.filter(one, !({whole})).map(one, one.name)]",
        )
        for elsewhere, whole in cases.items()
    ]


def _products(variants: str) -> str:
    """Return the expression of how many combinations the matrix gives before any is excluded."""
    sizes = f"{variants}.matrix.map(key, {variants}.matrix[key].size() > 1, {variants}.matrix[key].size())"
    # As doubles: an integer would overflow, which is an error and no answer.
    factors = (f"(sizes.size() > {index} ? double(sizes[{index}]) : 1.0)" for index in range(_MOST_FACTORS))
    product = " * ".join(factors)
    counted = f"[{product}].map(product, product > {MAX_TRIALS}.0 ? {_BEYOND_COUNTING} : int(product))[0]"
    return (
        f"(!{some(f'{variants}.matrix')} ? 0 : [{sizes}]"
        f".map(sizes, sizes.size() > {_MOST_FACTORS} ? {_BEYOND_COUNTING} : {counted})[0])"
    )


def _included(variants: str) -> str:
    return f"(has({variants}.include) ? {variants}.include.size() : 0)"


def _combination_caps() -> list[dict[str, JSON]]:
    products, included = _products("self"), _included("self")
    remedy = "remove values or exclude some"
    return [
        rule(
            f"{products} != {_BEYOND_COUNTING}",
            f"the product of the matrix is more than {MAX_TRIALS:,} combinations;"
            f" at most {MAX_COMBINATIONS} are allowed; remove dimensions or values",
        ),
        rule(
            f"{some('self.exclude')} || {products} + {included} <= {MAX_COMBINATIONS}",
            f"gives more than {MAX_COMBINATIONS} combinations; {remedy}",
            "",
            f"gives %s combinations, more than {MAX_COMBINATIONS}; {remedy}",
            f"[string({products} + {included})]",
        ),
    ]


def _something_left() -> dict[str, JSON]:
    # The plain way to exclude everything: every value of one dimension. Other ways are the engine's to find.
    gone = "self.exclude.map(one, one.size() == 1 && key in one, one[key])"
    return rule(
        f"!has(self.exclude) || {some('self.include')} || !has(self.matrix)"
        f" || !self.matrix.exists(key, [{gone}].exists(gone, self.matrix[key].all(value, value in gone)))",
        "leaves no combination; exclude less",
        at="exclude",
    )
