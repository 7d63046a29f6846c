"""What pods and events say of a place, as people read it."""

from __future__ import annotations

from typing import Any

import pytest

from batchyard.environments import pods

Object = dict[str, Any]


def pod(phase: str = "Pending", *, name: str = "docs-1-abc", going: bool = False, **status: Any) -> Object:
    metadata = {"name": name, **({"deletionTimestamp": "2026-01-02T03:05:00Z"} if going else {})}
    return {"metadata": metadata, "status": {"phase": phase, **status}}


def waiting(reason: str, message: str = "", *, name: str = "runner", last: Object | None = None) -> Object:
    state = {"waiting": {"reason": reason, **({"message": message} if message else {})}}
    return {"name": name, "state": state, **({"lastState": {"terminated": last}, "restartCount": 3} if last else {})}


def ended(code: int, reason: str = "Error", *, name: str = "runner", **more: Any) -> Object:
    return {"name": name, "state": {"terminated": {"exitCode": code, "reason": reason, **more}}}


def condition(kind: str, status: str, reason: str = "", message: str = "") -> Object:
    return {"type": kind, "status": status, "reason": reason, "message": message}


RUNNING: Object = {"name": "runner", "state": {"running": {"startedAt": "2026-01-02T03:04:05Z"}}}


@pytest.mark.parametrize(
    ("seen", "reason", "message"),
    [
        (
            pod(containerStatuses=[waiting("ImagePullBackOff", 'Back-off pulling image "x:1"')]),
            "ImagePullBackOff",
            'pod docs-1-abc: container runner waits: Back-off pulling image "x:1"',
        ),
        (
            pod(containerStatuses=[waiting("ErrImageNeverPull", 'Container image "x:1" is not present')]),
            "ErrImageNeverPull",
            'pod docs-1-abc: container runner waits: Container image "x:1" is not present',
        ),
        (
            pod(containerStatuses=[waiting("CreateContainerConfigError", 'secret "llm-keys" not found')]),
            "CreateContainerConfigError",
            'pod docs-1-abc: container runner waits: secret "llm-keys" not found',
        ),
        (
            pod(
                "Running",
                containerStatuses=[
                    waiting("CrashLoopBackOff", "back-off 10s", last={"exitCode": 1, "reason": "Error"})
                ],
            ),
            "CrashLoopBackOff",
            "pod docs-1-abc: container runner waits: container runner ended with 1 (Error)",
        ),
        (
            pod(
                "Running",
                containerStatuses=[waiting("CrashLoopBackOff", last={"exitCode": 137, "reason": "OOMKilled"})],
            ),
            "CrashLoopBackOff",
            "pod docs-1-abc: container runner waits: container runner ended with 137 (OOMKilled)",
        ),
        (
            pod(conditions=[condition("PodScheduled", "False", "Unschedulable", "0/3 nodes: 3 Insufficient cpu.")]),
            "Unschedulable",
            "pod docs-1-abc: 0/3 nodes: 3 Insufficient cpu.",
        ),
        (
            pod(conditions=[condition("PodScheduled", "False")]),
            "Unschedulable",
            "pod docs-1-abc: cannot be scheduled",
        ),
        (
            pod("Failed", containerStatuses=[ended(137, "OOMKilled")]),
            "OOMKilled",
            "pod docs-1-abc: container runner ended with 137 (OOMKilled)",
        ),
        (
            pod(
                "Failed",
                reason="Evicted",
                message="The node was low on resource: memory.",
                containerStatuses=[ended(137)],
            ),
            "Evicted",
            "pod docs-1-abc: The node was low on resource: memory.",
        ),
        (
            pod("Failed", reason="OutOfcpu", message="Node didn't have enough resource: cpu"),
            "OutOfcpu",
            "pod docs-1-abc: Node didn't have enough resource: cpu",
        ),
        (
            pod(
                "Failed",
                conditions=[condition("DisruptionTarget", "True", "PreemptionByScheduler", "preempting for another")],
                containerStatuses=[ended(143)],
            ),
            "PreemptionByScheduler",
            "pod docs-1-abc: preempting for another",
        ),
        (
            pod(
                initContainerStatuses=[ended(2, name="fetch", message="no such bucket")],
                containerStatuses=[waiting("PodInitializing")],
            ),
            "Error",
            "pod docs-1-abc: container fetch ended with 2 (Error): no such bucket",
        ),
        (
            pod(
                initContainerStatuses=[waiting("CrashLoopBackOff", name="fetch", last={"exitCode": 2})],
                containerStatuses=[waiting("PodInitializing")],
            ),
            "CrashLoopBackOff",
            "pod docs-1-abc: container fetch waits: container fetch ended with 2 (Error)",
        ),
    ],
)
def test_what_keeps_a_pod_from_being_ready_is_told(seen: Object, reason: str, message: str) -> None:
    assert pods.trouble([seen]) == pods.Finding(reason, message)


@pytest.mark.parametrize(
    "seen",
    [
        pod(),
        {"metadata": {"name": "new"}},
        pod(conditions=[condition("PodScheduled", "True")]),
        pod(containerStatuses=[waiting("ContainerCreating")]),
        pod(initContainerStatuses=[RUNNING], containerStatuses=[waiting("PodInitializing")]),
        pod(initContainerStatuses=[ended(0, "Completed")], containerStatuses=[waiting("PodInitializing")]),
        pod("Running", containerStatuses=[RUNNING]),
        pod("Succeeded", containerStatuses=[ended(0, "Completed")]),
    ],
)
def test_what_every_pod_passes_through_is_no_trouble(seen: Object) -> None:
    assert pods.trouble([seen]) is None


def test_the_first_pod_in_trouble_is_told_of() -> None:
    fine = pod("Running", name="head", containerStatuses=[RUNNING])
    bad = pod(name="worker-1", containerStatuses=[waiting("ErrImagePull", "no such image")])
    worse = pod(name="worker-2", containerStatuses=[waiting("CrashLoopBackOff")])

    found = pods.trouble([fine, bad, worse])

    assert found is not None
    assert found.message == "pod worker-1: container runner waits: no such image"


def test_a_long_message_is_cut_to_what_fits_a_status() -> None:
    found = pods.trouble([pod(containerStatuses=[waiting("ErrImagePull", "x" * 5000)])])

    assert found is not None
    assert len(found.message) == 300
    assert found.message.endswith("…")


# -- the end of a pod ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (pod("Succeeded", containerStatuses=[ended(0, "Completed")]), None),
        (pod("Failed"), pods.Finding("PodFailed", "the pod failed")),
        (
            pod("Failed", containerStatuses=[ended(4)]),
            pods.Finding("Error", "container runner ended with 4 (Error)"),
        ),
        (
            pod("Failed", reason="Evicted", message="low on disk", containerStatuses=[ended(137, "OOMKilled")]),
            pods.Finding("Evicted", "low on disk"),
        ),
        (
            pod("Failed", initContainerStatuses=[ended(2, name="fetch")]),
            pods.Finding("Error", "container fetch ended with 2 (Error)"),
        ),
        (
            pod("Failed", containerStatuses=[ended(0, "Completed"), ended(3, name="proxy")]),
            pods.Finding("Error", "container proxy ended with 3 (Error)"),
        ),
    ],
)
def test_how_a_pod_ended_is_told(seen: Object, expected: pods.Finding | None) -> None:
    assert pods.ending(seen) == expected


def test_a_container_may_be_over_while_another_keeps_its_pod_running() -> None:
    seen = pod("Running", containerStatuses=[ended(137, "OOMKilled"), {**RUNNING, "name": "proxy"}])

    assert pods.has_ended(seen, "runner")
    assert not pods.has_ended(seen, "proxy")
    assert pods.ending_of(seen, "runner") == pods.Finding("OOMKilled", "container runner ended with 137 (OOMKilled)")
    assert pods.ending_of(seen, "proxy") is None


@pytest.mark.parametrize(
    ("status", "down"),
    [
        (RUNNING, False),
        (waiting("ContainerCreating"), False),
        (waiting("CrashLoopBackOff", last={"exitCode": 1}), True),
        (ended(137, "OOMKilled"), True),
        ({**RUNNING, "restartCount": 1}, False),
    ],
)
def test_a_container_is_down_if_it_ran_and_does_not_now(status: Object, down: bool) -> None:
    assert pods.is_down(pod("Running", containerStatuses=[status]), "runner") is down


def test_a_pod_that_is_being_deleted_is_not_ready() -> None:
    conditions = [condition("Ready", "True")]

    assert pods.is_ready(pod("Running", conditions=conditions))
    assert not pods.is_ready(pod("Running", conditions=conditions, going=True))
    assert not pods.is_ready(pod("Running", conditions=[condition("Ready", "False")]))
    assert not pods.is_ready({"metadata": {"name": "new"}})


def test_why_a_pod_is_being_deleted_is_told_if_it_is_known() -> None:
    drained = condition("DisruptionTarget", "True", "EvictionByEvictionAPI", "Eviction API: evicting")

    assert pods.why_going(pod("Running", going=True)) == "pod docs-1-abc is being deleted"
    assert (
        pods.why_going(pod("Running", going=True, conditions=[drained]))
        == "pod docs-1-abc is being deleted: Eviction API: evicting"
    )


# -- events ----------------------------------------------------------------------------------------------------------


def event(message: str, at: str = "", kind: str = "Warning", reason: str = "FailedCreate", **more: Any) -> Object:
    created = {"creationTimestamp": "2026-01-02T03:04:00Z"}
    return {
        "metadata": created,
        "type": kind,
        "reason": reason,
        "message": message,
        "lastTimestamp": at or None,
        **more,
    }


def test_the_newest_warning_is_quoted() -> None:
    quota = (
        'Error creating: pods "x" is forbidden: exceeded quota: small, requested: cpu=1, used: cpu=2, limited: cpu=2'
    )
    told = [
        event("first", "2026-01-02T03:04:05Z"),
        event(quota, "2026-01-02T03:04:09Z"),
        event("second", "2026-01-02T03:04:07Z"),
        event("all is well", "2026-01-02T03:05:00Z", "Normal", "SuccessfulCreate"),
    ]

    assert pods.newest_warning(told) == pods.Finding("FailedCreate", quota)


def test_a_warning_that_was_repeated_counts_from_its_last_time() -> None:
    told = [
        event("old", "", eventTime="2026-01-02T03:04:01.000000Z", series={"lastObservedTime": "2026-01-02T03:09:00Z"}),
        event("new", "", eventTime="2026-01-02T03:08:00.000000Z"),
        event("of an unknown time"),
    ]

    assert pods.newest_warning(told) == pods.Finding("FailedCreate", "old")


def test_without_a_warning_nothing_is_quoted() -> None:
    assert pods.newest_warning([]) is None
    assert pods.newest_warning([event("fine", kind="Normal")]) is None


def test_a_condition_is_quoted_only_while_it_is_true() -> None:
    failed = condition("ReplicaFailure", "True", "FailedCreateHeadPod", "exceeded quota: small")
    over = condition("ReplicaFailure", "False", "FailedCreateHeadPod", "exceeded quota: small")

    assert pods.condition_of({"status": {"conditions": [failed]}}, "ReplicaFailure") == pods.Finding(
        "FailedCreateHeadPod", "exceeded quota: small"
    )
    assert pods.condition_of({"status": {"conditions": [over]}}, "ReplicaFailure") is None
    assert pods.condition_of({}, "ReplicaFailure") is None
