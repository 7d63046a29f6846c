"""One BatchTest out of one text, or every fault of it at once.

Pure: the text is handed in, and case files are someone else's to read (``engine.sources``).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from pydantic import BaseModel, ValidationError

from batchyard.model.errors import Fault, SpecInvalid
from batchyard.model.faults import model_faults
from batchyard.model.matrix import expand_combinations
from batchyard.model.rules import Place, rule_faults, shortened_list
from batchyard.model.spec import MAX_COMBINATIONS, MAX_INLINE_CASES_BYTES, MAX_TRIALS, BatchTest, Variants
from batchyard.model.text import child_path, parse_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from batchyard.model.trial import JSON, Combination

M = TypeVar("M", bound=BaseModel)

# What the API server adds to an object; a file made with `kubectl get -o yaml` runs as it is.
_SERVER_METADATA = {
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generation",
    "managedFields",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
}

_LAST_STEP = re.compile(r"(\.[A-Za-z0-9_-]+|\[[^\[\]]*\]|^[A-Za-z0-9_-]+)\Z")


@dataclass(frozen=True, slots=True)
class Draft:
    """A file as far as it could be read. ``batch`` is None if it has faults of its own.

    ``shape`` is for what else is to be said of it at once: it is there also if it breaks rules, and without the parts
    of its spec that have faults of their own if it can do without them.
    """

    batch: BatchTest | None
    combinations: tuple[Combination, ...]
    faults: tuple[Fault, ...]
    document: JSON = None
    shape: BatchTest | None = None


def parse_batch_test(text: str, source: str) -> BatchTest:
    """Return the BatchTest a YAML or JSON text describes; ``source`` names it in messages.

    Raises:
        SpecInvalid: with every fault found, in the order of the file.
    """
    draft = read_draft(text)
    if draft.batch is None:
        raise SpecInvalid(source, draft.faults)
    return draft.batch


def read_draft(text: str, *, most_inline_bytes: int = MAX_INLINE_CASES_BYTES) -> Draft:
    """Return what can be read of a text, with all its faults, so that those of case files can be added to them."""
    parsed = parse_text(text)
    if not isinstance(parsed.value, dict):
        return Draft(None, (), parsed.faults or (Fault("file", "", "is not a mapping", "begin with apiVersion: ..."),))
    document = _without_server_fields(parsed.value)
    faults = [*parsed.faults]
    batch, shape = _validated(document, faults)
    faults += rule_faults(document, most_inline_bytes=most_inline_bytes)
    combinations, expansion_faults = _expanded(document)
    faults += expansion_faults
    ordered = in_file_order(faults, document)
    return Draft(None if ordered else batch, combinations, ordered, document, shape)


def in_file_order(faults: Iterable[Fault], document: JSON) -> tuple[Fault, ...]:
    """Return the first fault of each path in the file's order; what is missing stands at what it is missing in."""
    first: dict[str, Fault] = {}
    for fault in faults:
        first.setdefault(fault.path, fault)
    places = {path: number for number, path in enumerate(_paths(document, ""))}
    return tuple(sorted(first.values(), key=lambda fault: _rank(fault.path, places)))


def most_cases(document: JSON, combinations: int) -> int:
    """Return how many cases a batch can have without having too many trials."""
    return MAX_TRIALS // max(1, combinations * _repeats(document))


def trial_cap_faults(document: JSON, combinations: int, cases: int, *, more: bool = False) -> list[Fault]:
    """Return the fault of a batch with too many trials, if it is one; ``more`` if not all cases were counted."""
    repeats = _repeats(document)
    total = combinations * cases * repeats
    if total <= MAX_TRIALS:
        return []
    least = "at least " if more else ""
    message = (
        f"{combinations:,} combinations x {least}{cases:,} cases x {repeats:,} repeats are {least}{total:,} trials"
    )
    return [Fault("spec", "", f"{message}, more than {MAX_TRIALS:,}", "split the batch or lower repeats")]


def _repeats(document: JSON) -> int:
    return int(Place(document, "").at("spec", "repeats").number(1) or 1)


def _without_server_fields(document: dict[str, JSON]) -> dict[str, JSON]:
    kept = {key: value for key, value in document.items() if key != "status"}
    if isinstance(kept.get("metadata"), dict):
        kept["metadata"] = {k: v for k, v in kept["metadata"].items() if k not in _SERVER_METADATA}
    return kept


def _validated(document: dict[str, JSON], faults: list[Fault]) -> tuple[BatchTest | None, BatchTest | None]:
    """Return the batch, and as much of it as has the right form."""
    try:
        batch = _strictly(BatchTest, document)
    except ValidationError as err:
        faults += model_faults(err, BatchTest)
        wrong = {error["loc"][1] for error in err.errors() if error["loc"][:1] == ("spec",) and error["loc"][1:]}
        spec = document.get("spec")
        bare = {key: value for key, value in spec.items() if key not in wrong} if isinstance(spec, dict) else {}
        return None, _part(BatchTest, {**document, "spec": bare})
    return batch, batch


def _part(model: type[M], value: JSON) -> M | None:
    try:
        return _strictly(model, value)
    except ValidationError:
        return None


def _strictly(model: type[M], value: JSON) -> M:
    # As JSON, where strict means what a user expects: a list is a list and an enum's value is its text.
    return model.model_validate_json(json.dumps(value), by_alias=True, by_name=False)


def _expanded(document: JSON) -> tuple[tuple[Combination, ...], list[Fault]]:
    spec = Place(document, "").at("spec")
    place = spec.at("variants")
    variants = _part(Variants, place.value)
    if variants is None:
        return (), []
    product = 1
    for values in variants.matrix.values():
        product *= len(values)
    if product > MAX_TRIALS:
        message = f"the product of the matrix is {product:,} combinations; at most {MAX_COMBINATIONS} are allowed"
        return (), [place.fault(message, "remove dimensions or values", shown=False)]
    combinations = expand_combinations(variants)
    faults = [*_combination_faults(combinations, variants, place), *_baseline_faults(combinations, spec)]
    if not spec.at("casesFrom").items():
        faults += trial_cap_faults(document, len(combinations), len(spec.at("cases").items()))
    return combinations, faults


def _combination_faults(combinations: Sequence[Combination], variants: Variants, place: Place) -> list[Fault]:
    if len(combinations) > MAX_COMBINATIONS:
        message = f"gives {len(combinations):,} combinations, more than {MAX_COMBINATIONS}"
        return [place.fault(message, "remove values or exclude some", shown=False)]
    if not combinations and (variants.matrix or variants.include):
        return [place.at("exclude").fault("leaves no combination", "exclude less", shown=False)]
    products = [one.name for one in combinations[: len(combinations) - len(variants.include)]]
    if len(set(products)) < len(products):
        return [place.at("matrix").fault("gives two combinations one name", "rename values", shown=False)]
    return [
        place.at("include")
        .items()[index]
        .at("name")
        .fault("is already the name of a product of the matrix", "rename it")
        for index, include in enumerate(variants.include)
        if include.name in products
    ]


def _baseline_faults(combinations: Sequence[Combination], spec: Place) -> list[Fault]:
    baseline = spec.at("gate", "baseline", "combination")
    names = [combination.name for combination in combinations]
    if baseline.text() is None or not names or baseline.value in names:
        return []
    message = f"is not among the combinations ({shortened_list(names)})"
    return [baseline.fault(message, "name one of them")]


def _paths(value: JSON, path: str) -> Iterable[str]:
    yield path
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in children:
        yield from _paths(item, child_path(path, key))


def _rank(path: str, places: dict[str, int]) -> tuple[int, int]:
    steps = 0
    while path not in places and path:
        shorter = _LAST_STEP.sub("", path)
        if shorter == path:
            return (-1, 0)
        path, steps = shorter, steps + 1
    return (places.get(path, -1), steps)
