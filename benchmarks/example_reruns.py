"""Re-runs the example with random seeds and counts wrong gates: ``python -m benchmarks.example_reruns``.

Each run is a whole ``batchyard run`` of ``examples/docs_search`` with its cases, its evaluator and its gate's rule on
the baseline, in threads of this process. The example gives the same answers every time; here what was retrieved is
shaken by a seed (``workflows/shaken_search.py``).

First one of the example's nine combinations against itself, so the two differ by luck alone. A gate that says Failed
is a false alarm, one that says Passed a lucky pass; it may say either in 5 of 100 runs. Then all nine as they are, of
which the best is held against the baseline: how far it is ahead in truth is its mean over all these runs, and the bound
that the gate is "95% sure" of may be above that in 5 of 100 runs.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import random
import shutil
import tempfile
from collections import Counter
from contextlib import redirect_stdout
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any

import yaml

from batchyard.cli.options import Output
from batchyard.cli.run import Place, run_file

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

HERE = Path(__file__).resolve().parent
EXAMPLE = HERE.parent / "examples" / "docs_search"
TABLE = HERE / "example_reruns.md"
RATE = 0.05
_CHANCE = 0.99


def project(folder: Path, every: int) -> dict[str, Any]:
    """Put the example, with so few of its cases, and the luck into a folder; return the example's BatchTest."""
    shutil.copytree(EXAMPLE, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    cases = folder / "cases.jsonl"
    lines = cases.read_text(encoding="utf-8").splitlines(keepends=True)
    cases.write_text("".join(lines[::every]), encoding="utf-8")
    shutil.copy(HERE / "workflows" / "shaken_search.py", folder)
    found: dict[str, Any] = yaml.safe_load((folder / "batchtest.yaml").read_text(encoding="utf-8"))
    return found


def against_itself(example: dict[str, Any], seed: int) -> dict[str, Any]:
    """Return the example's BatchTest with one of its combinations, chosen by the seed, and the same once more."""
    luck = random.Random(seed)  # noqa: S311 - no secret
    chosen = {name: luck.choice(choices) for name, choices in example["spec"]["variants"]["matrix"].items()}
    one = {name: [choice] for name, choice in chosen.items()}
    variants = {"matrix": {**one, "arm": ["today", "again"], "seed": [str(seed)]}}
    return _shaken(example, variants, "-".join([*chosen.values(), "today", str(seed)]))


def all_nine(example: dict[str, Any], seed: int) -> dict[str, Any]:
    """Return the example's BatchTest with all its combinations, each with luck of its own."""
    variants = example["spec"]["variants"]
    luck = {"arm": "today", "seed": str(seed)}
    return _shaken(
        example,
        {
            **variants,
            "matrix": {**variants["matrix"], **{name: [choice] for name, choice in luck.items()}},
            "include": [{**one, "variants": {**one["variants"], **luck}} for one in variants["include"]],
        },
        example["spec"]["gate"]["baseline"]["combination"],
    )


def _shaken(example: dict[str, Any], variants: dict[str, Any], baseline: str) -> dict[str, Any]:
    spec = example["spec"]
    return {
        **example,
        "spec": {
            **spec,
            "workflow": {**spec["workflow"], "factory": "shaken_search:build"},
            "variants": variants,
            "environment": {"isolation": "Thread"},
            "checkpoints": {"keep": "Never", "durability": "exit"},
            # How many questions are answered is not asked: luck alone lowers that.
            "gate": {"baseline": {**spec["gate"]["baseline"], "combination": baseline}},
        },
    }


@dataclass(frozen=True, slots=True)
class Run:
    """What the gate's one rule came to, of which combination, its lower bound, and the scores it went by."""

    outcome: str
    best: str
    bound: float
    scores: Mapping[str, float]


def run_once(folder: Path, document: dict[str, Any], seed: int) -> Run:
    """Run it; the names of combinations come without arm and seed."""
    file, store = folder / "run.yaml", folder / "run.db"
    file.write_text(json.dumps(document), encoding="utf-8")
    with redirect_stdout(io.StringIO()) as said:
        run_file(file, str(store), Output.JSON, Place(), quiet=True)
    found = json.loads(said.getvalue())
    (check,) = found["gate"]["checks"]
    end = f"-today-{seed}"
    scores = {row["name"].removesuffix(end): float(row["score"]) for row in found["combinations"]}
    difference = check["difference"]
    return Run(check["outcome"], difference["combination"].removesuffix(end), difference["low"], scores)


def beyond_the_truth(runs: Sequence[Run], baseline: str) -> int:
    """Return in how many runs the gate was sure of more than the best combination is ahead on the average of all."""
    ahead = {name: mean(run.scores[name] - run.scores[baseline] for run in runs) for name in runs[0].scores}
    return sum(run.bound > ahead[run.best] for run in runs)


def most_by_chance(runs: int) -> int:
    """Return how many of so many gates may be wrong at the stated rate, but for one time in a hundred."""
    chances = accumulate(math.comb(runs, wrong) * RATE**wrong * (1 - RATE) ** (runs - wrong) for wrong in range(runs))
    return next(wrong for wrong, chance in enumerate(chances) if chance >= _CHANCE)


_ITSELF = """\
# How often the example's gate is wrong

Made by `python -m benchmarks.example_reruns --runs {runs} --seed {seed}`: whole runs of `examples/docs_search`, each
with a seed of its own (93 cases, margin 0, confidence 95%). At a rate of 5% chance gives up to {most} wrong ones in
{runs} (99%).

## {runs} runs of one of its nine combinations against itself

| the gate said | runs | wrong |
| --- | --- | --- |
"""
_NINE = """
## {runs} runs of all nine, the best against the baseline

| the gate said | runs | wrong |
| --- | --- | --- |
"""
_WRONG_OF_ITSELF = {
    "Failed": "yes: worse, by luck alone",
    "Passed": "yes: shown to be no worse, by luck alone",
    "Inconclusive": "no: the cases do not show it",
}
_WRONG_OF_NINE = {
    "Failed": "yes: the best is better",
    "Passed": "no",
    "Inconclusive": "no: the cases do not show it",
    "95% sure of more than is true": "yes",
}


def _rows(wrong: Mapping[str, str], found: Counter[str]) -> str:
    return "".join(f"| {said} | {found[said]} | {why} |\n" for said, why in wrong.items())


def main() -> None:
    """Run and write the table."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--runs", type=int, default=100, help="of either kind")
    options.add_argument("--seed", type=int, default=2026, help="of the first run; each has the next")
    options.add_argument("--every", type=int, default=1, help="of the cases, only every so many; for a try")
    options.add_argument("--json", action="store_true", help="print the counts, write nothing")
    given = options.parse_args()
    seeds = range(given.seed, given.seed + given.runs)
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        example = project(folder, given.every)
        alone = Counter(run_once(folder, against_itself(example, seed), seed).outcome for seed in seeds)
        runs = [run_once(folder, all_nine(example, seed), seed) for seed in seeds]
    nine = Counter(run.outcome for run in runs)
    nine["95% sure of more than is true"] = beyond_the_truth(runs, example["spec"]["gate"]["baseline"]["combination"])
    if given.json or given.every > 1:
        print(json.dumps({"itself": alone, "nine": nine}))
        return
    words = {"runs": given.runs, "seed": given.seed, "most": most_by_chance(given.runs)}
    text = (
        _ITSELF.format(**words) + _rows(_WRONG_OF_ITSELF, alone) + _NINE.format(**words) + _rows(_WRONG_OF_NINE, nine)
    )
    TABLE.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
