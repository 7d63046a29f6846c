"""Re-runs the example with random seeds and counts wrong gates: ``python -m benchmarks.example_reruns``.

Each run is a whole ``batchyard run`` of ``examples/docs_search`` with its cases, its evaluator and its gate's rule on
the baseline, in threads of this process: one of the example's nine combinations against itself. The example gives the
same answers every time; here what was retrieved is shaken by a seed (``workflows/shaken_search.py``), so the two differ
by luck alone. A gate that says Failed is a false alarm, one that says Passed a lucky pass; it may say either in 5 of
100 runs.
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
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from batchyard.cli.options import Output
from batchyard.cli.run import Place, run_file

if TYPE_CHECKING:
    from collections.abc import Iterator

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
    spec, luck = example["spec"], random.Random(seed)  # noqa: S311 - no secret
    chosen = {name: luck.choice(choices) for name, choices in spec["variants"]["matrix"].items()}
    one = {name: [choice] for name, choice in chosen.items()}
    baseline = "-".join([*chosen.values(), "today", str(seed)])
    return {
        **example,
        "spec": {
            **spec,
            "workflow": {**spec["workflow"], "factory": "shaken_search:build"},
            "variants": {"matrix": {**one, "arm": ["today", "again"], "seed": [str(seed)]}},
            "environment": {"isolation": "Thread"},
            "checkpoints": {"keep": "Never", "durability": "exit"},
            # How many questions are answered is not asked: luck alone lowers that.
            "gate": {"baseline": {**spec["gate"]["baseline"], "combination": baseline}},
        },
    }


def outcome(folder: Path, example: dict[str, Any], seed: int) -> str:
    """Run it once; return what the gate's one rule came to."""
    file = folder / f"run-{seed}.yaml"
    file.write_text(json.dumps(against_itself(example, seed)), encoding="utf-8")
    with redirect_stdout(io.StringIO()) as said:
        run_file(file, str(folder / f"{seed}.db"), Output.JSON, Place(), quiet=True)
    (check,) = json.loads(said.getvalue())["gate"]["checks"]
    return str(check["outcome"])


def most_by_chance(runs: int) -> int:
    """Return how many of so many gates may be wrong at the stated rate, but for one time in a hundred."""
    chances = accumulate(math.comb(runs, wrong) * RATE**wrong * (1 - RATE) ** (runs - wrong) for wrong in range(runs))
    return next(wrong for wrong, chance in enumerate(chances) if chance >= _CHANCE)


_ABOUT = """\
# How often the example's gate is wrong

Made by `python -m benchmarks.example_reruns --runs {runs} --seed {seed}`: {runs} whole runs of `examples/docs_search`,
each with a seed of its own, of one of its nine combinations against itself (93 cases, margin 0, confidence 95%). At a
rate of 5% chance gives up to {most} of either in {runs} (99%).

| the gate said | runs | wrong |
| --- | --- | --- |
"""
_WRONG = {
    "Failed": "yes: worse, by luck alone",
    "Passed": "yes: shown to be no worse, by luck alone",
    "Inconclusive": "no: the cases do not show it",
}


def _text(found: Counter[str], runs: int, seed: int) -> Iterator[str]:
    yield _ABOUT.format(runs=runs, seed=seed, most=most_by_chance(runs)).rstrip()
    for said, wrong in _WRONG.items():
        yield f"| {said} | {found[said]} | {wrong} |"


def main() -> None:
    """Run and write the table."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--runs", type=int, default=100)
    options.add_argument("--seed", type=int, default=2026, help="of the first run; each has the next")
    options.add_argument("--every", type=int, default=1, help="of the cases, only every so many; for a try")
    options.add_argument("--json", action="store_true", help="print the counts, write nothing")
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        example = project(folder, given.every)
        found = Counter(outcome(folder, example, given.seed + number) for number in range(given.runs))
    if given.json or given.every > 1:
        print(json.dumps(found))
        return
    TABLE.write_text("\n".join(_text(found, given.runs, given.seed)) + "\n", encoding="utf-8")
    print(TABLE.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
