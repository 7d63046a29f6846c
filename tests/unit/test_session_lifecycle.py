"""Sessions whose process died are found and ended; a session that lives never is, however slow."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchyard.config import host_name
from batchyard.decide.sessions import Liveness, liveness
from batchyard.engine.lifecycle import SessionLifecycleManager
from batchyard.engine.ports import BatchUpdate, Owner
from batchyard.local_files import LocalLeftovers
from batchyard.local_sessions import this_process
from batchyard.model.events import EventType
from batchyard.model.outcome import Phase
from batchyard.store.opening import open_store
from batchyard.testing.fake_clock import FakeClock
from batchyard.testing.fake_store import FakeStore
from batchyard.testing.store_builders import T0, a_batch, a_result

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from pathlib import Path

    from batchyard.engine.lifecycle import Leftovers, Reaped
    from batchyard.engine.ports import BatchStore, OpenSession
    from batchyard.model.errors import RecordDamaged

HERE, MINE = "here", Owner("here", 1, "100")
RUNNING = {7: "700"}
"""The processes of this machine, and when they began."""


class NoLeftovers:
    def release(self, batch_id: str, finished: Collection[tuple[str, int]]) -> int:
        return 0


class Bench:
    """A store with one batch that a session holds, and the manager of this machine."""

    def __init__(self, owner: Owner, *, presumed_dead: float | None = None, store: BatchStore | None = None) -> None:
        self.store, self.clock = store or FakeStore(), FakeClock()
        self.store.create_batch(a_batch())
        self.opened_at = self.clock.now()
        self.session = self.store.open_session("b1", owner, self.opened_at)
        self.store.commit(self.session, results=[(a_result(0), True)], batch=BatchUpdate(Phase.RUNNING))
        self.manager = self.manager_with(NoLeftovers(), presumed_dead=presumed_dead)

    def manager_with(
        self, leftovers: Leftovers, store: BatchStore | None = None, *, presumed_dead: float | None = None
    ) -> SessionLifecycleManager:
        return SessionLifecycleManager(
            store or self.store, leftovers, self.clock,
            this=MINE, is_running=lambda pid, started: RUNNING.get(pid) == started, presumed_dead_seconds=presumed_dead,
        )  # fmt: skip

    def state(self) -> Liveness:
        return self.manager.sessions()[0][1]


@pytest.mark.proves("session-lifecycle")
def test_a_session_whose_process_died_is_ended_with_a_reason_and_an_entry() -> None:
    bench = Bench(Owner(HERE, 8, "800"))

    (reaped,) = bench.manager.reap()

    assert (reaped.session.epoch, reaped.finished, reaped.total) == (1, 1, 10)
    assert bench.store.live_owner("b1") is None
    (entry,) = [sealed.entry for sealed in bench.store.audit_entries("b1")]
    assert (entry.type, entry.details["pid"], entry.details["finished"]) == (EventType.SESSION_ABANDONED, 8, 1)
    record = bench.store.batch("b1")
    assert (record.phase, record.reason) == (Phase.RUNNING, "Interrupted")
    assert "`batchyard resume`" in record.message


def test_a_later_process_with_the_same_pid_does_not_keep_a_dead_session_alive() -> None:
    assert Bench(Owner(HERE, 7, "699")).state() is Liveness.ABANDONED


@pytest.mark.proves("session-lifecycle")
def test_a_live_session_of_this_machine_is_never_ended_however_long_it_is_silent() -> None:
    bench = Bench(Owner(HERE, 7, "700"), presumed_dead=1)
    bench.clock.advance(10_000_000)

    assert bench.state() is Liveness.ALIVE
    assert list(bench.manager.reap()) == []
    bench.store.heartbeat(bench.session, bench.clock.now())


def test_a_silent_session_of_another_machine_is_told_but_not_ended_by_itself() -> None:
    bench = Bench(Owner("there", 8, "800"))
    before = bench.state()
    bench.clock.advance(10_000_000)

    assert (before, bench.state()) == (Liveness.ALIVE, Liveness.SILENT)
    assert list(bench.manager.reap()) == []


def test_a_silent_session_of_another_machine_is_ended_after_the_silence_that_was_asked_for() -> None:
    bench = Bench(Owner("there", 8, "800"), presumed_dead=600)
    bench.clock.advance(599)
    early = list(bench.manager.reap())
    bench.clock.advance(1)

    late = list(bench.manager.reap())

    assert (len(early), len(late)) == (0, 1)


@pytest.mark.proves("bug-21")
def test_heartbeats_keep_a_slow_session_of_another_machine_and_their_absence_ends_it(tmp_path: Path) -> None:
    with open_store(str(tmp_path / "store.db")) as store:
        bench = Bench(Owner("there", 8, "800"), presumed_dead=600, store=store)
        reaped: list[Reaped] = []
        for _ in range(3):
            bench.clock.advance(599)
            store.heartbeat(bench.session, bench.clock.now())
            reaped += bench.manager.reap()
        bench.clock.advance(600)

        (ended,) = bench.manager.reap()

    assert reaped == []
    assert ended.session.epoch == bench.session.epoch


def test_a_session_that_went_on_elsewhere_meanwhile_is_passed_by() -> None:
    bench = Bench(Owner(HERE, 8, "800"))

    class TakenOver(FakeStore):
        def open_sessions(self, damaged: list[RecordDamaged] | None = None) -> Sequence[OpenSession]:
            found = super().open_sessions(damaged)
            self.open_session("b1", Owner("there", 9, "900"), bench.clock.now())
            return found

    stale = TakenOver()
    stale.__dict__.update(bench.store.__dict__)
    manager = SessionLifecycleManager(
        stale, NoLeftovers(), bench.clock, this=MINE, is_running=lambda _pid, _started: False
    )

    assert list(manager.reap()) == []
    assert bench.store.live_owner("b1") == (Owner("there", 9, "900"), bench.clock.now())


def test_nobody_can_go_on_with_a_batch_before_what_its_dead_session_left_is_gone() -> None:
    bench = Bench(Owner(HERE, 8, "800"))
    owners: list[object] = []

    class Watched:
        def release(self, batch_id: str, finished: Collection[tuple[str, int]]) -> int:
            owners.append(bench.store.live_owner(batch_id))
            return 0

    bench.manager_with(Watched()).reap()

    assert owners == [(MINE, bench.clock.now())]
    assert bench.store.live_owner("b1") is None


def test_what_a_killed_reaper_did_not_remove_goes_with_the_next(tmp_path: Path) -> None:
    bench = Bench(Owner(HERE, 8, "800"))
    folder = tmp_path / "workspaces" / "b1" / "bm25_one_0_1"
    folder.mkdir(parents=True)

    class Killed:
        def release(self, batch_id: str, finished: Collection[tuple[str, int]]) -> int:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bench.manager_with(Killed()).reap()
    (reaped,) = bench.manager_with(LocalLeftovers(tmp_path)).reap()

    assert (reaped.session.owner, reaped.folders) == (MINE, 1)
    assert not folder.exists()


def test_a_reaper_that_was_taken_over_itself_removes_nothing() -> None:
    bench = Bench(Owner(HERE, 8, "800"))
    released: list[str] = []

    class Released:
        def release(self, batch_id: str, finished: Collection[tuple[str, int]]) -> int:
            released.append(batch_id)
            return 0

    class TakenOver(FakeStore):
        def finished_ordinals(self, batch_id: str) -> Iterator[int]:
            self.open_session(batch_id, Owner("there", 9, "900"), bench.clock.now())
            return super().finished_ordinals(batch_id)

    stale = TakenOver()
    stale.__dict__.update(bench.store.__dict__)

    assert list(bench.manager_with(Released(), stale).reap()) == []
    assert released == []


def test_a_session_that_died_after_the_verdict_changes_nothing_of_it() -> None:
    bench = Bench(Owner(HERE, 8, "800"))
    bench.store.commit(bench.session, batch=BatchUpdate(Phase.SUCCEEDED, message="done", completed_at=T0))

    bench.manager.reap()

    record = bench.store.batch("b1")
    assert (record.phase, record.reason, record.message) == (Phase.SUCCEEDED, "", "done")
    assert bench.store.live_owner("b1") is None


def test_only_the_named_batch_is_looked_after_if_one_is_named() -> None:
    bench = Bench(Owner(HERE, 8, "800"))

    assert list(bench.manager.reap("another")) == []
    assert len(bench.manager.reap("b1")) == 1


def test_what_unfinished_attempts_left_goes_and_what_finished_ones_kept_stays(tmp_path: Path) -> None:
    batch = tmp_path / "workspaces" / "b1"
    for name in ("bm25_one_0_1", "bm25_two_0_1", "bm25_two_0_2"):
        (batch / name).mkdir(parents=True)
        (batch / name / "output.log").write_text("words")

    removed = LocalLeftovers(tmp_path).release("b1", [("bm25/one/0", 1), ("bm25/two/0", 1)])

    assert removed == 1
    assert sorted(folder.name for folder in batch.iterdir()) == ["bm25_one_0_1", "bm25_two_0_1"]


def test_a_batch_without_kept_files_leaves_no_folder(tmp_path: Path) -> None:
    (tmp_path / "workspaces" / "b1" / "bm25_one_0_1").mkdir(parents=True)

    LocalLeftovers(tmp_path).release("b1", [])

    assert not (tmp_path / "workspaces" / "b1").exists()
    assert LocalLeftovers(tmp_path).release("never", []) == 0


def test_a_process_is_of_this_host_only_within_its_pid_namespace() -> None:
    on_the_machine, inside = this_process(space=lambda: 0), this_process(space=lambda: 7)

    assert (on_the_machine.host, inside.host) == (host_name(), f"{host_name()}/7")
    assert Bench(replace(inside, host=f"{HERE}/7")).state() is Liveness.ALIVE


@given(silence=st.floats(0, 1e7), silent=st.floats(1, 1e6), presumed=st.none() | st.floats(1, 1e7), there=st.booleans())
def test_on_its_own_machine_only_the_process_decides_and_elsewhere_only_the_silence(
    silence: float, silent: float, presumed: float | None, there: bool
) -> None:
    def found(*, here: bool) -> Liveness:
        return liveness(
            runs_here=here, is_its_process=there, silence_seconds=silence,
            silent_seconds=silent, presumed_dead_seconds=presumed,
        )  # fmt: skip

    assert found(here=True) is (Liveness.ALIVE if there else Liveness.ABANDONED)
    assert (found(here=False) is Liveness.ABANDONED) is (presumed is not None and silence >= presumed)


@pytest.mark.parametrize("moment", [0.0, 29.0])
def test_a_session_of_another_machine_that_was_just_heard_of_is_alive(moment: float) -> None:
    bench = Bench(Owner("there", 8, "800"))

    bench.clock.advance(moment)

    assert bench.state() is Liveness.ALIVE
