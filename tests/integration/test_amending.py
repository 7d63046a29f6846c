"""A batch that amends a finished one: what would run the same again is carried over, the rest runs, all is judged."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from batch_bench import cases
from batchyard.cli.earlier import changed_since, write_change
from batchyard.engine.carrying import CarryOver, amending, reusing
from batchyard.engine.forks import bound
from batchyard.engine.settings import setting_of
from batchyard.engine.sources import LoadedBatch
from batchyard.local_files import checkpoints_folder, files_folder
from batchyard.model.errors import SpecInvalid
from batchyard.model.outcome import Outcome, Phase
from batchyard.store.carrying import SqlPastResults
from batchyard.store.integrity import check_integrity

if TYPE_CHECKING:
    from batch_bench import BatchBench, Ran
    from batchyard.compose import Running

CHILD = Path(__file__).parents[1] / "kill_child.py"
FACTORY = "noop:build"


def known(bench: BatchBench, **spec: Any) -> LoadedBatch:
    """Return a batch of two combinations and two cases, changed as ``spec`` says, with what it runs with."""
    plain = {"variants": {"matrix": {"side": ["left", "right"]}}, "cases": cases("one", "two")}
    loaded = bench.load(spec.pop("factory", FACTORY), **{**plain, **spec})
    return replace(loaded, setting=setting_of(loaded, "worker processes"))


def amended(bench: BatchBench, reference: str = "bench", **spec: Any) -> Ran:
    return bench.run(amending(bench.store, known(bench, **spec), reference))


def begun(ran: Ran) -> set[str]:
    """Return the trials that a session ran."""
    return {event.trial_id for event in ran.events if event.type == "TrialStarted"}


def told_carried(ran: Ran) -> list[str]:
    return [sealed.entry.trial_id for sealed in ran.audited("TrialCarriedOver")]


def judged(ran: Ran) -> dict[str, Any]:
    """Return what a batch came to, but for what measures time."""
    status = ran.record.status
    rows = [
        {name: row[name] for name in ("name", "passed", "failed", "score", "successRate")}
        for row in status["combinations"]
    ]
    counts = {name: count for name, count in status["trials"].items() if name != "carriedOver"}
    return {"phase": ran.record.phase, "rows": rows, "counts": counts, "best": status["best"], "gate": status["gate"]}


def test_only_new_cases_variants_and_repeats_are_run(bench: BatchBench) -> None:
    bench.run(known(bench))
    more: dict[str, Any] = {
        "variants": {"matrix": {"side": ["up", "left", "right"]}},
        "cases": cases("zero", "one", "two"),
        "repeats": 2,
    }

    second = amended(bench, **more)

    old = {f"{side}/{case}/0" for side in ("left", "right") for case in ("one", "two")}
    assert set(told_carried(second)) == old
    assert begun(second) == {trial.id for trial in known(bench, **more).plan} - old
    assert second.record.status["trials"]["carriedOver"] == 4
    assert second.outcomes == {Outcome.PASSED: 18}


def test_the_whole_is_judged_as_one_that_ran_anew(bench: BatchBench) -> None:
    scored: dict[str, Any] = {
        "evaluation": {"evaluators": [{"name": "jsonPath", "config": {"path": "$.variants.side", "equals": "left"}}]},
        "gate": {"minScore": 0.9, "baseline": {"combination": "right", "confidence": 0.9}},
    }
    more: dict[str, Any] = {
        **scored,
        "cases": [*cases("one", "two"), {"name": "three", "input": {}, "weight": 4.0}],
        "repeats": 2,
    }
    bench.run(known(bench, **scored))

    together = amended(bench, **more)
    anew = bench.run(known(bench, **more))

    assert told_carried(together)
    assert judged(together) == judged(anew)
    assert [(one.trial_id, one.outcome, one.score, one.weight) for one in together.finals] == [
        (one.trial_id, one.outcome, one.score, one.weight) for one in anew.finals
    ]


def test_a_carried_result_is_the_row_it_was_and_says_where_it_ran(bench: BatchBench) -> None:
    first = bench.run(known(bench))

    second = amended(bench, cases=[{**cases("two")[0], "weight": 5.0}, *cases("one")])

    was, found = first.of("right", "two"), second.of("right", "two")
    assert found == replace(was, ordinal=found.ordinal, weight=5.0, epoch=1)
    assert found.output == was.output
    (told,) = [one.entry for one in second.audited("TrialCarriedOver") if one.entry.trial_id == "right/two/0"]
    assert told.details == {"outcome": "Passed", "batch": first.record.id, "thread": was.thread_id}
    assert check_integrity(bench.store, first.finals[0].ended_at) == []


def test_what_ended_without_an_answer_is_run_again(bench: BatchBench) -> None:
    asked = [*cases("fails", error="no"), *cases("later", "last")]
    first = bench.run(known(bench, factory="observed:build", cases=asked, failFast=True, parallelism=1))
    assert first.outcomes[Outcome.NOT_RUN]

    second = amended(bench, factory="observed:build", cases=asked)

    assert told_carried(second) == [
        one.trial_id for one in first.finals if one.outcome in {Outcome.PASSED, Outcome.FAILED}
    ]
    assert second.outcomes == {Outcome.FAILED: 2, Outcome.PASSED: 4}


def test_an_amended_batch_can_be_amended(bench: BatchBench) -> None:
    first = bench.run(known(bench, cases=cases("one")))
    second = amended(bench)

    third = amended(bench, repeats=2)

    ran_in = {one.trial_id: one.thread_id.partition("/")[0] for one in third.finals}
    assert ran_in["left/one/0"] == first.record.id
    assert ran_in["left/two/0"] == second.record.id
    assert ran_in["left/two/1"] == third.record.id


def test_what_it_runs_with_refuses_and_nothing_is_made(bench: BatchBench) -> None:
    first = bench.run(known(bench))
    changed = known(bench, limits={"recursionLimit": 50})
    assert changed.setting is not None
    other = replace(changed, setting=replace(changed.setting, files={**changed.setting.files, "noop.py": "0" * 32}))

    with pytest.raises(SpecInvalid) as refused:
        amending(bench.store, other, "bench")

    said = [fault.message for fault in refused.value.faults]
    assert [text.split(" (")[0] for text in said] == [
        "cannot be amended: code: noop.py is another",
        "cannot be amended: spec.limits is another",
    ]
    assert bench.store.batch("bench").id == first.record.id


def test_an_unfinished_batch_is_not_amended(bench: BatchBench) -> None:
    bench.accept(known(bench))

    with pytest.raises(SpecInvalid, match="is not finished; go on with it: batchyard resume"):
        amending(bench.store, known(bench), "bench")


def test_earlier_batches_of_the_name_are_used_where_they_fit_the_newest_first(bench: BatchBench) -> None:
    first = bench.run(known(bench, cases=cases("one")))
    bench.run(known(bench, cases=cases("one", "two"), limits={"recursionLimit": 50}))
    second = bench.run(known(bench, cases=cases("two"), variants={"matrix": {"side": ["left"]}}))

    loaded, why = reusing(SqlPastResults(bench.store), known(bench))
    third = bench.run(loaded)

    assert why == ""
    assert loaded.carries_from == (second.record.id, first.record.id)
    assert set(told_carried(third)) == {"left/two/0", "left/one/0", "right/one/0"}
    assert begun(third) == {"right/two/0"}


def test_repeats_that_are_used_again_are_different_samples(bench: BatchBench) -> None:
    bench.run(known(bench, repeats=2))
    bench.run(known(bench, repeats=3))

    loaded, _ = reusing(SqlPastResults(bench.store), known(bench, repeats=3))
    third = bench.run(loaded)

    threads = [one.thread_id for one in third.finals]
    assert begun(third) == set()
    assert len(set(threads)) == len(threads) == 12


def test_where_nothing_fits_all_is_run_and_it_is_said_why(bench: BatchBench) -> None:
    bench.run(known(bench, limits={"recursionLimit": 50}))

    loaded, why = reusing(SqlPastResults(bench.store), known(bench))

    assert loaded.carries_from == ()
    assert why.endswith("differs: spec.limits is another")


def test_a_batch_can_be_forked_from_a_result_that_was_carried_over(bench: BatchBench) -> None:
    bench.run(known(bench))
    second = amended(bench, cases=cases("one", "two", "three"))
    fork = bench.load(FACTORY, name="second", cases=cases("one"), forkFrom={"batchTest": "bench", "node": "two"})

    forked = bench.run(bound(bench.store, fork))

    assert forked.record.spec["forkedFrom"] == second.record.id
    assert [boundary.node for boundary in forked.of("left").boundaries] == ["three", "four", "five"]


def test_keeping_states_leaves_those_of_the_other_batch_alone(bench: BatchBench) -> None:
    first = bench.run(known(bench))

    amended(bench, repeats=2, checkpoints={"keep": "Never"})

    assert any(checkpoints_folder(files_folder(bench.target), first.record.id).iterdir())


def test_an_interruption_leaves_whole_steps_and_the_rest_is_carried_over_later(bench: BatchBench) -> None:
    bench.run(known(bench))
    loaded = amending(bench.store, known(bench, repeats=2), "bench")
    record = bench.accept(loaded)

    def interrupt(running: Running) -> None:
        running.session.interrupt()

    left = bench.run(loaded, record, on_start=interrupt)
    ended = bench.run(LoadedBatch.from_json(bench.store.batch(record.id).spec, loaded.base), record)

    assert left.finished.verdict is None
    assert begun(left) == set()
    assert sorted(told_carried(ended)) == sorted(
        f"{side}/{case}/0" for side in ("left", "right") for case in ("one", "two")
    )
    assert ended.outcomes == {Outcome.PASSED: 8}
    assert ended.record.status["trials"]["carriedOver"] == 4


@pytest.mark.kill
def test_killed_while_carrying_over_nothing_is_lost_and_nothing_carried_twice(bench: BatchBench) -> None:
    many: dict[str, Any] = {
        "factory": "observed:build",
        "variants": {"matrix": {"act": ["pass"]}},
        "cases": cases(*(f"case-{number}" for number in range(70))),
        "audit": {"maxEntries": 100},  # steps of fifty
    }
    first = bench.accept(known(bench, **many))
    child(bench, first.id)
    record = bench.accept(amending(bench.store, known(bench, **many, repeats=2), "bench"))

    killed = child(bench, record.id, 60)
    before = {one.trial_id for one in bench.store.results(record.id)}
    ended = child(bench, record.id)

    assert (killed, ended) == (-9, 0)
    assert len(before) == 50
    finals = list(bench.store.results(record.id))
    told = [one.entry.trial_id for one in bench.store.audit_entries(record.id) if one.entry.type == "TrialCarriedOver"]
    assert sorted(told) == sorted({one.trial_id for one in finals if one.repeat == 0})
    assert {one.thread_id.partition("/")[0] for one in finals if one.repeat == 0} == {first.id}
    assert len(finals) == 140
    assert bench.store.batch(record.id).phase is Phase.SUCCEEDED


def child(bench: BatchBench, batch: str, moment: int = 0) -> int:
    """Run a batch, or go on with it, in a process that kills itself at the moment; return how it ended."""
    command = [sys.executable, str(CHILD), "-", bench.target, batch, str(moment), "plain_parts:PlainParts"]
    environment = {"PATH": os.defpath, "PYTHONPATH": str(CHILD.parent), "BATCHYARD_HOME": str(bench.folder)}
    return subprocess.run(command, env=environment, capture_output=True, timeout=100, check=False).returncode


def test_with_nothing_left_of_the_other_batch_all_is_run(bench: BatchBench) -> None:
    loaded = replace(known(bench), carries_from=("gone-1",))

    ran = bench.run(loaded)

    assert told_carried(ran) == []
    assert ran.outcomes == {Outcome.PASSED: 4}
    assert [one.message for one in ran.events if one.type == "BatchAmended"] == ["gone-1 is not in the store any more"]


def test_a_step_is_no_longer_than_the_trail_has_room_for(bench: BatchBench) -> None:
    bench.run(known(bench, repeats=15))
    loaded = amending(bench.store, known(bench, repeats=15, audit={"maxEntries": 100}), "bench")
    carry = CarryOver(SqlPastResults(bench.store), bench.store, loaded)

    sizes = [len(step.pairs) for step in carry.steps(1, NothingDone(), untold=True)]

    assert sizes == [50, 10]


class NothingDone:
    """Trials of which none has a result."""

    open_count = 1

    def is_finished(self, ordinal: int) -> bool:
        """Say so."""
        return False


def test_a_batch_that_is_resumed_after_a_change_cannot_be_amended(bench: BatchBench) -> None:
    loaded = known(bench)
    assert loaded.setting is not None
    began_with = replace(loaded, setting=replace(loaded.setting, files={**loaded.setting.files, "noop.py": "0" * 32}))
    record = bench.accept(began_with)

    changed = changed_since(began_with, "worker processes")
    bench.run(began_with, record, on_start=lambda _: write_change(bench.store, record.id, began_with, changed))

    with pytest.raises(SpecInvalid, match=r"it was resumed after a change: code: noop.py is another"):
        amending(bench.store, loaded, "bench")


def test_a_batch_that_is_resumed_as_it_was_has_not_changed(bench: BatchBench) -> None:
    assert changed_since(known(bench), "worker processes") == ""
