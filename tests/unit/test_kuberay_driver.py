"""The KubeRay provider once its cluster is ready: the driver, its end and its loss, and giving all back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from batchyard.engine.places import Observation, PlaceState
from batchyard.environments.manifests import token_name
from batchyard.environments.ray_jobs import DashboardUnreachable
from fake_cluster_api import CLUSTERS, PODS, SECRETS
from fake_ray_dashboard import RAY_TOKEN
from place_bench import RayBench, ray_bench, secret_of, told
from place_builders import RESULTS_TOKEN, UID, head_status

if TYPE_CHECKING:
    from collections.abc import Iterator

LOST_LOG = "Job entrypoint command failed with exit code 4, last available logs (truncated to 20,000 chars):\n"


@pytest.fixture
def bench() -> Iterator[RayBench]:
    with ray_bench() as made:
        yield made


# -- the driver ------------------------------------------------------------------------------------------------------


def test_the_driver_is_submitted_under_the_places_name_with_the_runtime_environment() -> None:
    with ray_bench(kubeRay={"runtimeEnv": {"env_vars": {"MODE": "fast", "RAY_AUTH_MODE": "disabled"}}}) as bench:
        bench.begun()

        assert bench.ray.submissions == [
            {
                "entrypoint": "batchyard worker",
                "submission_id": bench.name,
                "runtime_env": {"env_vars": {"MODE": "fast"}},
            }
        ]


@pytest.mark.parametrize("fault", ["lost", "unheard"])
def test_the_driver_runs_once_whatever_becomes_of_the_answers(bench: RayBench, fault: str) -> None:
    bench.whole()
    identity = bench.observe().identity
    setattr(bench.ray, fault, 1)
    try:
        bench.start()
    except DashboardUnreachable:
        assert bench.observe(identity).state is PlaceState.READY

    bench.start()
    bench.start()

    assert list(bench.ray.jobs) == [bench.name]
    assert bench.observe(identity) == Observation(PlaceState.RUNNING, identity=identity)


def test_a_driver_that_was_never_submitted_is_started_by_the_next_operator(bench: RayBench) -> None:
    """The identity is written down before the driver is submitted."""
    bench.whole()
    identity = bench.observe().identity

    seen = bench.observe(identity)

    assert (seen.state, seen.identity) == (PlaceState.READY, identity)


def test_a_worker_that_is_gone_later_does_not_hold_up_the_start(bench: RayBench) -> None:
    bench.whole()
    identity = bench.observe().identity
    bench.cluster.remove(PODS, f"{bench.name}-worker-0")

    assert bench.observe(identity).state is PlaceState.READY


def test_why_ray_does_not_take_the_driver_is_kept_for_the_deadline(bench: RayBench) -> None:
    async def scenario(place: Any) -> list[Observation]:
        with pytest.raises(DashboardUnreachable):
            await place.start(bench.asked)
        refused = await place.observe(bench.asked, "")
        bench.ray.refusal = None
        await place.start(bench.asked)
        bench.ray.jobs.clear()
        return [refused, await place.observe(bench.asked, "")]

    bench.whole()
    bench.ray.refusal = (400, "TypeError: runtime_env['pip'] must be a list")

    refused, taken = bench.do(scenario)

    assert (refused.state, refused.reason) == (PlaceState.READY, "SubmissionRefused")
    assert "runtime_env['pip'] must be a list" in refused.message
    assert (taken.state, taken.reason) == (PlaceState.READY, "")


def test_a_place_without_a_head_cannot_be_started(bench: RayBench) -> None:
    bench.ensure()
    bench.take_up()

    with pytest.raises(DashboardUnreachable, match="has no head"):
        bench.start()


@pytest.mark.parametrize("status", ["SUCCEEDED", "STOPPED"])
def test_a_driver_that_is_through_has_ended(bench: RayBench, status: str) -> None:
    identity = bench.begun()
    bench.ray.end(bench.name, status)

    assert bench.observe(identity) == Observation(PlaceState.ENDED, "", "the worker ended", identity)


def test_a_driver_whose_surroundings_could_not_be_made_says_so(bench: RayBench) -> None:
    identity = bench.begun()
    bench.ray.end(bench.name, "FAILED", "Failed to set up runtime environment", "RUNTIME_ENV_SETUP_FAILURE")

    seen = bench.observe(identity)

    assert (seen.state, seen.reason) == (PlaceState.ENDED, "DriverFailed")
    assert seen.message == (
        "the Ray job failed: RUNTIME_ENV_SETUP_FAILURE; its last words: Failed to set up runtime environment"
    )


# -- what the driver printed -----------------------------------------------------------------------------------------


def test_a_driver_that_failed_is_quoted_with_its_last_words(bench: RayBench) -> None:
    identity = bench.begun()
    log = "\n".join(f"line {number}" for number in range(2000)) + "\nthis worker cannot go on: no manifest\n"
    bench.ray.end(bench.name, "FAILED", LOST_LOG + log, "JOB_ENTRYPOINT_COMMAND_ERROR")

    message = bench.observe(identity).message

    assert message.startswith(
        "the Ray job failed: JOB_ENTRYPOINT_COMMAND_ERROR: Job entrypoint command failed with exit code 4; "
        "its last words: "
    )
    assert message.endswith("line 1999 this worker cannot go on: no manifest")
    assert len(message) < 700


KEY = "-----BEGIN KEY-----\nAAAABBBBCCCCDDDD\nEEEEFFFFGGGGHHHH\n-----END KEY-----\n"
LONG = "".join(f"<{number:03}>" for number in range(200))
SECRETS_OF_THE_POD = ["sk-live-123456", "AAAABBBBCCCCDDDD", "EEEEFFFFGGGGHHHH", "plain-but-secret", LONG, RAY_TOKEN]


@pytest.mark.parametrize(
    "output",
    [
        "KeyError: {'OPENAI': 'sk-live-123456', 'API_TOKEN': 'plain-but-secret'}",
        f"token {RESULTS_TOKEN} and {RAY_TOKEN}",
        KEY,
        repr(KEY),
        "x" * 5000 + "sk-live-123456",
        "sk-live-123456" + "\n" + "y" * 2990,
        "sk-live-123456 " * 2000,
        "EEEEFFFFGGGGHHHH " * 20,
        (LONG + "\n") * 4,
    ],
    ids=["mapping", "tokens", "lines", "escaped", "long line", "cut", "often", "often a part", "long"],
)
@pytest.mark.parametrize("prefix", ["", LOST_LOG], ids=["in other words", "as Ray says it"])
def test_no_secret_that_the_driver_prints_is_quoted(output: str, prefix: str) -> None:
    entries = [{"secretRef": {"name": "llm"}}, {"secretRef": {"name": "not-there"}}]
    with ray_bench(envFrom=entries, env={"API_TOKEN": "plain-but-secret"}) as bench:
        bench.cluster.put(SECRETS, "llm", secret_of("llm", OPENAI="sk-live-123456\n", key=KEY, long=LONG))
        identity = bench.begun()
        bench.ray.end(bench.name, "FAILED", prefix + output, "JOB_ENTRYPOINT_COMMAND_ERROR")

        seen = told(bench.observe(identity))

    for secret in [*SECRETS_OF_THE_POD, RESULTS_TOKEN]:
        assert secret not in seen
        assert secret[-8:] not in seen


def test_without_leave_to_know_the_secrets_nothing_is_quoted() -> None:
    with ray_bench(envFrom=[{"secretRef": {"name": "llm"}}]) as bench:
        identity = bench.begun()
        bench.ray.end(bench.name, "FAILED", LOST_LOG + "anything", "JOB_ENTRYPOINT_COMMAND_ERROR")
        bench.cluster.fail("GET", "secrets/llm", 403, reason="Forbidden")

        message = bench.observe(identity).message

    assert message == (
        "the Ray job failed: JOB_ENTRYPOINT_COMMAND_ERROR: Job entrypoint command failed with exit code 4"
    )


def test_a_secrets_name_that_leads_elsewhere_is_not_followed() -> None:
    with ray_bench(envFrom=[{"secretRef": {"name": "../../team-b/secrets/theirs"}}]) as bench:
        identity = bench.begun()
        bench.ray.end(bench.name, "FAILED", LOST_LOG + "anything")

        assert "anything" in bench.observe(identity).message

        assert not any("team-b" in one.path for one in bench.cluster.asked)


# -- losing ----------------------------------------------------------------------------------------------------------


def test_a_head_that_was_started_anew_in_its_pod_has_lost_the_driver(bench: RayBench) -> None:
    identity = bench.begun()
    bench.ray.restart()

    seen = bench.observe(identity)

    assert (seen.state, seen.reason) == (PlaceState.LOST, "HeadRestarted")


def test_a_head_whose_container_died_has_lost_the_driver_before_it_answers_again(bench: RayBench) -> None:
    identity = bench.begun()
    died = {"exitCode": 137, "reason": "OOMKilled"}
    bench.becomes(
        "head",
        phase="Running",
        podIP="10.0.0.1",
        containerStatuses=head_status(
            restartCount=1, state={"waiting": {"reason": "CrashLoopBackOff"}}, lastState={"terminated": died}
        ),
    )

    seen = bench.observe(identity)

    assert (seen.state, seen.reason) == (PlaceState.LOST, "HeadRestarted")
    assert seen.message == "container ray-head ended with 137 (OOMKilled)"


@pytest.mark.parametrize("way", ["gone", "being deleted"])
def test_a_head_that_is_gone_has_lost_the_driver(bench: RayBench, way: str) -> None:
    identity = bench.begun()
    bench.cluster.delete(PODS, f"{bench.name}-head")
    if way == "gone":
        bench.cluster.end_pods()

    seen = bench.observe(identity)

    assert (seen.state, seen.reason) == (PlaceState.LOST, "HeadLost")
    assert "the head pod is gone" in seen.message


def test_a_head_in_another_pod_has_lost_the_driver(bench: RayBench) -> None:
    identity = bench.begun()
    bench.becomes("head", phase="Failed", reason="Evicted", message="The node was low on resource: memory.")
    bench.cluster.delete(PODS, f"{bench.name}-head")
    bench.head("another")

    seen = bench.observe(identity)

    assert (seen.state, seen.reason) == (PlaceState.LOST, "HeadLost")
    assert "the head pod was replaced" in seen.message
    assert "The node was low on resource: memory." in seen.message


def test_a_head_that_is_silent_for_a_while_may_well_go_on(bench: RayBench) -> None:
    identity = bench.begun()
    bench.ray.answers["/api/version"] = (500, b"", {})
    silent = bench.observe(identity)
    bench.cluster.remove(PODS, f"{bench.name}-worker-0")
    bench.becomes(
        "head",
        phase="Running",
        podIP="10.0.0.1",
        conditions=[{"type": "Ready", "status": "False"}],
        containerStatuses=head_status(state={"running": {}}),
    )

    unready = bench.observe(identity)

    assert (silent.state, silent.reason, silent.identity) == (PlaceState.RUNNING, "DashboardUnreachable", identity)
    assert (unready.state, unready.identity) == (PlaceState.RUNNING, identity)


def test_a_raycluster_that_was_deleted_is_absent(bench: RayBench) -> None:
    identity = bench.begun()
    bench.cluster.delete(CLUSTERS, bench.name)

    assert bench.observe(identity).state is PlaceState.ABSENT


# -- giving back -----------------------------------------------------------------------------------------------------


def test_release_is_over_only_when_every_pod_is_gone(bench: RayBench) -> None:
    bench.begun()

    answers = [bench.release()]
    bench.cluster.collect_garbage()
    answers.append(bench.release())
    bench.cluster.end_pods()
    answers.append(bench.release())

    assert answers == [False, False, True]
    assert bench.cluster.names(CLUSTERS) == []
    assert token_name(bench.name) not in bench.cluster.names(SECRETS)


def test_children_are_the_rayclusters_of_batchtests(bench: RayBench) -> None:
    bench.ensure()
    labels = {"app.kubernetes.io/managed-by": "batchyard", "batchyard.dev/uid": UID}
    bench.cluster.put(CLUSTERS, "copied", {"metadata": {"labels": labels}})

    (child,) = bench.do(lambda place: place.children(None))
    assert (child.name, child.owner_uid) == (bench.name, UID)
    bench.do(lambda place: place.remove(child))

    assert bench.cluster.names(CLUSTERS) == ["copied"]


def test_the_token_of_ray_is_sent_to_nobody_but_the_head(bench: RayBench) -> None:
    identity = bench.begun()
    bench.observe(identity)

    assert not any(RAY_TOKEN in str(one) for one in bench.cluster.asked)
