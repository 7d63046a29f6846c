"""What runs inside a Ray actor, without Ray: what it tells, what it keeps to itself, and that nothing of it is left."""

from __future__ import annotations

import os
import signal
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

import batchyard
from batchyard.engine.attempts import Ended, Order, RunnerEvent, Started, Stop
from batchyard.linux import children, descendants
from batchyard.model.outcome import Outcome, Reason
from batchyard.runners.ray_slot import SlotHost, SlotPlan
from batchyard.runners.worker import Setup
from package_bench import a_wheel
from plain_parts import FOLDER
from ray_bench import interpreters, no_boundaries
from runner_bench import CLOCK, FolderProvider, an_order, await_true, limits, lines_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def slot(folder: Path, *, batch: float = 600.0, provider: FolderProvider | None = None) -> Iterator[SlotHost]:
    """A slot whose files are in ``folder``; afterwards not one of its processes is left."""
    before = set(descendants(os.getpid()))
    plan = SlotPlan(
        batch_id="b",
        parts="plain_parts:PlainParts",
        provider=provider or FolderProvider(folder / "workspaces"),
        setup=Setup("acts", "", str(folder / "checkpoints"), [], 0.5, 100, "sync"),
        limits=limits(),
        batch_until=CLOCK.now() + timedelta(seconds=batch),
        read_boundaries=no_boundaries,
        interpreters=interpreters(folder),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(FOLDER))
        host = SlotHost(7, plan)
        try:
            yield host
        finally:
            host.close()
    await_true(lambda: set(descendants(os.getpid())) <= before, "every process of the slot to be gone")


def run(host: SlotHost, order: Order) -> list[RunnerEvent]:
    """Everything that is told of an attempt."""
    events = [*host.run(order)]
    while not isinstance(events[-1], Ended):
        events += host.more()
    return events


def end_of(host: SlotHost, order: Order) -> Ended:
    *_, last = run(host, order)
    assert isinstance(last, Ended)
    return last


def test_a_quick_attempt_is_told_in_one_answer_by_a_worker_named_after_the_slot(tmp_path: Path) -> None:
    with slot(tmp_path) as host:
        for number in range(20):  # the first starts the worker, and on a machine that is busy not every one is quick
            events = [*host.run(an_order("pass", number))]
            if len(events) == 2:
                break
            while not isinstance(events[-1], Ended):
                events += host.more()
    began, over = events

    assert isinstance(began, Started)
    assert isinstance(over, Ended)
    assert over.result.outcome is Outcome.PASSED
    assert over.result.worker == "e1-s7"


def test_it_says_which_version_it_is(tmp_path: Path) -> None:
    with slot(tmp_path) as host:
        assert host.version() == batchyard.__version__


def test_secrets_of_its_own_machine_are_masked_in_what_it_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "file").write_text("mounted-123456\n")
    monkeypatch.setenv("BATCHYARD_SECRET_FILES", str(tmp_path / "secrets"))
    monkeypatch.setenv("MODEL_API_KEY", "inherited-123456")
    text = "refused: inherited-123456, mounted-123456"

    with slot(tmp_path) as host:
        end = end_of(host, an_order("raises", 0, state={"text": text}))

    assert "refused: [redacted], [redacted]" in end.result.message


def test_trials_have_neither_rays_token_nor_its_debugger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["RAY_AUTH_TOKEN", "PYTHONBREAKPOINT"]
    for name in names:
        monkeypatch.setenv(name, "of-ray")

    with slot(tmp_path) as host:
        end = end_of(host, an_order("environment", 0, state={"names": names}))

    assert isinstance(end.result.output, dict)
    assert end.result.output["seen"] == {name: f"${name}" for name in names}


def test_trials_find_no_signal_blocked_however_ray_started_the_actor(tmp_path: Path) -> None:
    started = tmp_path / "started"
    state = {"started": str(started), "until": str(tmp_path / "until")}
    of_other_tests = {*descendants(os.getpid())}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        with slot(tmp_path) as host:
            assert isinstance(host.run(an_order("waits", 0, state=state))[0], Started)
            await_true(lambda: lines_of(started), "the node")
            its_own = [pid for pid in descendants(os.getpid()) if pid not in of_other_tests]
            parents = [pid for pid in its_own if children(pid)]
            masks = {pid: _blocked(pid) for pid in its_own}
            (tmp_path / "until").touch()
            host.more()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

    (worker,) = (pid for pid in masks if pid not in parents)
    assert masks[worker] == 0
    assert all(masks[pid] for pid in parents), "its zygote and keeper were to inherit a mask"


def _blocked(pid: int) -> int:
    with open(f"/proc/{pid}/status") as status:  # noqa: PTH123
        return next(int(line.split()[1], 16) for line in status if line.startswith("SigBlk"))


def test_after_a_stop_nothing_begins(tmp_path: Path) -> None:
    with slot(tmp_path) as host:
        host.stop(Stop(Outcome.CANCELLED, Reason.CANCELLED))

        assert end_of(host, an_order("pass", 0)).result.outcome is Outcome.NOT_RUN


def test_after_the_batchs_deadline_nothing_begins(tmp_path: Path) -> None:
    with slot(tmp_path, batch=-1) as host:
        assert end_of(host, an_order("pass", 0)).result.outcome is Outcome.NOT_RUN


def test_it_makes_the_folders_that_its_node_does_not_have(tmp_path: Path) -> None:
    with slot(tmp_path / "new"):
        assert (tmp_path / "new" / "checkpoints").is_dir()
        assert (tmp_path / "new" / "workspaces").is_dir()


def test_an_actor_gives_each_combination_the_packages_it_asks_for(tmp_path: Path) -> None:
    packages = {name: (str(a_wheel(tmp_path, version=name)),) for name in ("1.0", "2.0")}
    offline = {name: {"UV_OFFLINE": "1"} for name in packages}
    provider = FolderProvider(tmp_path / "workspaces", offline, packages=packages)
    orders = [an_order("quotes", number, combination=name) for number, name in enumerate(("1.0", "2.0", "1.0"))]

    with slot(tmp_path, provider=provider) as host:
        found = [end_of(host, order).result.output for order in orders]

    assert [output["text"] for output in found if isinstance(output, dict)] == ["1.0", "2.0", "1.0"]
