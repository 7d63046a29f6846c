"""Traces of real runs, as a collector gets them: one a batch, with its trials and their nodes below."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from batchyard.model.outcome import Phase
from cluster.bed.running import holds_within
from command_line import Bench
from fake_cluster_api import CONFIG_MAPS, JOBS, running
from kube_world import a_batch_test
from operator_process import an_operator
from otlp_receiver import Receiver, receiving
from watched_cluster import BATCH_TESTS, WatchedCluster

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from otlp_receiver import Received

PROMPT = "a question that is nobody's business"

GRAPH = """
import time
from typing import TypedDict

from langgraph.graph import END, START, StateGraph


class State(TypedDict, total=False):
    text: str


def think(state):
    time.sleep(0.05)
    return {}


def answer(state):
    if state["text"] == "breaks":
        raise RuntimeError("an answer that is nobody's business")
    if state["text"] == "hangs":
        time.sleep(60)
    return {"text": "done"}


def build(variants):
    graph = StateGraph(State)
    graph.add_node("think", think)
    graph.add_node("answer", answer)
    graph.add_edge(START, "think")
    graph.add_edge("think", "answer")
    graph.add_edge("answer", END)
    return graph
"""


def batch(*texts: str, **spec: object) -> str:
    body = {
        "workflow": {"factory": "graph:build", "source": {"path": "."}},
        "variants": {"matrix": {"model": ["a"]}},
        "cases": [{"name": text, "input": {"text": text}} for text in texts],
        "parallelism": 2,
        "deadlines": {"trialSeconds": 2, "graceSeconds": 0.1},
        **spec,
    }
    return json.dumps(
        {"apiVersion": "batchyard.dev/v1alpha1", "kind": "BatchTest", "metadata": {"name": "traced"}, "spec": body}
    )


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as made:
        yield made


def bench_at(folder: Path, text: str, **env: str) -> Bench:
    (folder / "graph.py").write_text(GRAPH)
    (folder / "batchtest.json").write_text(text)
    return Bench(folder, env)


def traced(folder: Path, receiver: Receiver, text: str, **env: str) -> Bench:
    return bench_at(folder, text, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url, **env)


def by_case(spans: list[Received]) -> dict[str, Received]:
    return {span.attributes["batchyard.trial"].split("/")[1]: span for span in spans}


def test_a_run_is_one_trace_of_its_batch_its_trials_and_their_nodes(tmp_path: Path, receiver: Receiver) -> None:
    headers = "authorization=Bearer%20known"
    bench = traced(tmp_path, receiver, batch("fine", "breaks", "hangs"), OTEL_EXPORTER_OTLP_HEADERS=headers)

    document = bench.json("run", "batchtest.json", exit_code=0)

    (root,) = receiver.named("batch ")
    assert {span.trace for span in receiver.spans} == {root.trace}
    assert root.parent == ""
    assert root.attributes["batchyard.batch"] == document["batch"]["id"]
    assert root.attributes["batchyard.verdict"] == "Succeeded"
    trials = by_case(receiver.named("trial "))
    assert {span.parent for span in trials.values()} == {root.id}
    assert {case: span.attributes["batchyard.outcome"] for case, span in trials.items()} == {
        "fine": "Passed", "breaks": "Failed", "hangs": "TimedOut",
    }  # fmt: skip
    assert {case: span.status for case, span in trials.items()} == {"fine": "OK", "breaks": "ERROR", "hangs": "ERROR"}
    assert trials["hangs"].attributes["batchyard.reason"] == "TrialDeadlineExceeded"
    for span in trials.values():
        assert root.begun <= span.begun <= span.ended <= root.ended
        nodes = [node for node in receiver.named("node ") if node.parent == span.id]
        assert [node.attributes["batchyard.node"] for node in nodes] == ["think", "answer"]
        assert nodes[0].ended - nodes[0].begun >= 50_000_000
        assert span.begun <= nodes[0].begun <= nodes[0].ended <= nodes[1].begun <= nodes[1].ended <= span.ended
    assert len({span.id for span in receiver.spans}) == len(receiver.spans) == 10
    assert root.resource["service.name"] == "batchyard"
    assert {sent["authorization"] for sent in receiver.headers} == {"Bearer known"}


def test_no_span_says_what_went_into_a_workflow_or_came_out(tmp_path: Path, receiver: Receiver) -> None:
    text = batch("breaks").replace('"text": "breaks"', f'"text": "breaks", "question": "{PROMPT}"')

    traced(tmp_path, receiver, text).run("run", "batchtest.json")

    assert receiver.named("trial ")
    assert "nobody's business" not in repr(receiver.spans)


def test_an_attempt_that_is_made_again_is_a_span_of_its_own(tmp_path: Path, receiver: Receiver) -> None:
    (tmp_path / "dies.py").write_text(
        GRAPH.replace("def think(state):", "def think(state):\n    __import__('os')._exit(3)")
    )
    text = batch("fine", retry={"maxAttempts": 2, "backoffSeconds": 0.01}).replace("graph:build", "dies:build")

    traced(tmp_path, receiver, text).run("run", "batchtest.json")

    attempts = receiver.named("trial ")
    assert [span.attributes["batchyard.attempt"] for span in attempts] == [1, 2]
    assert {span.attributes["batchyard.reason"] for span in attempts} == {"WorkerLost"}
    assert len({span.id for span in attempts}) == 2


@pytest.mark.timeout(180)
def test_what_resumes_a_batch_goes_on_with_its_trace(tmp_path: Path, receiver: Receiver) -> None:
    texts = [f"case-{number:02}" for number in range(40)]
    bench = traced(tmp_path, receiver, batch(*texts, parallelism=1), OTEL_BSP_SCHEDULE_DELAY="100")
    run = bench.start("run", "batchtest.json", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert holds_within(60, lambda: len(receiver.named("trial ")) >= 2)
    run.send_signal(signal.SIGTERM)
    assert run.wait(60) == 130
    assert receiver.named("batch ") == []
    before = {span.id for span in receiver.spans}

    bench.json("resume", "traced")

    (root,) = receiver.named("batch ")
    after = [span for span in receiver.named("trial ") if span.id not in before]
    assert after
    assert {span.trace for span in receiver.spans} == {root.trace}
    passed = [span for span in receiver.named("trial ") if span.attributes["batchyard.outcome"] == "Passed"]
    assert len(passed) == len(texts)
    assert {span.attributes["batchyard.session"] for span in passed} == {1, 2}


def verdict_and_seconds(bench: Bench) -> tuple[str, float]:
    begun = time.monotonic()
    document = bench.json("run", "batchtest.json")
    return document["batch"]["phase"], time.monotonic() - begun


@pytest.mark.parametrize("kind", ["refuses", "stalls"])
def test_a_collector_that_is_no_use_changes_neither_verdict_nor_more_than_seconds(tmp_path: Path, kind: str) -> None:
    for name in ("with", "without"):
        (tmp_path / name).mkdir()
    with receiving(Receiver(stalls=True)) as stalled:
        url = stalled.url if kind == "stalls" else "http://127.0.0.1:1"
        bench = bench_at(tmp_path / "with", batch("fine"), OTEL_EXPORTER_OTLP_ENDPOINT=url)

        verdict, seconds = verdict_and_seconds(bench)
        _, without = verdict_and_seconds(bench_at(tmp_path / "without", batch("fine")))

    assert verdict == "Succeeded"
    # Two seconds to give up the last spans, and what it takes to import what sends them.
    assert seconds < without + 2 + 8


def test_a_setting_that_cannot_be_used_stops_no_run(tmp_path: Path, receiver: Receiver) -> None:
    bench = traced(tmp_path, receiver, batch("fine"), OTEL_BSP_MAX_QUEUE_SIZE="1")

    done = bench.run("run", "batchtest.json")

    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


def test_an_endpoint_without_the_package_is_one_warning_that_says_what_to_install(tmp_path: Path) -> None:
    hide = "import sys; sys.modules['opentelemetry.sdk'] = None; from batchyard.cli.main import main; main()"
    bench = bench_at(tmp_path, batch("fine"), OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:1")

    done = subprocess.run(
        [sys.executable, "-c", hide, "run", "batchtest.json"],
        cwd=tmp_path, env=bench.environment, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert done.stderr.count("batchyard[tracing]") == 1


def test_without_an_endpoint_nothing_of_opentelemetry_is_imported(tmp_path: Path) -> None:
    look = (
        "import sys, atexit; atexit.register(lambda: print([n for n in sys.modules if n.startswith('opentelemetry')], "
        "file=open('imported', 'w'))); from batchyard.cli.main import main; main()"
    )
    bench = bench_at(tmp_path, batch("fine"))

    subprocess.run(
        [sys.executable, "-c", look, "run", "batchtest.json"],
        cwd=tmp_path,
        env=bench.environment,
        check=True,
        timeout=60,
    )

    assert (tmp_path / "imported").read_text() == "[]\n"


def test_an_operator_sends_the_span_of_a_batch_that_it_ends(tmp_path: Path, receiver: Receiver) -> None:
    with (
        running(WatchedCluster()) as cluster,
        an_operator(cluster, tmp_path, env={"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url}) as operator,
    ):
        cluster.put(CONFIG_MAPS, "code", {"data": {"graph.py": "build = None"}}, namespace="team")
        cluster.put(BATCH_TESTS, "asked", {**a_batch_test(), "metadata": {}}, namespace="team", generation=1)
        operator.until("a place", lambda: cluster.names(JOBS))
        cluster.vanish("team", told=True)
        operator.until("its end", lambda: operator.record("asked").phase is Phase.CANCELLED)
        operator.until("its span", lambda: receiver.named("batch "))

        (root,) = receiver.named("batch ")
        assert root.attributes["batchyard.batch"] == operator.record("asked").id
        assert root.attributes["batchyard.verdict"] == "Cancelled"
        assert (root.parent, root.status) == ("", "")
