"""What a collector of traces and one of logs get of a batch in a cluster: one trace, and lines that name the batch."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from cluster.bed.layout import GATEWAY
from cluster.operator_bench import OperatorProcess, batch_test
from otlp_receiver import receiving

if TYPE_CHECKING:
    from pathlib import Path

    from cluster.bed.client import Cluster

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]


def test_operator_and_runner_pod_send_one_trace_and_log_the_batch_and_the_operator_ends_with_0(
    cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    with receiving(host=GATEWAY) as receiver:
        env = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url, "BATCHYARD_LOG_FORMAT": "json"}
        with OperatorProcess(cluster, namespace, tmp_path, env=env) as operator:
            operator.apply(*batch_test("traced", cases=[{"name": "one"}, {"name": "two"}]))
            operator.until(90, "the batch's end", lambda: operator.condition("traced", "Finished") == "True", "traced")
            batch_id = operator.record("traced").id

            assert operator.stop() == 0

        (root,) = receiver.named("batch ")
        trials = receiver.named("trial ")
        assert len(trials) == 4
        assert {span.trace for span in receiver.spans} == {root.trace}
        assert {span.parent for span in trials} == {root.id}
        assert {span.parent for span in receiver.named("node ")} == {span.id for span in trials}
        assert {span.attributes["batchyard.batch"] for span in receiver.spans} == {batch_id}
    lines = [json.loads(line) for line in operator.log.read_text().splitlines()]
    events = [line for line in lines if "type" in line]
    assert {(line["batch"], line["namespace"], line["name"]) for line in events} == {(batch_id, namespace, "traced")}
