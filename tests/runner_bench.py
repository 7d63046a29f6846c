"""A bench for runners: opens one on plain parts in a folder, runs orders to their end, and looks at processes."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from batchyard.clock import SystemClock
from batchyard.engine.attempts import Ended, Late, Order, Started
from batchyard.engine.ports import RuntimeEnvironment
from batchyard.linux import started_at
from batchyard.model.outcome import Outcome
from batchyard.runners.leader import Limits
from batchyard.runners.process_worker import Zygote
from batchyard.runners.thread_worker import ThreadWorker
from batchyard.runners.threads import ThreadPoolBatchTestRunner
from batchyard.runners.worker import Setup
from batchyard.runners.workers import Wanted
from plain_parts import FOLDER, PlainParts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from batchyard.engine.attempts import BatchTestRunner
    from batchyard.model.trial import JSON, Combination
    from batchyard.runners.leader import Spawn
    from batchyard.runners.workers import LedWorker

CLOCK = SystemClock()
LONG = 30.0
"""Seconds that anything in a test may take before the test gives up; never slept through."""


@contextmanager
def plain_zygote(parts: str = "plain_parts:PlainParts") -> Iterator[Zygote]:
    """A zygote that finds the tests' own modules."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(FOLDER))
        zygote = Zygote(CLOCK, parts)  # and whichever takes its place
        try:
            yield zygote
        finally:
            zygote.close()


def by_process(zygote: Zygote) -> Spawn:
    """Spawn worker processes."""
    return lambda _wanted: zygote.spawn()


def by_thread() -> Spawn:
    """Spawn worker threads on plain parts."""
    return lambda wanted: ThreadWorker(PlainParts(), wanted.late, CLOCK)


@dataclass
class FolderProvider:
    """An environment of folders; ``env`` gives each combination its values. Notes what was kept and what removed."""

    folder: Path
    env: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    memory_bytes: int | None = None
    packages: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    kept: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    broken: str = ""

    def ensure(self, batch_id: str) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)

    def runtime(self, combination: Combination) -> RuntimeEnvironment:
        env = self.env.get(combination.name, {})
        packages = self.packages.get(combination.name, ())
        return RuntimeEnvironment(str((sorted(env.items()), packages)), env, self.memory_bytes, packages)

    def workspace(self, batch_id: str, trial_id: str, attempt: int) -> Path:
        if self.broken:
            raise OSError(self.broken)
        path = self.folder / f"{trial_id.replace('/', '_')}_{attempt}"
        path.mkdir(parents=True)
        return path

    def release_workspace(self, path: Path, *, keep: bool) -> None:
        (self.kept if keep else self.removed).append(path.name)

    def release(self, batch_id: str) -> None:
        """Leave everything for the test to look at."""


def an_order(act: str = "pass", ordinal: int = 0, /, **changes: object) -> Order:
    """An order whose ``act`` node does what ``plain_acts`` says; other state by ``state=``."""
    state: dict[str, JSON] = {"name": f"trial-{ordinal}"}
    given = changes.pop("state", {})
    assert isinstance(given, dict)
    fields: dict[str, object] = {
        "trial_id": f"{act}/case/{ordinal}",
        "ordinal": ordinal,
        "combination": act,
        "variants": {"act": act},
        "case": "case",
        "repeat": ordinal,
        "attempt": 1,
        "epoch": 1,
        "thread_id": f"b/{act}/case/{ordinal}#1@1",
        "state": {**state, **given},
        **changes,
    }
    return Order(**fields)  # type: ignore[arg-type]


@dataclass
class Seen:
    """What a runner told, in the order it came."""

    started: list[Started] = field(default_factory=list)
    ended: dict[int, Ended] = field(default_factory=dict)
    late: list[Late] = field(default_factory=list)

    def __getitem__(self, ordinal: int) -> Ended:
        return self.ended[ordinal]

    def hear(self, runner: BatchTestRunner, until: Callable[[Seen], bool], what: str = "what was awaited") -> Seen:
        """Take events until the condition holds."""
        give_up = CLOCK.monotonic() + LONG
        while not until(self):
            heard = runner.next_event(0.5)
            if heard is not None:
                give_up = CLOCK.monotonic() + LONG
            assert CLOCK.monotonic() < give_up, f"{what} did not come: {len(self.started)} began, {self.ended}"
            match heard:
                case Started() as started:
                    self.started.append(started)
                case Ended() as ended:
                    assert ended.result.ordinal not in self.ended, "an attempt ended twice"
                    self.ended[ended.result.ordinal] = ended
                case Late() as late:
                    self.late.append(late)
        return self


def run_all(runner: BatchTestRunner, orders: Iterable[Order]) -> Seen:
    """Submit the orders and return what was seen until all had ended."""
    waiting = list(orders)
    for order in waiting:
        runner.submit(order)
    return Seen().hear(runner, lambda seen: len(seen.ended) == len(waiting), f"the end of {len(waiting)} attempts")


def limits(**changes: Any) -> Limits:
    """Limits that no test meets, but for the ``changes``; ``batch`` counts from now."""
    batch = changes.pop("batch", 600.0) or 0.0
    fields: dict[str, Any] = {"trial": LONG, "grace": 0.2, "environment": LONG, "node": None, **changes}
    return Limits(batch_until=CLOCK.monotonic() + batch, **fields)


@dataclass
class Bench:
    """Opens runners on one way to make workers."""

    spawn: Spawn
    folder: Path
    factory: str = "acts"
    evaluators: list[dict[str, JSON]] = field(default_factory=list)

    @contextmanager
    def runner(
        self, parallelism: int = 1, *, provider: FolderProvider | None = None, **changes: Any
    ) -> Iterator[ThreadPoolBatchTestRunner]:
        """Open a runner under ``limits(**changes)``."""
        with ThreadPoolBatchTestRunner(
            provider=provider or FolderProvider(self.folder / "workspaces"),
            spawn=self.spawn,
            setup=Setup(self.factory, "", str(self.folder), self.evaluators, 0.5, 100, "sync"),
            limits=limits(**changes),
            parallelism=parallelism,
            batch_id="b",
            clock=CLOCK,
            read_boundaries=lambda _file, _thread: (),
        ) as runner:
            yield runner

    def worker(self) -> LedWorker:
        """Make one worker by itself."""
        plain = RuntimeEnvironment("")
        return self.spawn(Wanted(plain, CLOCK.monotonic() + LONG, lambda: False, lambda _order, _outcome: None))


def await_true(condition: Callable[[], object], what: str, seconds: float = LONG) -> None:
    """Return once the condition holds; fail if it does not within so many seconds."""
    give_up = CLOCK.monotonic() + seconds
    pause = threading.Event()
    while not condition():
        assert CLOCK.monotonic() < give_up, f"never came true: {what}"
        pause.wait(0.005)


def lines_of(path: Path) -> list[str]:
    """Return the file's lines, none if it is not there yet."""
    return path.read_text().splitlines() if path.exists() else []


def is_alive(pid: int) -> bool:
    """Return whether the process runs (a zombie does not)."""
    return started_at(pid) != ""


def await_all_dead(pids: Iterable[int]) -> None:
    """Wait until none of the processes runs."""
    waiting = list(pids)
    await_true(lambda: not any(map(is_alive, waiting)), f"the end of {waiting}")


def await_end_of_theirs(pids: Path, least: int) -> None:
    """Wait until none runs of the processes that left their pids there: at least so many, a grandchild among them."""
    left = list(pids.iterdir())
    assert len(left) >= least
    assert any("grandchild" in file.name for file in left)
    await_all_dead(int(file.read_text()) for file in left)


TRIAL, GRACE = 0.5, 0.2
"""The limits that hostile acts are run under, in seconds."""


def run_hostile(bench: Bench, act: str, *, trial: float = TRIAL, **state: JSON) -> Ended:
    """Run the act between two plain trials on one worker; return its end, having seen that the others passed."""
    orders = [an_order("pass", 0), an_order(act, 1, state=state), an_order("pass", 2), an_order("pass", 3)]
    with bench.runner(1, trial=trial, grace=GRACE) as runner:
        seen = run_all(runner, orders)
    assert [seen[n].result.outcome for n in (0, 2, 3)] == [Outcome.PASSED] * 3
    return seen[1]
