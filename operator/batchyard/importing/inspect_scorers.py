"""What Inspect's scorers ask of an answer, as checks. Not for scores: they are of a run that is over."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchyard.importing.checks import Check, CheckKind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchyard.importing.losses import Losses
    from batchyard.model.trial import JSON

_MATCH_LOCATIONS = {
    "begin": CheckKind.STARTS_WITH,
    "end": CheckKind.ENDS_WITH,
    "any": CheckKind.CONTAINS,
    "exact": CheckKind.EQUALS,
}


def checks_of(row: Mapping[str, JSON], scorers: Mapping[str, JSON], place: str, losses: Losses) -> tuple[Check, ...]:
    """Return what the scorers ask of a sample's answer; without any that is known, the target must be part of it."""
    target = row.get("target")
    texts = tuple(str(one) for one in (target if isinstance(target, list) else [target]) if one not in (None, ""))
    if not texts:
        losses.add(place, "a sample without a `target`: nothing is expected", "add `expected` to the case")
        return ()
    checks: list[Check] = []
    for name, options in scorers.items():
        check = _check(name, options if isinstance(options, dict) else {}, texts)
        if check is None:
            losses.add(place, f"scorer `{name}`", "write it as a `callable` evaluator")
        else:
            checks.append(check)
    return tuple(checks) or (Check(CheckKind.CONTAINS, texts, ignore_case=True),)


def _check(name: str, options: Mapping[str, JSON], texts: tuple[str, ...]) -> Check | None:
    ignore_case = bool(options.get("ignore_case", True))
    match name:
        case "includes":
            return Check(CheckKind.CONTAINS, texts, ignore_case=ignore_case)
        case "match" if not options.get("numeric"):
            kind = _MATCH_LOCATIONS.get(str(options.get("location", "end")))
            return None if kind is None else Check(kind, texts, ignore_case=ignore_case, trimmed=True)
        case "exact":
            return Check(CheckKind.EQUALS, texts, ignore_case=True, trimmed=True)
        case _:
            return None
