"""The unchanged example's gate is seldom wrong: on its own answers under random labels, and in whole runs with luck."""

from __future__ import annotations

import json
import math
import random
import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from functools import cache
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from batchyard.engine.sources import load
from batchyard.judge import check
from batchyard.judge.cases import CaseTable
from batchyard.model.outcome import GateOutcome, Outcome
from docs_search.graph import build
from judge_builders import a_result, compare

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchyard.engine.sources import LoadedBatch
    from batchyard.judge import GateResult
    from batchyard.model.spec_evaluation import Gate
    from batchyard.model.trial import AttemptResult, Case

ROOT = Path(__file__).parents[2]
TABLE = ROOT / "benchmarks" / "example_reruns.md"
RATE = 0.05
GATES = 200


@cache
def example() -> LoadedBatch:
    return load(ROOT / "examples" / "docs_search" / "batchtest.yaml")


@cache
def half() -> tuple[Case, ...]:
    """Return every second case: as good for this, and twice as quick."""
    return example().plan.cases[::2]


@cache
def answers() -> Mapping[str, Mapping[str, bool]]:
    """Run the example's graph; return which combination answers which case rightly."""
    found: dict[str, dict[str, bool]] = {}
    for combination in example().plan.combinations:
        graph: Any = build(combination.variants).compile()
        found[combination.name] = {
            case.name: graph.invoke(case.input)["topic"] == case.expected["topic"] for case in half()
        }
    return found


@cache
def result(combination: str, case: str, *, right: bool) -> AttemptResult:
    made = a_result(combination, Outcome.PASSED if right else Outcome.FAILED, score=float(right))
    return replace(made, case=case)


def gate_of(answered: Mapping[str, Mapping[str, bool]], cases: list[Case], gate: Gate) -> GateResult:
    """Ask the gate's own code, as the end of a batch does."""
    results = [result(name, case.name, right=rights[case.name]) for name, rights in answered.items() for case in cases]
    table = CaseTable(cases)
    for one in results:
        table.add(one)
    return check(compare(results, [*answered]), gate, table)


def relabelled(luck: random.Random, cases: list[Case], labels: int) -> dict[str, dict[str, bool]]:
    """Deal the example's answers to each case out at random, so that in truth no label is better than another."""
    names = ["baseline", *[name for name in answers() if name != "baseline"][: labels - 1]]
    dealt: dict[str, dict[str, bool]] = {name: {} for name in names}
    for case in cases:
        rights = luck.sample([rights[case.name] for rights in answers().values()], labels)
        for name, right in zip(names, rights, strict=True):
            dealt[name][case.name] = right
    return dealt


def most_by_chance(gates: int) -> int:
    """Return how many of so many gates may be wrong at the stated rate, but for one time in a thousand."""
    chances = accumulate(
        math.comb(gates, wrong) * RATE**wrong * (1 - RATE) ** (gates - wrong) for wrong in range(gates)
    )
    return next(wrong for wrong, chance in enumerate(chances) if chance >= 0.999)


def test_the_unchanged_example_passes_its_gate() -> None:
    found = gate_of(answers(), [*half()], example().batch.spec.gate)

    assert [(one.name, one.outcome) for one in found.checks] == [
        ("minSuccessRate", GateOutcome.PASSED),
        ("baseline", GateOutcome.PASSED),
    ]


@pytest.mark.parametrize("labels", [2, 9])
def test_on_the_examples_answers_dealt_out_at_random_its_gate_is_not_wrong_more_often_than_stated(labels: int) -> None:
    luck = random.Random(f"{labels} labels")  # noqa: S311 - no secret
    rule = example().batch.spec.gate.model_copy(update={"min_success_rate": None})

    said: Counter[GateOutcome] = Counter()
    for _ in range(GATES):
        cases = luck.sample(half(), luck.randint(30, len(half())))
        said[gate_of(relabelled(luck, cases, labels), cases, rule).outcome] += 1

    assert said.total() == GATES
    assert max(said[GateOutcome.FAILED], said[GateOutcome.PASSED]) <= most_by_chance(GATES)
    assert 0 < said[GateOutcome.PASSED] < said[GateOutcome.INCONCLUSIVE]


def test_in_the_committed_tables_of_100_whole_runs_the_gate_is_not_wrong_more_often_than_stated() -> None:
    text = TABLE.read_text(encoding="utf-8")

    itself, nine = (
        {said: int(count) for said, count in re.findall(r"^\| ([^|]+) \| (\d+) \|", part, re.MULTILINE)}
        for part in text.split("all nine")
    )

    assert sum(itself.values()) == 100
    assert max(itself["Failed"], itself["Passed"]) <= most_by_chance(100)
    assert nine["Failed"] + nine["Passed"] + nine["Inconclusive"] == 100
    assert nine["Passed"] > 0
    assert max(nine["Failed"], nine["95% sure of more than is true"]) <= most_by_chance(100)


def test_a_whole_run_of_the_example_with_a_seed_can_be_made_anew() -> None:
    command = [sys.executable, "-m", "benchmarks.example_reruns", "--runs", "1", "--every", "8", "--json"]

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    counts = json.loads(done.stdout)
    assert sum(counts["itself"].values()) == 1
    assert sum(counts["nine"].values()) == 1  # the average of one run is that run, which is sure of less
