"""OpenAI Evals: JSON lines with ``input`` and ``ideal``, and those of the Evals API with ``item``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchyard.importing.checks import Check, CheckKind
from batchyard.importing.messages import asked
from batchyard.importing.source import Found, Proposal, Source, Wanted, json_lines

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchyard.importing.losses import Losses
    from batchyard.model.trial import JSON

_NOTE = (
    "`ideal` must be part of the answer, as the template Includes has it; Match wants the answer to begin with it, "
    "and a graded template has its own prompt: write a `callable` evaluator for those"
)


def read(source: Source, wanted: Wanted, losses: Losses) -> Found:
    """Return a case for each line."""
    proposals: list[Proposal] = []
    for place, row in json_lines(source):
        proposal = _item(place, row, losses) if "item" in row else _sample(place, row, wanted, losses)
        if proposal is not None:
            proposals.append(proposal)
    return Found(proposals, note=_NOTE)


def _item(place: str, row: Mapping[str, JSON], losses: Losses) -> Proposal | None:
    item = row["item"]
    if not isinstance(item, dict):
        losses.add(place, "an `item` that is no object", "write it as an object of fields")
        return None
    losses.add(
        place,
        "what is right: the Evals API keeps that in the eval's testing_criteria, not with the items",
        "add `expected` to the cases, and evaluators",
    )
    return Proposal(_label(item), place, item)


def _sample(place: str, row: Mapping[str, JSON], wanted: Wanted, losses: Losses) -> Proposal | None:
    taken = asked(row.get("input"), place, wanted.input_field, losses)
    if taken is None:
        return None
    for key in row.keys() - {"input", "ideal", "id"}:
        losses.add(place, f"field `{key}` of a sample", "add it to the input of the cases if the workflow reads it")
    return Proposal(_label(row), place, taken, checks=_ideal(row, place, losses))


def _label(row: Mapping[str, JSON]) -> str:
    name = row.get("id")
    return str(name) if isinstance(name, str | int) and not isinstance(name, bool) else ""


def _ideal(row: Mapping[str, JSON], place: str, losses: Losses) -> tuple[Check, ...]:
    ideal = row.get("ideal")
    ideals = ideal if isinstance(ideal, list) else [ideal]
    texts = tuple(str(one) for one in ideals if isinstance(one, str | int | float) and not isinstance(one, bool))
    if len(texts) < len(ideals) or not texts:
        losses.add(place, "a sample without an `ideal` of text", "add `expected` to the case")
        return ()
    return (Check(CheckKind.CONTAINS, texts),)
