"""What running on Ray costs: our trials on Ray, beside the same work in Ray's own tasks and on worker processes alone.

Ray's tasks run the same graph with LangGraph's own SqliteSaver: what a script of a few lines would do. Calls that do
nothing show what Ray itself costs.

Run as ``python -m benchmarks.ray_overhead [--trials N] [--rounds N] [--parallelism N]`` from the folder of the
repository. One Ray, one process; the contenders take turns in every round, so that a drift of the machine hits all
alike. Not part of ``make bench``: it needs the extra ``ray``.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from contextlib import ExitStack
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.statistic import median

from batchyard.clock import SystemClock
from batchyard.config import RayConfig
from batchyard.engine.attempts import BatchTestRunner, Ended, Order
from batchyard.environments.in_process import InProcessEnvironment
from batchyard.environments.ray import connected
from batchyard.environments.virtual import VirtualEnvironments
from batchyard.model.outcome import Outcome
from batchyard.model.parse import parse_batch_test
from batchyard.runners.leader import Limits
from batchyard.runners.process_worker import Zygote
from batchyard.runners.ray import open_ray_runner
from batchyard.runners.threads import ThreadPoolBatchTestRunner
from batchyard.runners.worker import Setup
from batchyard.workflows.checkpoint_file import read_boundaries

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[1]
PARTS = "batchyard.langgraph_parts:LangGraphParts"
ON_RAY = "trials on Ray"
ALONE = "trials on worker processes alone"
RAW = "Ray: tasks that run the same graph with LangGraph's SqliteSaver"
ACTOR_CALLS = "Ray: calls of an actor that do nothing, one at a time each"
TASKS = "Ray: tasks that do nothing, all at once"


class _Idle:
    def nothing(self) -> None: ...


def _nothing() -> None: ...


class _Trials:
    """Runs so many trials of the five-node graph and says how long that took; numbers go on from round to round."""

    def __init__(self, runner: BatchTestRunner) -> None:
        self._runner = runner
        self._next = 0

    def __call__(self, count: int) -> float:
        orders = [_order(number) for number in range(self._next, self._next + count)]
        self._next += count
        begun = time.perf_counter()
        for order in orders:
            self._runner.submit(order)
        ended = 0
        while ended < count:
            event = self._runner.next_event(None)
            if isinstance(event, Ended):
                ended += 1
                if event.result.outcome is not Outcome.PASSED:
                    raise RuntimeError(event.result.message)
        return time.perf_counter() - begun


def _order(number: int) -> Order:
    name = f"plain/case/{number}"
    return Order(
        trial_id=name,
        ordinal=number,
        combination="plain",
        variants={},
        case="case",
        repeat=number,
        attempt=1,
        epoch=1,
        thread_id=f"bench/{name}#1@1",
        state={"n": 0},
    )


def _same_work(ray: Any, folder: Path, parallelism: int) -> Callable[[int], float]:
    """Run the graph of the trials in Ray's own tasks, as many at once as there are slots, each in a reused process."""
    workflows, threads = str(ROOT / "benchmarks" / "workflows"), count(1)
    graphs: dict[str, Any] = {}  # of each of Ray's processes its own

    def invoke(number: int) -> object:
        if not graphs:
            import importlib
            import os
            import sqlite3
            import sys

            from langgraph.checkpoint.sqlite import SqliteSaver

            sys.path.insert(0, workflows)
            file = sqlite3.connect(folder / f"raw-{os.getpid()}.db", check_same_thread=False)
            file.execute("PRAGMA synchronous=NORMAL")  # as ours: it outlives its process, not the machine
            saver = SqliteSaver(file)
            graphs["graph"] = importlib.import_module("noop").build({}).compile(checkpointer=saver)
        config = {"configurable": {"thread_id": str(number)}}
        return graphs["graph"].invoke({"n": 0}, config, durability="sync")

    task = ray.remote(invoke).options(max_retries=0, num_cpus=0)

    def run(trials: int) -> float:
        begun = time.perf_counter()
        numbers = [next(threads) for _ in range(trials)]
        at_work = [task.remote(number) for number in numbers[:parallelism]]
        for number in numbers[parallelism:]:
            done, at_work = ray.wait(at_work)
            ray.get(done)
            at_work.append(task.remote(number))
        ray.get(at_work)
        return time.perf_counter() - begun

    return run


def _tasks(ray: Any) -> Callable[[int], float]:
    nothing = ray.remote(_nothing)

    def run(count: int) -> float:
        begun = time.perf_counter()
        ray.get([nothing.options(max_retries=0).remote() for _ in range(count)])
        return time.perf_counter() - begun

    return run


def _actor_calls(ray: Any, parallelism: int) -> Callable[[int], float]:
    actors = [ray.remote(_Idle).options(num_cpus=0).remote() for _ in range(parallelism)]

    def run(count: int) -> float:
        begun = time.perf_counter()
        at_work = {actor.nothing.remote(): actor for actor in actors}
        for _ in range(count - len(actors)):
            (done,), _others = ray.wait([*at_work])
            actor = at_work.pop(done)
            at_work[actor.nothing.remote()] = actor
        ray.get([*at_work])
        return time.perf_counter() - begun

    return run


def _runners(folder: Path, parallelism: int, stack: ExitStack) -> tuple[BatchTestRunner, BatchTestRunner]:
    """Return a runner on Ray and one on worker processes alone, alike but for their folders."""
    document = json.dumps({
        "apiVersion": "batchyard.dev/v1alpha1",
        "kind": "BatchTest",
        "metadata": {"name": "bench"},
        "spec": {
            "workflow": {"factory": "noop:build", "source": {"path": "."}},
            "variants": {"matrix": {"side": ["left"]}},
            "cases": [{"name": "case", "input": {"n": 0}}],
            "deadlines": {"batchSeconds": 3600, "trialSeconds": 60},
        },
    })  # fmt: skip
    batch = parse_batch_test(document, "the benchmark's own")
    clock = SystemClock()
    limits = Limits(trial=60, grace=1, environment=60, batch_until=clock.monotonic() + 3600)

    def parts_of(name: str) -> tuple[InProcessEnvironment, Setup]:
        environment = InProcessEnvironment(batch, folder / name, {})
        environment.ensure("bench")
        setup = Setup("noop:build", str(ROOT / "benchmarks" / "workflows"), str(folder / name), [], 0.5, 100, "sync")
        return environment, setup

    provider, setup = parts_of("ray")
    on_ray = open_ray_runner(
        provider=provider,
        parts=PARTS,
        setup=setup,
        limits=limits,
        parallelism=parallelism,
        batch_id="bench",
        clock=clock,
        read_boundaries=read_boundaries,
        interpreters=partial(VirtualEnvironments, PARTS, clock),
    )
    stack.enter_context(on_ray)
    zygote = Zygote(clock, PARTS)
    stack.callback(zygote.close)
    provider, setup = parts_of("alone")
    alone = ThreadPoolBatchTestRunner(
        provider=provider,
        spawn=lambda _wanted: zygote.spawn(),
        setup=setup,
        limits=limits,
        parallelism=parallelism,
        batch_id="bench",
        clock=clock,
        read_boundaries=read_boundaries,
    )
    stack.enter_context(alone)
    return on_ray, alone


def measure(trials: int, rounds: int, parallelism: int) -> dict[str, Any]:
    """Return trials, or calls, a second of each contender by round, and the medians of the rounds' ratios."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        stack.enter_context(connected(RayConfig(), parallelism + 1))
        import ray

        on_ray, alone = _runners(folder, parallelism, stack)
        contenders: dict[str, Callable[[int], float]] = {
            ON_RAY: _Trials(on_ray),
            RAW: _same_work(ray, folder, parallelism),
            ALONE: _Trials(alone),
            ACTOR_CALLS: _actor_calls(ray, parallelism),
            TASKS: _tasks(ray),
        }
        for run in contenders.values():
            run(20 * parallelism)
        paces: dict[str, list[float]] = {name: [] for name in contenders}
        names = [*contenders]
        for number in range(rounds):
            for name in names[number % len(names) :] + names[: number % len(names)]:
                paces[name].append(trials / contenders[name](trials))
    ratios = {
        name: median([ours / theirs for ours, theirs in zip(paces[ON_RAY], paces[name], strict=True)])
        for name in names
        if name != ON_RAY
    }
    added = [
        1000 * parallelism * (1 / ours - 1 / theirs) for ours, theirs in zip(paces[ON_RAY], paces[ALONE], strict=True)
    ]
    return {
        "trials": trials,
        "rounds": rounds,
        "parallelism": parallelism,
        "perSecond": {name: [round(pace, 1) for pace in paces[name]] for name in names},
        "ratioOfTrialsOnRay": {name: round(ratio, 3) for name, ratio in ratios.items()},
        "addedMillisecondsPerTrial": round(median(added), 3),
    }


def main(arguments: list[str]) -> int:
    """Measure and print one JSON document."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--trials", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--parallelism", type=int, default=2)
    given = parser.parse_args(arguments)
    print(json.dumps(measure(given.trials, given.rounds, given.parallelism), indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
