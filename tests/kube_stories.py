"""Lives of a BatchTest, each as a user would bring it about, and what is left of one when it is over."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from batchyard.model.audit import verify_chain
from batchyard.model.outcome import Outcome
from batchyard.store.batch_integrity import batch_findings
from kube_fakes import BATCH_TESTS, CONFIG_MAPS, EVENTS, PLACES, SECRETS
from kube_world import NAME, a_batch_test

if TYPE_CHECKING:
    from collections.abc import Callable

    from kube_fakes import Object
    from kube_world import World


@dataclass(frozen=True, slots=True)
class Story:
    """What is applied, what happens to it, and how it ends.

    ``own`` says where those of its writes begin and end that are not alike in the first two stories.
    """

    name: str
    test: Callable[[], Object]
    play: Callable[[World], None] = lambda _world: None
    phase: str = "Succeeded"
    reason: str = ""
    code: bool = True
    stays: bool = True
    own: tuple[int, int | None] = (0, None)

    def live(self, world: World) -> Ending:
        """Live it through and return what is left; nothing may be written after that."""
        self.play(world)

        async def life() -> None:
            world.begin(self.test(), code=self.code)
            await world.until(lambda: self._is_over(world))
            writes = world.cluster.writes.copy()
            world.clock.advance(3600)
            await world.turns(2)
            world.kill()
            await world.turns(2)
            assert world.cluster.writes == writes

        asyncio.run(life())
        return ending_of(world)

    def _is_over(self, world: World) -> bool:
        over = world.finished and world.status["phase"] == self.phase if self.stays else not world.has_test
        if world.has_test and world.test["spec"].get("parity"):
            over = over and world.condition("ParityVerified") != ""
        return over and world.operator is not None and world.is_quiet


@dataclass(frozen=True, slots=True)
class Ending:
    """All that must be the same however often the operator died on the way. Times and hashes are not."""

    status: Any
    objects: list[str]
    batches: list[tuple[str, str, str, str]]
    results: list[tuple[str, int, str, str, float | None]]
    trail: list[str]
    events: list[str]
    places: list[tuple[int, str, str]]
    executed: list[str]


def ending_of(world: World) -> Ending:
    """Return what is left, after a look whether it is sound in itself."""
    store, batches = world.store, world.store.batches()
    trail: list[str] = []
    for record in batches:
        entries = list(store.audit_entries(record.id))
        assert verify_chain(entries, record.audit_head) == ""
        assert batch_findings(store, record.id) == []
        trail += [entry.entry.type.value for entry in entries]
        assert store.live_owner(record.id) is None
        final = [result.ordinal for result in store.results(record.id)]
        assert final == list(range(record.total))
        if record.total and world.has_test and record.name == NAME:
            told = world.status["audit"]
            assert entries[told["entries"] - 1].hash == told["head"]
    return Ending(
        status=_timeless(world.status),
        objects=sorted(
            f"{kind[1]}/{name}"
            for kind, _, name in world.cluster.objects
            if kind in {BATCH_TESTS, PLACES, SECRETS, CONFIG_MAPS}
        ),
        batches=sorted((record.name, record.phase.value, record.reason, record.message) for record in batches),
        results=sorted(
            (result.trial_id, result.attempt, result.outcome.value, result.reason, result.score)
            for record in batches
            for result in store.results(record.id, final_only=False)
        ),
        trail=sorted(trail),
        events=sorted(event["reason"] for event in world.cluster.all(EVENTS)),
        places=[
            (place.attempt, place.state.value, place.reason)
            for record in batches
            for place in store.environments(record.id)
        ],
        executed=sorted(world.executed),
    )


def _timeless(value: Any) -> Any:
    # The id of a twin comes from its uid, which the cluster makes up.
    times = {"startTime", "deadlineTime", "completionTime", "lastTransitionTime", "audit", "batch"}
    if isinstance(value, dict):
        return {key: _timeless(item) for key, item in value.items() if key not in times}
    return [_timeless(item) for item in value] if isinstance(value, list) else value


# -- the lives -----------------------------------------------------------------------------------------------------


def _one_fails(world: World) -> None:
    world.outcome = lambda trial, _: Outcome.FAILED if trial.ordinal == 1 else Outcome.PASSED


def _loses_its_place(world: World) -> None:
    world.hangs = lambda worker, trial: worker.attempt == 1 and trial.ordinal == 2

    def status(place: Object) -> dict[str, str]:
        lost = place["metadata"]["labels"]["attempt"] == "1" and world.settled >= 2
        return {"state": "Lost", "reason": "NodeLost", "message": "the node is gone"} if lost else {"state": "Ready"}

    world.place_status = status


def _is_queued_and_preempted(world: World) -> None:
    """Every place is let in once the status says that it waits; the first is taken back after two trials."""
    world.hangs = lambda worker, trial: worker.attempt == 1 and trial.ordinal == 2
    let_in: set[str] = set()

    def status(place: Object) -> dict[str, str]:
        attempt, told = place["metadata"]["labels"]["attempt"], world.status.get("environment") or {}
        if attempt == "1" and world.settled >= 2:
            return {"state": "Queued", "reason": "Preempted", "message": "taken back"}
        if (str(told.get("attempt")), told.get("state")) == (attempt, "Queued"):
            let_in.add(attempt)
        return {"state": "Ready"} if attempt in let_in else {"state": "Queued", "reason": "Queued", "message": "waits"}

    world.place_status = status


def _asked(world: World, spec: dict[str, Any]) -> None:
    """Have the second trial hang, and change the spec once the first one's result is there."""
    world.hangs = lambda worker, trial: worker.attempt == 1 and trial.ordinal == 1

    def act(world: World) -> None:
        if world.settled == 1 and not spec.items() <= world.test["spec"].items():
            world.cluster.change(BATCH_TESTS, NAME, spec)

    world.on_turn = act


def _is_cancelled(world: World) -> None:
    _asked(world, {"cancel": True})


def _is_suspended_and_resumed(world: World) -> None:
    world.hangs = lambda worker, trial: worker.attempt == 1 and trial.ordinal == 1

    def act(world: World) -> None:
        suspended = world.test["spec"].get("suspend", False)
        if world.settled == 1 and not suspended and "suspend" not in world.test["spec"]:
            world.cluster.change(BATCH_TESTS, NAME, {"suspend": True})
        elif suspended and world.status.get("phase") == "Suspended":
            world.cluster.change(BATCH_TESTS, NAME, {"suspend": False})

    world.on_turn = act


def _is_cancelled_while_held(world: World) -> None:
    def act(world: World) -> None:
        if world.status.get("phase") == "Suspended" and "cancel" not in world.test["spec"]:
            world.cluster.change(BATCH_TESTS, NAME, {"cancel": True})

    world.on_turn = act


def _loses_every_place(world: World) -> None:
    world.has_workers = False
    world.place_status = lambda _: {"state": "Ended", "reason": "OOMKilled", "message": "the worker was killed"}


def _is_deleted(world: World) -> None:
    world.hangs = lambda worker, trial: trial.ordinal == 1

    def act(world: World) -> None:
        if world.settled == 1 and world.has_test:
            world.cluster.delete(BATCH_TESTS, NAME)

    world.on_turn = act


def _never_gets_ready(world: World) -> None:
    world.place_status = lambda _: {"state": "Pending", "reason": "ImagePullBackOff", "message": "no such image"}


def _has_no_worker(world: World) -> None:
    world.has_workers = False


def _is_corrected(world: World) -> None:
    def act(world: World) -> None:
        if world.status.get("reason") == "InvalidSpec" and "path" in world.test["spec"]["workflow"]["source"]:
            world.cluster.change(BATCH_TESTS, NAME, {"workflow": {"source": {"path": None}}})

    world.on_turn = act


def _gets_its_code_later(world: World) -> None:
    def act(world: World) -> None:
        if world.status.get("reason") == "ConfigMapMissing" and not world.cluster.has(CONFIG_MAPS, "code"):
            world.apply_code()

    world.on_turn = act


def finish_first(world: World, **spec: Any) -> str:
    """Have another BatchTest, ``first``, run to its end before the story begins; return its batch's id."""
    fates, world.fates = world.fates, []
    test = a_batch_test(**spec)
    test["metadata"]["name"] = "first"

    def is_over() -> bool:
        status = world.cluster.get(BATCH_TESTS, "first").get("status", {})
        return bool(status.get("completionTime")) and world.is_quiet

    async def life() -> None:
        world.begin(test)
        world.trials_a_turn = 100
        await world.until(is_over)

    asyncio.run(life())
    world.kill()
    world.down_for, world.trials_a_turn, world.fates = 0, 1, fates
    world.executed.clear()
    (batch,) = world.store.batches()
    return batch.id


def _amends_another(world: World) -> None:
    _one_fails(world)
    # The room of a trail bounds how much is carried over in one commit: there are two.
    finish_first(world, cases=30)


def _invalid() -> Object:
    test = a_batch_test()
    test["spec"]["workflow"]["source"]["path"] = "."
    return test


GATE = {"minSuccessRate": 0.5}

IN_PROCESS = Story("in one pod, with a gate", lambda: a_batch_test(gate=GATE), _one_fails)
ON_RAY = Story("on Ray", lambda: a_batch_test(provider="KubeRay"))
OTHERS = (
    Story("a place is lost", lambda: a_batch_test(provider="KubeRay"), _loses_its_place, own=(20, None)),
    Story(
        "queued, preempted and queued again",
        lambda: a_batch_test(provider="KubeRay", retry={"maxAttempts": 1}),
        _is_queued_and_preempted,
        own=(6, None),
    ),
    Story("cancelled", a_batch_test, _is_cancelled, "Cancelled", "Cancelled", own=(18, None)),
    Story(
        "held from the start, then cancelled",
        lambda: a_batch_test(suspend=True),
        _is_cancelled_while_held,
        "Cancelled",
        "Cancelled",
        own=(4, None),
    ),
    Story("every place is lost", a_batch_test, _loses_every_place, "Failed", "EnvironmentFailed", own=(11, None)),
    Story("suspended and resumed", a_batch_test, _is_suspended_and_resumed, own=(18, None)),
    Story("deleted", a_batch_test, _is_deleted, stays=False, own=(17, None)),
    Story(
        "no place in time",
        lambda: a_batch_test(deadlines={"environmentSeconds": 20}),
        _never_gets_ready,
        "Failed",
        "EnvironmentDeadlineExceeded",
        own=(11, None),
    ),
    Story(
        "no worker before the deadline, and many trials",
        lambda: a_batch_test(cases=260, deadlines={"batchSeconds": 30, "trialSeconds": 5}),
        _has_no_worker,
        "Failed",
        "BatchDeadlineExceeded",
        own=(16, None),
    ),
    Story("corrected", _invalid, _is_corrected, own=(0, 15)),
    Story("its code comes later", a_batch_test, _gets_its_code_later, code=False, own=(0, 10)),
    Story(
        "compared with another place",
        lambda: a_batch_test(parity={"enabled": True, "against": "KubeRay", "sampleSize": 2}),
        own=(24, None),
    ),
    Story(
        "amends another",
        lambda: a_batch_test(cases=31, amends="first", audit={"maxEntries": 100}, gate=GATE),
        _amends_another,
        code=False,
        own=(3, 9),
    ),
    Story(
        "deleted when its time is over",
        lambda: a_batch_test(ttlSecondsAfterFinished=5),
        stays=False,
        own=(23, None),
    ),
)
