"""What running on Ray costs: our trials on Ray, beside the same work in Ray's own tasks and on worker processes alone.

Ray's tasks run the same graph with LangGraph's own SqliteSaver: what a script of a few lines would do. Calls that do
nothing show what Ray itself costs. With ``--bare``, tasks also run the graph without any checkpoints, beside trials of
ours that keep only their end (``durability: exit``), the least that a BatchTest can ask for.

Run as ``python -m benchmarks.ray_overhead [--trials N] [--rounds N] [--parallelism N] [--bare]`` from the folder of the
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
ENDS_ON_RAY = "trials on Ray that keep their end only"
ALONE = "trials on worker processes alone"
RAW = "Ray: tasks that run the same graph with LangGraph's SqliteSaver"
BARE = "Ray: tasks with the bare graph, without checkpoints"
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


def _same_work(ray: Any, folder: Path, parallelism: int, *, bare: bool = False) -> Callable[[int], float]:
    """Run the graph of the trials in Ray's own tasks, as many at once as there are slots, each in a reused process.

    If ``bare``, nothing is kept of it.
    """
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
            graph = importlib.import_module("noop").build({})
            if bare:
                graphs["graph"] = graph.compile()
            else:
                file = sqlite3.connect(folder / f"raw-{os.getpid()}.db", check_same_thread=False)
                file.execute("PRAGMA synchronous=NORMAL")  # as ours: it outlives its process, not the machine
                graphs["graph"] = graph.compile(checkpointer=SqliteSaver(file))
        if bare:
            return graphs["graph"].invoke({"n": 0})
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


class _Bench:
    """Opens runners that are alike but for where they run, how much they keep, and their folders."""

    def __init__(self, folder: Path, parallelism: int, stack: ExitStack) -> None:
        self._folder, self._parallelism, self._stack = folder, parallelism, stack
        self._clock = SystemClock()
        self._batch = parse_batch_test(_document(), "the benchmark's own")
        until = self._clock.monotonic() + 3600
        self._limits = Limits(trial=60, grace=1, environment=60, batch_until=until)

    def on_ray(self, durability: str = "sync") -> _Trials:
        """Return trials on Ray."""
        provider, setup = self._parts_of(f"ray-{durability}", durability)
        runner = open_ray_runner(
            provider=provider,
            parts=PARTS,
            setup=setup,
            limits=self._limits,
            parallelism=self._parallelism,
            batch_id="bench",
            clock=self._clock,
            read_boundaries=read_boundaries,
            interpreters=partial(VirtualEnvironments, PARTS, self._clock),
        )
        return _Trials(self._stack.enter_context(runner))

    def alone(self) -> _Trials:
        """Return trials on worker processes alone."""
        zygote = Zygote(self._clock, PARTS)
        self._stack.callback(zygote.close)
        provider, setup = self._parts_of("alone", "sync")
        runner = ThreadPoolBatchTestRunner(
            provider=provider,
            spawn=lambda _wanted: zygote.spawn(),
            setup=setup,
            limits=self._limits,
            parallelism=self._parallelism,
            batch_id="bench",
            clock=self._clock,
            read_boundaries=read_boundaries,
        )
        return _Trials(self._stack.enter_context(runner))

    def _parts_of(self, name: str, durability: str) -> tuple[InProcessEnvironment, Setup]:
        environment, own = InProcessEnvironment(self._batch, self._folder / name, {}), str(self._folder / name)
        environment.ensure("bench")
        return environment, Setup("noop:build", str(ROOT / "benchmarks" / "workflows"), own, [], 0.5, 100, durability)


def _document() -> str:
    return json.dumps({
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


def measure(trials: int, rounds: int, parallelism: int, *, bare: bool) -> dict[str, Any]:
    """Return trials, or calls, a second of each contender by round, and the medians of the rounds' ratios."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        # The actors that are not at work only wait.
        stack.enter_context(connected(RayConfig(), (2 if bare else 1) * parallelism + 1))
        import ray

        bench = _Bench(folder, parallelism, stack)
        contenders: dict[str, Callable[[int], float]] = {
            ON_RAY: bench.on_ray(),
            RAW: _same_work(ray, folder, parallelism),
            ALONE: bench.alone(),
            ACTOR_CALLS: _actor_calls(ray, parallelism),
            TASKS: _tasks(ray),
        }
        if bare:
            contenders[ENDS_ON_RAY] = bench.on_ray("exit")
            contenders[BARE] = _same_work(ray, folder, parallelism, bare=True)
        for run in contenders.values():
            run(20 * parallelism)
        paces: dict[str, list[float]] = {name: [] for name in contenders}
        names = [*contenders]
        for number in range(rounds):
            for name in names[number % len(names) :] + names[: number % len(names)]:
                paces[name].append(trials / contenders[name](trials))

    def ratio(ours: str, theirs: str) -> float:
        return round(median([one / other for one, other in zip(paces[ours], paces[theirs], strict=True)]), 3)

    added = [
        1000 * parallelism * (1 / ours - 1 / theirs) for ours, theirs in zip(paces[ON_RAY], paces[ALONE], strict=True)
    ]
    return {
        "trials": trials,
        "rounds": rounds,
        "parallelism": parallelism,
        "perSecond": {name: [round(pace, 1) for pace in paces[name]] for name in names},
        "ratioOfTrialsOnRay": {name: ratio(ON_RAY, name) for name in names if name != ON_RAY},
        **({"ratioOfEndsOnRay": {BARE: ratio(ENDS_ON_RAY, BARE)}} if bare else {}),
        "addedMillisecondsPerTrial": round(median(added), 3),
    }


def main(arguments: list[str]) -> int:
    """Measure and print one JSON document."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--trials", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--parallelism", type=int, default=2)
    parser.add_argument("--bare", action="store_true")
    given = parser.parse_args(arguments)
    print(json.dumps(measure(given.trials, given.rounds, given.parallelism, bare=given.bare), indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
