"""A batch that begins where another had ended a node, on the real cluster, with checkpoints in a real PostgreSQL."""

from __future__ import annotations

import psycopg
import pytest

from cluster.operator_bench import OperatorProcess, batch_test, check_trail
from cluster.postgres_bench import PASSWORD, database_for_pods

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]


@pytest.mark.parametrize("provider", ["InProcess", "KubeRay"])
@pytest.mark.proves("batch-forks", "bug-10")
def test_a_fork_runs_only_what_follows_the_node_from_threads_that_langgraphs_own_tables_have(
    operator: OperatorProcess, provider: str
) -> None:
    with database_for_pods(name="threads") as (local, secret):
        kept = {"keep": "Always", "postgres": {"secretRef": {"name": "threads", "key": "url"}}}
        fork = {"batchTest": "first", "node": "two", "variants": {"act": "a"}, "set": {"count": 100}}
        second = batch_test("second", variants=["new"], provider=provider, checkpoints=kept, forkFrom=fork)
        operator.apply(secret, *second)
        waits = "ForkSourceNotReady"
        operator.until(20, "it to wait", lambda: operator.status("second").get("reason") == waits, "second")

        operator.apply(*batch_test("first", variants=["a"], checkpoints=kept))

        assert operator.finished("first")["phase"] == "Succeeded"
        assert operator.finished("second", 150)["phase"] == "Succeeded"
        ((source,), (forked,)) = (operator.results("first"), operator.results("second"))
        assert [boundary.node for boundary in forked.boundaries] == ["three", "four", "five"]
        assert forked.output == {**source.output, "count": 103, "variants": {"act": "new"}}
        (ended,) = (sealed.entry for sealed in operator.trail("second") if sealed.entry.type == "TrialPassed")
        boundary = next(one.exit_checkpoint for one in source.boundaries if one.node == "two")
        assert ended.details["forkedFrom"] == {
            "thread": source.thread_id, "checkpoint": boundary, "trial": source.trial_id,
        }  # fmt: skip
        with psycopg.connect(local) as connection:
            threads = connection.execute("SELECT DISTINCT thread_id FROM checkpoints").fetchall()
        assert {row[0] for row in threads} == {source.thread_id, forked.thread_id}
        check_trail(operator, "second")
        told = f"{operator.get('second')}{[sealed.entry for sealed in operator.trail('second')]}"
        assert PASSWORD not in told + operator.log.read_text()
