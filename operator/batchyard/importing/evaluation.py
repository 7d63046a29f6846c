"""From what each case asks of the answer to ``expected`` and the suggested evaluators.

The plain evaluators are taken where they say the same: for what all cases ask alike, and where each case asks one thing
of the same kind. Everything else goes into the cases as checks, which ``judge.checks`` scores.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from batchyard.importing.checks import Check, CheckKind
from batchyard.importing.source import Evaluation, Proposal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from batchyard.importing.losses import Losses
    from batchyard.model.trial import JSON

CHECKS_FUNCTION = "batchyard.judge.checks:met"


def with_expectations(
    proposals: Sequence[Proposal], field: str, losses: Losses
) -> tuple[list[Proposal], Evaluation | None]:
    """Return the cases with what they expect, and the evaluation that reads it; None if nothing is asked."""
    evaluators, proposals = _shared(_without_own_latency(proposals, losses), field)
    if any(proposal.checks for proposal in proposals):
        single = _one_of_a_kind(proposals, field)
        if single is not None:
            evaluator, values = single
            proposals = [
                replace(proposal, expected={field: value}, checks=())
                for proposal, value in zip(proposals, values, strict=True)
            ]
        else:
            evaluator = {"name": "callable", "config": {"function": CHECKS_FUNCTION}}
            proposals = [_with_checks(proposal, field) for proposal in proposals]
        evaluators.append(evaluator)
    if not evaluators:
        return proposals, None
    return proposals, Evaluation(tuple(evaluators), _threshold(proposals, losses))


def _without_own_latency(proposals: Sequence[Proposal], losses: Losses) -> list[Proposal]:
    """Take away the latencies that not all cases ask for alike: the evaluator has one for the whole batch."""
    limits = [tuple(check for check in one.checks if check.kind is CheckKind.LATENCY) for one in proposals]
    if len(set(limits)) <= 1:
        return list(proposals)
    for proposal, own in zip(proposals, limits, strict=True):
        if own:
            losses.add(
                proposal.place,
                "a latency that not all cases ask for",
                "set deadlineSeconds of those cases, or an evaluator `latency` for all",
            )
    return [
        replace(one, checks=tuple(check for check in one.checks if check.kind is not CheckKind.LATENCY))
        for one in proposals
    ]


def _shared(proposals: Sequence[Proposal], field: str) -> tuple[list[Mapping[str, JSON]], list[Proposal]]:
    """Return evaluators for what all cases ask alike, and the cases without it."""
    first, *others = (proposal.checks for proposal in proposals)
    common = [check for check in first if all(check in other for other in others)]
    evaluators: list[Mapping[str, JSON]] = []
    taken: list[Check] = []
    for check in common:
        evaluator = _for_all(check, field, alone=not others)
        if evaluator is not None and check not in taken:
            evaluators.append(evaluator)
            taken.append(check)
    left = [
        replace(proposal, checks=tuple(check for check in proposal.checks if check not in taken))
        for proposal in proposals
    ]
    return evaluators, left


def _for_all(check: Check, field: str, *, alone: bool) -> Mapping[str, JSON] | None:
    """Return the evaluator that asks this of every case, None if there is none or the case should say it."""
    weight = {} if check.weight == 1 else {"weight": check.weight}
    if check.kind is CheckKind.LATENCY:
        seconds = _plain(check.values[0])
        return {"name": "latency", **weight, "config": {"targetSeconds": seconds, "maxSeconds": seconds}}
    if check.kind is not CheckKind.CONTAINS or check.negated or check.trimmed or alone or not all(check.values):
        return None
    texts = {"all" if check.every else "any": list(check.values)}
    return {"name": "contains", **weight, "config": {"field": field, **texts, **_case(check)}}


def _case(check: Check) -> dict[str, JSON]:
    return {"ignoreCase": True} if check.ignore_case else {}


def _one_of_a_kind(proposals: Sequence[Proposal], field: str) -> tuple[Mapping[str, JSON], list[JSON]] | None:
    """Return the plain evaluator and what each case expects, if each case asks one thing of the same kind."""
    checks = [proposal.checks[0] for proposal in proposals if len(proposal.checks) == 1]
    if len(checks) < len(proposals) or len({(check.kind, check.ignore_case) for check in checks}) > 1:
        return None
    if any(check.negated or check.trimmed or check.weight != 1 for check in checks):
        return None
    config = {"field": field, **_case(checks[0])}
    if checks[0].kind is CheckKind.EQUALS and all(_is_one_text(check) for check in checks):
        return {"name": "exactMatch", "config": config}, [check.values[0] for check in checks]
    if checks[0].kind is CheckKind.CONTAINS and all(
        (check.every or len(check.values) == 1) and all(check.values) for check in checks
    ):
        values = [check.values[0] if len(check.values) == 1 else list(check.values) for check in checks]
        return {"name": "contains", "config": config}, values
    return None


def _is_one_text(check: Check) -> bool:
    return len(check.values) == 1 and isinstance(check.values[0], str)


def _with_checks(proposal: Proposal, field: str) -> Proposal:
    if not proposal.checks:
        return proposal
    return replace(proposal, expected={"checks": [check.to_json(field) for check in proposal.checks]}, checks=())


def _threshold(proposals: Sequence[Proposal], losses: Losses) -> float:
    """Return what a trial must score: 1, that is all, unless every case says the same of its own."""
    thresholds = {proposal.threshold for proposal in proposals}
    common = next(iter(thresholds)) if len(thresholds) == 1 else None
    if common is not None:
        return _plain(common)
    for proposal in proposals:
        if proposal.threshold is not None:
            losses.add(
                proposal.place,
                "a threshold that not all cases have",
                "a batch has one spec.evaluation.passThreshold; part the cases into two batches if it matters",
            )
    return 1


def _plain(number: float) -> float:
    return int(number) if float(number).is_integer() else number
