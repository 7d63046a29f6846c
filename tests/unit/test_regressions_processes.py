"""Faults once found in worker processes: each test failed before its fault was mended."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from batchyard.engine.attempts import Stop
from batchyard.model.outcome import Outcome, Reason
from runner_bench import (
    Bench,
    FolderProvider,
    Seen,
    an_order,
    await_true,
    by_process,
    is_alive,
    lines_of,
    plain_zygote,
    run_all,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batchyard.runners.process_worker import Zygote


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    with plain_zygote("regressed_parts:RegressedParts") as started:
        yield started


@pytest.fixture
def bench(zygote: Zygote, tmp_path: Path) -> Bench:
    return Bench(by_process(zygote), tmp_path)


class RemovingProvider(FolderProvider):
    """Removes an attempt's folder when it is told that nobody will look at it."""

    def release_workspace(self, path: Path, *, keep: bool) -> None:
        super().release_workspace(path, keep=keep)
        if not keep:
            path.rmdir()


def is_there(pid: int) -> bool:
    """Return whether there is such a process, half ended or not."""
    return Path(f"/proc/{pid}").exists()


# -- the folder a workflow is built in ---------------------------------------------------------------------------------


def test_a_workflow_is_built_in_the_starting_folder_though_the_last_attempts_folder_is_gone(
    bench: Bench, tmp_path: Path
) -> None:
    provider = RemovingProvider(tmp_path / "workspaces")
    orders = [an_order("pass", n, combination=f"c{n}", variants=looking(n)) for n in range(3)]

    with bench.runner(provider=provider) as runner:
        seen = run_all(runner, orders)

    outputs = [seen[n].result.output for n in range(3)]
    assert [output["built in"] for output in outputs] == [str(Path.cwd())] * 3
    assert len({output["pid"] for output in outputs}) == 1
    assert len(provider.removed) == 3


def test_a_worker_that_was_started_in_a_folder_that_is_gone_runs_trials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.chdir(home)

    with plain_zygote() as zygote, Bench(by_process(zygote), tmp_path).runner() as runner:
        home.rmdir()
        seen = run_all(runner, [an_order("folder", 0), an_order("folder", 1)])

    assert [seen[n].result.outcome for n in range(2)] == [Outcome.PASSED] * 2
    assert [seen[n].result.output["cwd"] for n in range(2)] == [seen[n].result.output["named"] for n in range(2)]


def looking(number: int) -> dict[str, str]:
    """Variants of a workflow of its own whose factory needs the current folder."""
    return {"act": "pass", "build": "looks", "number": str(number)}


# -- processes whose first thread has ended ----------------------------------------------------------------------------


@pytest.mark.hostile
@pytest.mark.parametrize(("act", "processes"), [("starts-half-ended", 2), ("half-ends", 1)])
def test_a_process_whose_first_thread_has_ended_dies_with_its_children_and_that_is_confirmed(
    bench: Bench, tmp_path: Path, act: str, processes: int
) -> None:
    pids = tmp_path / "pids"
    with bench.runner(grace=0.1) as runner:
        runner.submit(an_order(act, 0, state={"pids": str(pids)}))
        await_true(lambda: len(lines_of(pids)) == processes, "the processes")
        first, *children = map(int, lines_of(pids))
        await_true(lambda: not is_alive(first), "the end of its first thread")

        runner.stop(Stop(Outcome.CANCELLED, Reason.CANCELLED))
        seen = Seen().hear(runner, lambda seen: 0 in seen.ended)

    assert (seen[0].result.outcome, seen[0].confirmed) == (Outcome.CANCELLED, True)
    assert [pid for pid in (first, *children) if is_there(pid)] == []


# -- processes besides the worker --------------------------------------------------------------------------------------


def test_a_process_that_the_factory_started_costs_no_worker(bench: Bench) -> None:
    orders = [an_order("pass", n, variants={"act": "pass", "build": "helps"}) for n in range(4)]

    with bench.runner() as runner:
        seen = run_all(runner, orders)
        outputs = [seen[n].result.output for n in range(4)]
        alive = is_there(outputs[0]["helper"])

    assert alive
    assert len({(output["pid"], output["helper"]) for output in outputs}) == 1
    await_true(lambda: not is_there(outputs[0]["helper"]), "the helper's end")


def test_a_process_that_a_trial_left_costs_its_worker_even_beside_a_factorys_own(bench: Bench, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    helped = {"act": "pass", "build": "helps"}
    orders = [
        an_order("pass", 0, variants=helped),
        an_order("leaves-process", 1, state={"pids": str(pids)}),
        an_order("pass", 2, variants=helped),
    ]

    with bench.runner() as runner:
        seen = run_all(runner, orders)

    assert [seen[n].result.outcome for n in range(3)] == [Outcome.PASSED] * 3
    assert seen[0].result.output["pid"] != seen[2].result.output["pid"]
    assert not is_there(int(lines_of(pids)[0]))
