"""Workers that run nothing: they speak the real protocol with the operator and say that every trial passed.

For tests of scale, where the pods are simulated and only operator, API server and store are to work.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import orjson

from batchyard import __version__
from batchyard.clock import SystemClock
from batchyard.engine.records import not_run
from batchyard.engine.sources import LoadedBatch
from batchyard.kube.intake import token_of
from batchyard.model.audit import AuditEntry
from batchyard.model.events import EventType, severity_of
from batchyard.model.outcome import Outcome
from batchyard.model.wire import PROTOCOL, Done, Hello, Manifest, Segment
from batchyard.store.opening import open_cluster_store

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from batchyard.model.trial import AttemptResult, Trial
    from cluster.operator_bench import OperatorProcess

SEGMENT_RESULTS = 500


class FakeWorkers:
    """Gives batches their results."""

    def __init__(self, operator: OperatorProcess) -> None:
        """Read the operator's key, which makes the tokens that real workers find in their pods."""
        self._base = f"http://127.0.0.1:{operator.results_port}/v1/batches"
        with closing(open_cluster_store(operator.store)) as store:
            self._key = store.token_key()

    def pass_all(self, batch_ids: Iterable[str], *, at_once: int = 4) -> None:
        """Let every trial of these batches pass, each batch in its first place."""
        with ThreadPoolExecutor(at_once) as several:
            list(several.map(self.pass_one, batch_ids))

    def pass_one(self, batch_id: str) -> None:
        """Let every trial of one batch pass."""
        headers = {"Authorization": f"Bearer {token_of(self._key, batch_id, 1)}", "Content-Type": "application/json"}
        with httpx.Client(
            base_url=f"{self._base}/{batch_id}/attempts/1/", headers=headers, timeout=60, trust_env=False
        ) as client:
            answer = client.get("manifest")
            assert answer.status_code == 200, answer.text
            manifest = Manifest.from_json(answer.json())
            for number, segment in enumerate(_segments(manifest), 1):
                body = orjson.dumps(segment.to_json(), option=orjson.OPT_NON_STR_KEYS)
                taken = client.post(f"segments/{number}", content=body)
                assert taken.status_code == 200, taken.text


def _segments(manifest: Manifest) -> Iterator[Segment]:
    plan = LoadedBatch.from_json(manifest.document, Path("/")).plan
    hello: Hello | None = Hello(PROTOCOL, __version__, "3.11")
    for start in range(0, len(plan), SEGMENT_RESULTS):
        ordinals = range(start, min(start + SEGMENT_RESULTS, len(plan)))
        results = tuple((_passed(plan.trial(ordinal)), True) for ordinal in ordinals)
        entries = tuple(_told(manifest.batch_id, result) for result, _ in results)
        last = ordinals[-1] == len(plan) - 1
        yield Segment(results=results, entries=entries, hello=hello, done=Done("") if last else None)
        hello = None


def _passed(trial: Trial) -> AttemptResult:
    now = SystemClock().now()
    result = not_run(trial, 1, 1, "", now)
    # Scores differ, so that rows are as long as they are in earnest.
    score = 1 / (1 + trial.ordinal % 97)
    return replace(
        result, outcome=Outcome.PASSED, message="", duration_seconds=0.25, score=score, metrics={"words": 1.5}
    )


def _told(batch_id: str, result: AttemptResult) -> AuditEntry:
    return AuditEntry(
        at=result.ended_at,
        type=EventType.TRIAL_PASSED,
        severity=severity_of(EventType.TRIAL_PASSED),
        message="passed",
        batch_id=batch_id,
        trial_id=result.trial_id,
        attempt=1,
        epoch=1,
        source="runner",
    )
