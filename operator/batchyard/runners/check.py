"""The check before anything is made: does the workflow build for every combination, do the inputs fit its schema?

It runs in workers, since building a workflow runs the user's code.
"""

from __future__ import annotations

import os
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from batchyard.model.errors import EnvironmentUnavailable, Fault
from batchyard.runners.shared_names import SharedNames
from batchyard.runners.workers import LedWorker, Message

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from batchyard.clock import Clock
    from batchyard.engine.marks import ShareableNode
    from batchyard.engine.ports import EnvironmentProvider, RuntimeEnvironment
    from batchyard.model.trial import JSON, Combination
    from batchyard.runners.worker import Setup

_INPUTS_A_MESSAGE = 500
_LOOK_SECONDS = 0.5


def check_workflow(
    spawn: Callable[[RuntimeEnvironment], LedWorker],
    setup: Setup,
    provider: EnvironmentProvider,
    combinations: Sequence[Combination],
    inputs: Sequence[tuple[str, JSON]],
    *,
    seconds: float,
    clock: Clock,
    ended: Callable[[], bool] = lambda: False,
    declared: Sequence[ShareableNode] = (),
) -> list[Fault]:
    """Return every fault that shows when all combinations are built, each in its own environment.

    ``inputs`` are (path in the file, state), checked against the schema if there is one; ``declared`` are nodes that
    must be in the workflow. The check as a whole may take
    ``seconds``, and is given up soon after ``ended`` says so. Raises ``EnvironmentUnavailable`` if it cannot be made.
    """
    faults: dict[str, Fault] = {}
    shared = SharedNames(declared)
    for index, (runtime, members, asked) in enumerate(
        workers_of_environments(spawn, setup, provider, combinations, seconds=seconds, clock=clock, ended=ended)
    ):
        # The same fault in every combination is one fault; the inputs are the same for all of them.
        for fault in _faults(asked, runtime, members, inputs if index == 0 else ()):
            faults.setdefault(f"{fault.path} {fault.message}", fault)
        if declared and not faults:
            shared.ask(asked, members)
    return list(faults.values()) or list(shared.faults())


def workers_of_environments(
    spawn: Callable[[RuntimeEnvironment], LedWorker],
    setup: Setup,
    provider: EnvironmentProvider,
    combinations: Sequence[Combination],
    *,
    seconds: float,
    clock: Clock,
    ended: Callable[[], bool] = lambda: False,
) -> Iterator[tuple[RuntimeEnvironment, Sequence[Combination], AskedWorker]]:
    """Yield each environment that combinations run in, those combinations, and a worker that is to be set up for it.

    All together may take ``seconds``. Whoever asks a worker too much hears ``EnvironmentUnavailable``.
    """
    until = clock.monotonic() + seconds
    groups: dict[str, tuple[RuntimeEnvironment, list[Combination]]] = {}
    for combination in combinations:
        runtime = provider.runtime(combination)
        groups.setdefault(runtime.key, (runtime, []))[1].append(combination)
    wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
    try:
        for runtime, members in groups.values():
            worker = spawn(runtime)
            try:
                yield runtime, members, AskedWorker(worker, setup, until, seconds, wake, clock, ended)
            finally:
                worker.close()
    finally:
        os.close(wake)


class AskedWorker:
    """One worker, and how long it may take to answer."""

    def __init__(
        self,
        worker: LedWorker,
        setup: Setup,
        until: float,
        seconds: float,
        wake: int,
        clock: Clock,
        ended: Callable[[], bool],
    ) -> None:
        self._worker = worker
        self._setup = setup
        self._until = until
        self._seconds = seconds
        self._wake = wake
        self._clock = clock
        self._ended = ended

    @property
    def setup(self) -> Setup:
        """Return what the worker is set up with, but for its environment."""
        return self._setup

    def set_up(self, runtime: RuntimeEnvironment) -> str:
        """Have the worker make ready for an environment; return what is wrong."""
        setup = replace(self._setup, env={**runtime.env})
        return str(self.ask({"op": "setup", "setup": asdict(setup)})["error"])

    def ask(self, message: Mapping[str, Any]) -> Any:
        """Return the worker's answer. Raises ``EnvironmentUnavailable`` if there will be none."""
        self._worker.send(message)
        reply = None
        while reply is None and not self._ended() and (now := self._clock.monotonic()) < self._until:
            reply = self._worker.wait(min(self._until, now + _LOOK_SECONDS), self._wake)
        if isinstance(reply, Message):
            return reply.body
        if reply is None:
            self._worker.kill()
            if self._ended():
                raise EnvironmentUnavailable("the check of the workflow was given up")
            raise EnvironmentUnavailable(
                f"importing and building the workflow took over {self._seconds:g} s; "
                "raise spec.deadlines.environmentSeconds"
            )
        words = self._worker.last_words()
        raise EnvironmentUnavailable(f"the worker that builds the workflow died; its last words: {words!r}")


def _faults(
    asked: AskedWorker,
    runtime: RuntimeEnvironment,
    combinations: Sequence[Combination],
    inputs: Sequence[tuple[str, JSON]],
) -> list[Fault]:
    if error := asked.set_up(runtime):
        return [Fault("spec", "", error)]
    found: list[Fault] = []
    for combination in combinations:
        error = str(asked.ask({"op": "prepare", "variants": dict(combination.variants)})["error"])
        if error:
            found.append(Fault("spec.workflow.factory", asked.setup.factory, error))
    if asked.setup.input_schema and not found:
        for start in range(0, len(inputs), _INPUTS_A_MESSAGE):
            part = inputs[start : start + _INPUTS_A_MESSAGE]
            found += [Fault(**fault) for fault in asked.ask({"op": "check", "inputs": part})["faults"]]
    return found
