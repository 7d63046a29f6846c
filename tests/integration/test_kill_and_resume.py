"""``kill -9`` of a whole run at fifty different points, then a resume: nothing finished is lost or run twice."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from batch_bench import batch_file, cases
from batchyard.linux import started_at
from batchyard.model.audit import verify_chain
from batchyard.model.outcome import Outcome, Phase
from batchyard.store.opening import open_store
from runner_bench import await_true, lines_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batchyard.store.sql import SqlStore

pytestmark = pytest.mark.kill

CHILD = Path(__file__).parents[1] / "kill_child.py"

NAMES = tuple(f"case-{number}" for number in range(28))
TRIALS = {f"pass/{name}/0" for name in NAMES}

LANGGRAPH, PLAIN = "batchyard.langgraph_parts:LangGraphParts", "plain_parts:PlainParts"
POINTS = [(PLAIN, point) for point in range(1, 41)] + [(LANGGRAPH, point) for point in range(5, 55, 5)]
"""Every early moment of a run without a framework, which starts in a blink, and some with LangGraph."""


def start(file: Path, store: Path, parts: str, batch: str = "", moment: int = 0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(CHILD), str(file), str(store), batch, str(moment), parts]
    environment = {"PATH": os.defpath, "PYTHONPATH": str(CHILD.parent), "BATCHYARD_HOME": str(store.parent)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, check=False)


def write_batch(folder: Path) -> tuple[Path, Path]:
    """Write 28 trials that log their begin; return the file and the log."""
    log = folder / "log"
    file = batch_file(
        folder, "observed:build", variants={"matrix": {"act": ["pass"]}}, cases=cases(*NAMES, log=str(log))
    )
    return file, log


def finished_in(store: SqlStore, batch: str) -> dict[str, int]:
    return {result.trial_id: result.attempt for result in store.results(batch)}


def begins(log: Path) -> Counter[str]:
    """Return how often each trial began."""
    lines = [line.removeprefix("begin ") for line in lines_of(log) if not line.startswith("end ")]
    return Counter(f"{line}/0" for line in lines)


def worker_processes(folder: Path) -> Sequence[int]:
    """Return the processes that have this test's folder open or as their current one."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and str((entry / "cwd").readlink()).startswith(str(folder)):
                found.append(int(entry.name))
        except OSError:
            continue  # it ended while we looked
    return [pid for pid in found if started_at(pid)]


@pytest.mark.parametrize(("parts", "point"), POINTS)
def test_a_run_killed_at_any_point_is_resumed_to_the_undisturbed_end(tmp_path: Path, parts: str, point: int) -> None:
    file, log = write_batch(tmp_path)
    target = tmp_path / "store.db"

    killed = start(file, target, parts, moment=point)

    batch = killed.stdout.split()[0]
    assert killed.returncode == -9, killed.stderr
    await_true(lambda: not worker_processes(tmp_path), "the end of the killed run's workers")
    with open_store(str(target)) as store:
        before, begun_before = finished_in(store, batch), begins(log)
        resumed = start(file, target, parts, batch)

        assert resumed.returncode == 0, resumed.stderr
        after, record = finished_in(store, batch), store.batch(batch)
        assert set(after) == TRIALS
        assert store.counts(batch) == {Outcome.PASSED: len(TRIALS)}
        assert record.phase is Phase.SUCCEEDED
        # What was finished kept its result and did not begin again; what was not did, once.
        assert {trial: after[trial] for trial in before} == before
        assert begins(log) - begun_before == Counter(TRIALS - set(before))
        entries = list(store.audit_entries(batch))
        passed = [sealed.entry.trial_id for sealed in entries if sealed.entry.type == "TrialPassed"]
        assert verify_chain(entries, record.audit_head) == ""
        assert Counter(passed) == Counter(TRIALS)
    assert not worker_processes(tmp_path)


@pytest.mark.parametrize("parts", [PLAIN, LANGGRAPH])
def test_a_run_has_more_moments_than_are_tried(tmp_path: Path, parts: str) -> None:
    file, _ = write_batch(tmp_path)

    undisturbed = start(file, tmp_path / "store.db", parts)

    verdict, moments = undisturbed.stdout.split()[1:]
    assert verdict == "Succeeded"
    assert int(moments) > max(point for _, point in POINTS)
