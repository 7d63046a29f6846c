"""Ray's Jobs API from outside, against a head that answers as Ray does, and one that means no good."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

import pytest

from batchyard.environments.ray_jobs import DashboardUnreachable, RayDashboard, RayJob, SubmissionRefused
from fake_ray_dashboard import RAY_TOKEN, FakeRay, running

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

T = TypeVar("T")


@pytest.fixture
def ray() -> Iterator[FakeRay]:
    with running(FakeRay()) as made:
        yield made


def ask(ray: FakeRay, act: Callable[[RayDashboard], Awaitable[T]], token: str = RAY_TOKEN, seconds: float = 5) -> T:
    async def whole() -> T:
        return await act(RayDashboard(ray.url, token, seconds=seconds))

    return asyncio.run(whole())


def submit(ray: FakeRay) -> None:
    ask(ray, lambda it: it.submit("docs-1", "batchyard worker", {"pip": ["orjson"]}))


def test_the_session_has_another_name_after_every_start_of_the_head(ray: FakeRay) -> None:
    before = ask(ray, lambda it: it.session_name())
    ray.restart()

    assert (before, ask(ray, lambda it: it.session_name())) == ("session_1", "session_2")


def test_a_driver_is_submitted_with_all_that_it_needs(ray: FakeRay) -> None:
    submit(ray)

    assert ray.submissions == [
        {"entrypoint": "batchyard worker", "submission_id": "docs-1", "runtime_env": {"pip": ["orjson"]}}
    ]
    assert ask(ray, lambda it: it.job("docs-1")) == RayJob("PENDING")


def test_an_unknown_job_is_none(ray: FakeRay) -> None:
    assert ask(ray, lambda it: it.job("docs-1")) is None


def test_a_job_says_how_it_ended(ray: FakeRay) -> None:
    submit(ray)
    ray.end("docs-1", "FAILED", "pip failed", "RUNTIME_ENV_SETUP_FAILURE")

    assert ask(ray, lambda it: it.job("docs-1")) == RayJob("FAILED", "pip failed", "RUNTIME_ENV_SETUP_FAILURE")


def test_a_job_that_is_there_is_not_submitted_twice(ray: FakeRay) -> None:
    submit(ray)

    submit(ray)

    assert list(ray.jobs) == ["docs-1"]


def test_a_submission_whose_answer_is_lost_was_made(ray: FakeRay) -> None:
    ray.lost = 1

    submit(ray)

    assert (len(ray.submissions), list(ray.jobs)) == (1, ["docs-1"])


def test_a_submission_that_was_never_heard_is_told_and_can_be_made_again(ray: FakeRay) -> None:
    ray.unheard = 1
    with pytest.raises(DashboardUnreachable, match="did not answer"):
        submit(ray)

    submit(ray)

    assert len(ray.submissions) == 1


@pytest.mark.parametrize(("status", "text"), [(400, "TypeError: runtime_env"), (500, "No available agent")])
def test_a_submission_that_ray_refuses_is_told_in_rays_words(ray: FakeRay, status: int, text: str) -> None:
    ray.refusal = (status, text)

    with pytest.raises(SubmissionRefused, match=f"Ray refused job docs-1 with {status}: {text}"):
        submit(ray)


def test_without_the_clusters_token_nothing_is_told(ray: FakeRay) -> None:
    for act in (lambda it: it.session_name(), lambda it: it.job("docs-1")):
        with pytest.raises(DashboardUnreachable, match="answers 401 for"):
            ask(ray, act, "another")


def test_the_token_is_in_no_error(ray: FakeRay) -> None:
    ray.answers["/api/version"] = (500, b"broken", {})

    with pytest.raises(DashboardUnreachable) as told:
        ask(ray, lambda it: it.session_name())

    assert RAY_TOKEN not in str(told.value)


def test_a_dashboard_that_is_not_there_is_unreachable() -> None:
    nowhere = FakeRay()
    nowhere.url = "http://127.0.0.1:1"

    with pytest.raises(DashboardUnreachable, match="did not answer"):
        ask(nowhere, lambda it: it.session_name())


# -- a head that the user's code has taken over ----------------------------------------------------------------------


def test_no_redirection_is_followed(ray: FakeRay) -> None:
    with running(FakeRay()) as inside:
        ray.answers["/api/version"] = (307, b"", {"Location": f"{inside.url}/api/version"})

        with pytest.raises(DashboardUnreachable, match="answers 307"):
            ask(ray, lambda it: it.session_name())

        assert inside.requests == []


@pytest.mark.parametrize(
    "content", [b"", b"not JSON", b"[1, 2]", b'"text"', b"null", b"[" * 100_000, b"\xff\xfe"], ids=repr
)
def test_an_answer_that_is_no_object_is_no_session(ray: FakeRay, content: bytes) -> None:
    ray.answers["/api/version"] = (200, content, {"Content-Type": "application/json"})

    assert ask(ray, lambda it: it.session_name()) == ""


def test_an_answer_without_end_is_not_read(ray: FakeRay) -> None:
    ray.answers["/api/jobs/docs-1"] = (200, b'{"message": "' + b"x" * 2_000_000 + b'"}', {})

    with pytest.raises(DashboardUnreachable, match="longer than 1048576 bytes"):
        ask(ray, lambda it: it.job("docs-1"))


def test_an_answer_that_never_comes_to_its_end_is_not_waited_for(ray: FakeRay) -> None:
    ray.answers["/api/version"] = (200, b"{", {"Content-Length": "100"})

    with pytest.raises(DashboardUnreachable):
        ask(ray, lambda it: it.session_name(), seconds=0.2)


def test_words_that_are_no_text_are_taken_as_text(ray: FakeRay) -> None:
    ray.answers["/api/jobs/docs-1"] = (200, b'{"status": 3, "message": {"a": 1}, "error_type": ["x"]}', {})

    assert ask(ray, lambda it: it.job("docs-1")) == RayJob("3", "{'a': 1}", "['x']")
