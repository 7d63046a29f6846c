"""A regression planted in the example fails its gate, and what is said names the case and the node at fault."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from batchyard.cli import stores
from batchyard.local_files import KeptThreads
from batchyard.store.opening import open_store
from command_line import Bench

EXAMPLE = Path(__file__).parents[2] / "examples" / "docs_search"


@dataclass(frozen=True, slots=True)
class Planted:
    """A fault in a copy of the example: one line of one node, which only the one candidate goes through."""

    candidate: dict[str, str]
    file: str
    right: str
    wrong: str
    node: str
    keys: str
    gate: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return "-".join(self.candidate.values())


PLANTED = [
    # The best passage comes last.
    Planted(
        {"retriever": "bm25", "reader": "first"},
        "retrievers.py",
        "scores.get(hit.passage, 0.0) + hit.score",
        "scores.get(hit.passage, 0.0) - hit.score",
        "retrieve",
        "candidates",
    ),
    # The sentence that fits least.
    Planted(
        {"retriever": "tfidf", "reader": "sentence"},
        "readers.py",
        "Reading(weights.index(max(weights))",
        "Reading(weights.index(min(weights))",
        "read",
        "chosen, words_read",
        # Without the fault too it answers fewer than three in four.
        {"minSuccessRate": 0.6},
    ),
]


def a_copy(folder: Path, planted: Planted) -> Path:
    """Copy the example with the fault in it, its gate, the baseline, one candidate, and every second case."""
    copy = folder / "docs_search"
    shutil.copytree(EXAMPLE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    code = copy / "docs_search" / planted.file
    text = code.read_text(encoding="utf-8")
    assert text.count(planted.right) == 1
    code.write_text(text.replace(planted.right, planted.wrong), encoding="utf-8")
    file = copy / "batchtest.yaml"
    document = yaml.safe_load(file.read_text(encoding="utf-8"))
    spec = document["spec"]
    [baseline] = spec["variants"]["exclude"]
    spec["variants"]["matrix"] = {key: sorted({baseline[key], choice}) for key, choice in planted.candidate.items()}
    spec["gate"] |= planted.gate
    file.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    cases = (copy / "cases.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    (copy / "cases.jsonl").write_text("".join(cases[::2]), encoding="utf-8")
    return file


@dataclass(frozen=True, slots=True)
class Ran:
    """What a run with the fault in it left and said."""

    planted: Planted
    bench: Bench
    said: str
    exit_code: int

    @property
    def reports(self) -> list[Path]:
        return [self.bench.folder / f"report.{suffix}" for suffix in ("md", "xml", "html")]


@pytest.fixture(scope="module", params=PLANTED, ids=lambda planted: planted.node)
def ran(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """A run of the example with a fault in it; tests only read it."""
    planted, bench = request.param, Bench(tmp_path_factory.mktemp("planted"))
    file = a_copy(bench.folder, planted)
    before = Ran(planted, bench, "", 0)
    wanted = [word for report in before.reports for word in ("--report", str(report))]
    done = bench.run("run", str(file), "--quiet", *wanted)
    assert done.stderr == ""
    return replace(before, said=done.stdout, exit_code=done.returncode)


def test_a_regression_planted_in_the_example_fails_and_names_the_case_and_the_node(ran: Ran) -> None:
    # Ten of them, each with its case.
    rows = [line.strip() for line in ran.said.splitlines() if "first differs from" in line]
    why = f"first differs from baseline after node {ran.planted.node} ({ran.planted.keys})"
    assert (ran.exit_code, "(GateFailed)" in ran.said) == (1, True)
    assert len(rows) == 10
    assert all(re.fullmatch(rf"{ran.planted.name}/[a-z-]+/0  {re.escape(why)}", row) for row in rows)


def test_every_report_of_a_planted_regression_names_the_node(ran: Ran) -> None:
    texts = [report.read_text(encoding="utf-8") for report in ran.reports]

    why = f"first differs from baseline after node {ran.planted.node}"
    assert [why in text for text in texts] == [True, True, True]


def test_without_states_that_were_kept_no_node_is_named(ran: Ran, tmp_path: Path) -> None:
    with open_store(str(ran.bench.store)) as store:
        batch = stores.opened_here(store, store.batch("docs-search"), str(ran.bench.store))

        lost = replace(batch, threads=KeptThreads(tmp_path, batch.record.id)).regressions()

    assert lost is not None
    assert lost.total > len(lost.rows) == 10
    assert set(lost.sentences().values()) == {""}
