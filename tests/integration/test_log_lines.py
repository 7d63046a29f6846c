"""Every line of a log that was asked for as JSON: one object each, saying which batch and which trial it is about."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from command_line import Bench
from fake_cluster_api import CONFIG_MAPS, running
from kube_world import a_batch_test
from operator_process import an_operator
from watched_cluster import BATCH_TESTS, WatchedCluster

if TYPE_CHECKING:
    from pathlib import Path

SECRET = "sk-very-secret-value"  # noqa: S105 - of a test

GRAPH = """
import logging, os
from typing import TypedDict

import structlog
from langgraph.graph import END, START, StateGraph


class State(TypedDict, total=False):
    text: str


def act(state):
    logging.getLogger("users").info("a word of the user's")
    structlog.get_logger("users").warning("another")
    if state.get("text") == "breaks":
        print("printed")
        raise RuntimeError("no prompt of ours: " + os.environ["MY_API_KEY"])
    if state.get("text") == "goes":
        os._exit(3)
    return {"text": "done"}


def build(variants):
    graph = StateGraph(State)
    graph.add_node("act", act)
    graph.add_edge(START, "act")
    graph.add_edge("act", END)
    return graph
"""
BATCH = {
    "apiVersion": "batchyard.dev/v1alpha1",
    "kind": "BatchTest",
    "metadata": {"name": "talks"},
    "spec": {
        "workflow": {"factory": "graph:build", "source": {"path": "."}},
        "variants": {"matrix": {"act": ["a"]}},
        "cases": [{"name": text, "input": {"text": text}} for text in ("fine", "breaks", "goes")],
        "retry": {"maxAttempts": 2, "backoffSeconds": 0.01},
        "parallelism": 2,
    },
}


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    (tmp_path / "graph.py").write_text(GRAPH)
    (tmp_path / "batchtest.yaml").write_text(json.dumps(BATCH))
    return Bench(tmp_path, {"MY_API_KEY": SECRET})


def lines_of(text: str) -> list[dict[str, Any]]:
    """Return every line as an object; one that is none fails the test."""
    return [json.loads(line) for line in text.splitlines()]


def test_each_line_of_a_run_says_which_batch_and_which_trial_it_is_about(bench: Bench) -> None:
    done = bench.run("--log-format", "json", "run", "batchtest.yaml")

    lines = lines_of(done.stderr)
    begun = next(index for index, line in enumerate(lines) if line.get("type") == "BatchAccepted")
    batch = lines[begun]["batch"]
    assert batch.startswith("talks-")
    assert {line["batch"] for line in lines[begun:]} == {batch}
    assert all({"event", "level", "timestamp", "logger"} <= line.keys() for line in lines)
    ends = {(line["trial"], line["attempt"]): line for line in lines if str(line.get("type")).startswith("Trial")}
    assert {trial.split("/")[1] for trial, _ in ends} == {"fine", "breaks", "goes"}
    assert max(attempt for trial, attempt in ends if "/goes/" in trial) == 2
    assert {line["outcome"] for line in lines if line.get("type") == "TrialFailed"} == {"Failed"}


@pytest.mark.proves("bug-15")
def test_no_line_quotes_what_a_workflow_answered_or_a_secret(bench: Bench) -> None:
    done = bench.run("--log-format", "json", "run", "batchtest.yaml")

    assert SECRET not in done.stderr
    assert "no prompt of ours" not in done.stderr


def test_what_a_trial_logs_says_which_trial_it_was(bench: Bench) -> None:
    bench.run("--log-format", "json", "run", "batchtest.yaml")

    (kept,) = bench.folder.rglob("*breaks*/**/output.log")
    said, warned = (json.loads(line) for line in kept.read_text().splitlines() if line.startswith("{"))
    for line in (said, warned):
        assert line["batch"].startswith("talks-")
        assert line["trial"].split("/")[1:] == ["breaks", "0"]
        assert line["attempt"] == 1
    assert (said["event"], said["logger"], warned["event"]) == ("a word of the user's", "users", "another")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(("run", "missing.yaml"), "missing.yaml"), (("run", "--nothing"), "--nothing"), (("show", "nobody"), "nobody")],
)
def test_why_a_command_fails_is_a_line_too(bench: Bench, arguments: tuple[str, ...], said: str) -> None:
    done = bench.run("--log-format", "json", *arguments)

    errors = [line for line in lines_of(done.stderr) if line["level"] == "error"]
    assert said in errors[0]["event"]
    assert errors[0]["exit_code"] == done.returncode


def test_an_environment_variable_chooses_the_format_too(bench: Bench) -> None:
    spoken = Bench(bench.folder, {**bench.env, "BATCHYARD_LOG_FORMAT": "json"}).run("show", "nobody")

    assert lines_of(spoken.stderr)[0]["level"] == "error"


def test_an_operators_lines_say_which_batchtest_they_are_about(tmp_path: Path) -> None:
    with (
        running(WatchedCluster()) as cluster,
        an_operator(cluster, tmp_path, env={"BATCHYARD_LOG_FORMAT": "json"}) as operator,
    ):
        cluster.put(CONFIG_MAPS, "code", {"data": {"graph.py": "build = None"}}, namespace="team")
        cluster.fail("POST", "jobs", 403, reason="Forbidden", message="exceeded quota")
        cluster.put(BATCH_TESTS, "asked", {**a_batch_test(), "metadata": {}}, namespace="team", generation=1)
        operator.until("the batch to begin", lambda: '"EnvironmentProvisioning"' in operator.log())
        operator.until("a refusal", lambda: "could not be made" in operator.log())
        operator.process.terminate()
        assert operator.process.wait(30) == 0

        lines = operator.lines()

    assert any(line["level"] == "info" and line["event"] == "leading" for line in lines)
    about = [line for line in lines if line.get("type") or "could not be made" in line["event"]]
    batch = operator.record("asked").id
    assert {"BatchAccepted", "EnvironmentProvisioning"} <= {line.get("type") for line in about}
    for line in about:
        assert (line["batch"], line["namespace"], line["name"]) == (batch, "team", "asked")
