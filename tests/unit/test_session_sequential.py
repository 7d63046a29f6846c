"""A batch that ends once its comparison is decided: the rest is not run, and whoever resumes it ends it alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from batchyard.model.outcome import Outcome, Reason, Verdict
from batchyard.testing.fake_runner import ended
from session_bench import SessionBench, loaded

if TYPE_CHECKING:
    from batchyard.model.trial import JSON
    from batchyard.testing.fake_runner import Answer

CASES = 100


class Killed(BaseException):
    """The session's process is gone."""


def gate(margin: float = 0.1, futility: float = 0.0) -> dict[str, JSON]:
    looks: dict[str, JSON] = {"futility": futility}
    return {"baseline": {"combination": "old", "maxRegression": margin, "sequential": looks}}


def looked_at(cases: int = CASES, **spec: JSON) -> SessionBench:
    """A batch whose combination ``new`` is held against ``old``, look by look."""
    plain: dict[str, JSON] = {
        "variants": {"matrix": {"side": ["old", "new"]}},
        "gate": gate(),
        "evaluation": {"evaluators": [{"name": "exactMatch", "config": {"field": "answer"}}]},
    }
    return SessionBench(loaded(cases, **{**plain, **spec}))


def worse(bench: SessionBench) -> Answer:
    """Let the new one earn less than the old one."""
    return lambda order: ended(order, bench.clock, score=0.95 if order.combination == "old" else 0.55)


def test_the_rest_is_not_run_once_it_is_decided() -> None:
    bench = looked_at()

    finished = bench.run(worse(bench))

    assert (finished.verdict, finished.reason) == (Verdict.FAILED, Reason.GATE_FAILED)
    assert bench.outcomes == {Outcome.PASSED: 60, Outcome.NOT_RUN: 2 * CASES - 60}
    assert {r.reason for r in bench.finals if r.outcome is Outcome.NOT_RUN} == {"DecidedEarly"}
    (told,) = [event for event in bench.events if event.type == "DecidedEarly"]
    assert (told.message, told.details) == ("look 1 of 8: Failed", {"look": 1, "looks": 8})
    assert bench.audited().count("DecidedEarly") == 1
    assert finished.message.startswith("ended early, as its comparison needed no more trials; ")
    (why,) = {r.message for r in bench.finals if r.outcome is Outcome.NOT_RUN}
    assert why == "not needed: the batch's comparison was over before this trial began"
    assert finished.gate is not None
    assert "over 30 cases; look 1 of 8" in finished.gate.checks[0].message


def test_the_trials_of_a_case_are_run_together_in_an_order_that_is_not_the_files() -> None:
    bench = looked_at(20, parallelism=1)

    bench.run(worse(bench))

    ran = [order.case for order in bench.runner.submitted]
    assert len(ran) == 40
    assert ran[0::2] == ran[1::2]
    assert ran[0::2] != [f"case-{number}" for number in range(20)]


def test_a_batch_that_stays_undecided_runs_every_trial() -> None:
    bench = looked_at(40, gate=gate(margin=0.0))

    finished = bench.run(lambda order: ended(order, bench.clock, score=0.9 if len(order.case) % 2 else 0.8))

    assert bench.outcomes == {Outcome.PASSED: 80}
    assert not [event for event in bench.events if event.type == "DecidedEarly"]
    assert finished.gate is not None


@pytest.mark.parametrize("commits", [1, 30, 59, 60, 61, 62, 63, 64])
def test_a_session_that_resumes_a_killed_one_ends_it_as_it_would_have_ended(commits: int) -> None:
    undisturbed, bench = looked_at(), looked_at()
    expected = undisturbed.run(worse(undisturbed))
    left = [commits]

    def kill() -> None:
        left[0] -= 1
        if left[0] == 0:
            raise Killed

    session = bench.open(worse(bench), on_commit=kill)
    with pytest.raises(Killed):
        session.run()
    finished = bench.run(worse(bench))

    assert (finished.verdict, finished.reason, finished.gate) == (expected.verdict, expected.reason, expected.gate)
    assert bench.outcomes[Outcome.NOT_RUN] == undisturbed.outcomes[Outcome.NOT_RUN]
