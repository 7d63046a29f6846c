"""Batches whose Job or RayCluster Kueue holds back, lets in and takes back, on the real cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from batchyard.model.events import EventType
from cluster import fault_table
from cluster.kueue_bench import FLAVOUR, LACKS_QUOTA, PRIORITY_LABEL, QUEUE_LABEL, KueueBench
from cluster.operator_bench import OperatorProcess, batch_test, check_trail, own_events

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]

# Some end at once; the others outlast the time that it takes to have a place taken back.
CASES = [{"name": f"case-{number}", "input": {"seconds": seconds}} for number, seconds in enumerate((0.2, 0.2, 15, 15))]
WAITS = "queued by Kueue: waiting for quota in queue team-a"
# Whether the worker has time for a last word, and what it has noticed by then, is not the same each time.
MAY_BE_TOLD = frozenset({"LateResult", "TrialErrored", "TrialRetried"})


def queued_place(operator: OperatorProcess, attempt: int) -> str:
    """Wait until a place is told to be in the queue; return its name."""

    def waits() -> bool:
        place = operator.status("queued").get("environment") or {}
        return (place.get("attempt"), place.get("state")) == (attempt, "Queued")

    operator.until(120, f"place {attempt} to be queued", waits, "queued")
    name: str = operator.status("queued")["environment"]["name"]
    return name


def own_jobs(operator: OperatorProcess) -> list[str]:
    """Return the names of the Jobs of batches."""
    return [place.removeprefix("jobs/") for place in operator.places() if place.startswith("jobs/")]


def finals(operator: OperatorProcess) -> dict[str, object]:
    return {result.trial_id: result.ended_at for result in operator.results("queued")}


def released(operator: OperatorProcess) -> int:
    return sum(sealed.entry.type is EventType.ENVIRONMENT_RELEASED for sealed in operator.trail("queued"))


@pytest.mark.parametrize(("provider", "kind"), [("InProcess", "Job"), ("KubeRay", "RayCluster")])
def test_a_batch_is_queued_admitted_preempted_and_admitted_again_and_no_finished_trial_runs_twice(
    operator: OperatorProcess, tmp_path: Path, provider: str, kind: str
) -> None:
    # Ray goes on until its pods' grace is over, and with it the trials.
    environment = {"template": {"terminationGracePeriodSeconds": 2}}
    source, test = batch_test(
        "queued", "waits", cases=CASES, variants=["a"], provider=provider, environment=environment
    )
    with KueueBench(operator.cluster, operator.namespace) as queue:
        labels = {QUEUE_LABEL: "team-a", PRIORITY_LABEL: queue.priority("low")}
        test["metadata"]["labels"] = labels
        queue.take("other", "low")
        operator.until(60, "the other Job to be admitted", lambda: queue.admitted("other"))
        operator.apply(source, test)
        first = queued_place(operator, 1)
        made = operator.cluster.get(operator.namespace, kind, first)
        assert made["metadata"]["labels"].items() >= labels.items()
        assert not [place for place in operator.places() if place.startswith("pods/") and "other" not in place]
        operator.until(
            60,
            "Kueue's words in the status",
            lambda: LACKS_QUOTA in operator.status("queued")["environment"]["message"],
            "queued",
        )
        assert operator.status("queued")["message"].startswith(f"0 of 4 trials finished; {WAITS} (")

        queue.give_back("other")
        operator.until(150, "a first result", lambda: bool(operator.results("queued")), "queued")
        before = finals(operator)
        template = operator.cluster.get(operator.namespace, kind, first)["spec"]
        template = template["headGroupSpec"]["template"] if kind == "RayCluster" else template["template"]
        assert template["spec"]["nodeSelector"] == FLAVOUR
        queue.take("urgent", "high")
        second = queued_place(operator, 2)
        assert operator.cluster.get(operator.namespace, kind, second)["spec"]["suspend"] is True
        assert queue.admitted("urgent")
        queue.give_back("urgent")
        status = operator.finished("queued", 240)
        # The last of the trail: it is told once the pods are gone.
        operator.until(60, "both places to be told as given back", lambda: released(operator) == 2, "queued")

    after = finals(operator)
    assert status["phase"] == "Succeeded"
    assert len(after) == len(CASES)
    assert before.items() <= after.items()
    told = [sealed.entry.type.value for sealed in own_events(operator.trail("queued"))]
    names = ("Provisioning", "Queued", "Admitted", "Ready", "Preempted", "Released")
    again = ("Provisioning", "Queued", "Admitted", "Ready", "Released")
    assert [kind for kind in told if kind.startswith("Environment")] == [
        f"Environment{name}" for name in (*names, *again)
    ]
    check_trail(operator, "queued")
    fault = f"a queue takes the place back in the middle ({provider})"
    fault_table.tell(fault, operator, "queued", varies=MAY_BE_TOLD)


def test_a_suspended_batch_gives_its_quota_to_another_and_is_queued_anew_when_it_is_resumed(
    operator: OperatorProcess,
) -> None:
    # The other outlasts the time that it takes to suspend the batch.
    cases = [{"name": "short", "input": {"seconds": 0.2}}, {"name": "long", "input": {"seconds": 20}}]
    source, test = batch_test("queued", "waits", cases=cases, variants=["a"], deadlines={"graceSeconds": 1})
    with KueueBench(operator.cluster, operator.namespace) as queue:
        test["metadata"]["labels"] = {QUEUE_LABEL: "team-a", PRIORITY_LABEL: queue.priority("low")}
        operator.apply(source, test)
        operator.until(60, "the batch to be admitted", lambda: any(map(queue.admitted, own_jobs(operator))), "queued")
        queue.take("other", "low")
        operator.until(60, "the other Job to find no room", lambda: queue.lacks_quota("other"))
        assert not queue.admitted("other")
        operator.until(90, "a first result", lambda: bool(operator.results("queued")), "queued")

        operator.patch("queued", {"suspend": True})
        operator.until(60, "the other Job to be admitted", lambda: queue.admitted("other"), "queued")
        operator.until(60, "the batch to be held", lambda: operator.status("queued")["phase"] == "Suspended", "queued")
        assert operator.places() == []
        before = finals(operator)
        operator.patch("queued", {"suspend": False})
        queued_place(operator, 2)
        queue.give_back("other")
        status = operator.finished("queued", 150)

    after = finals(operator)
    assert status["phase"] == "Succeeded"
    assert [len(before), len(after)] == [1, len(cases)]
    assert before.items() <= after.items()
    check_trail(operator, "queued")
