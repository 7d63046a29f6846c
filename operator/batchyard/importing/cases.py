"""From a file of another tool to cases of ours, with every loss. Pure: bytes in, text out."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pydantic import ValidationError

from batchyard.importing.evaluation import with_expectations
from batchyard.importing.formats import READERS, Format, detected
from batchyard.importing.losses import Loss, Losses
from batchyard.importing.naming import Names
from batchyard.importing.source import Evaluation, Proposal, Source, Wanted, refused
from batchyard.model.cases import case_json, case_of
from batchyard.model.faults import model_faults
from batchyard.model.spec_workload import CaseSpec
from batchyard.model.text import parse_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batchyard.model.errors import Fault
    from batchyard.model.trial import Case


@dataclass(frozen=True, slots=True)
class Imported:
    """What came of a file: its format, the cases, what was lost, and the evaluation to write into the BatchTest."""

    format: Format
    cases: tuple[Case, ...]
    losses: tuple[Loss, ...]
    evaluation: Evaluation | None

    def json_lines(self) -> str:
        """Return the cases as the JSONL that ``spec.casesFrom`` reads."""
        return "".join(json.dumps(case_json(case), ensure_ascii=False) + "\n" for case in self.cases)


def imported(source: Source, wanted: Wanted, form: Format | None = None) -> Imported:
    """Return the cases in a file; without ``form``, by what it looks like.

    Raises:
        SpecInvalid: if the file cannot be read as its format, could be two, or has no case that can be carried over.
    """
    form = form or detected(source)
    losses = Losses()
    found = READERS[form](source, wanted, losses)
    if not found.proposals:
        message = "has no case that can be carried over"
        lost = "".join(f"; {loss.message} ({loss.count:,})" for loss in losses.all())
        raise refused(source.name, "", message + lost, "check that it is the right file")
    proposals, evaluation = list(found.proposals), found.evaluation
    if evaluation is None:
        proposals, evaluation = with_expectations(proposals, wanted.output_field, losses)
    if evaluation is not None and found.note:
        evaluation = replace(evaluation, note=found.note)
    cases = _cases(proposals, source, losses)
    return Imported(form, cases, losses.all(), evaluation)


def _cases(proposals: Sequence[Proposal], source: Source, losses: Losses) -> tuple[Case, ...]:
    names = Names(source.stem)
    cases: list[Case] = []
    for number, proposal in enumerate(proposals, 1):
        case, faults = _case(names.name(proposal.label, number), proposal)
        if case is not None:
            cases.append(case)
        for fault in faults:
            losses.add(proposal.place, f"a case that cannot be one of ours: {fault.message}", fault.remedy)
    if not cases:
        raise refused(source.name, "", str(losses.all()[-1]), "mend the file")
    return tuple(cases)


def _case(name: str, proposal: Proposal) -> tuple[Case | None, Sequence[Fault]]:
    """Return the case as our own reader reads it, or why it does not."""
    row = {"name": name, "input": proposal.input, "expected": proposal.expected}
    parsed = parse_json(json.dumps(row), "")
    if parsed.faults:
        return None, parsed.faults[:1]
    try:
        return case_of(CaseSpec.model_validate_json(json.dumps(parsed.value))), ()
    except ValidationError as err:
        return None, [next(model_faults(err, CaseSpec))]
