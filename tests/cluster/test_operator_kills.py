"""``kill -9`` of the operator at every moment of a batch's life: the end is that of an operator that nobody killed."""

from __future__ import annotations

import secrets
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from itertools import groupby
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import pytest

from batchyard.kube.settings import OperatorSettings
from cluster.kill_operator import Forked
from cluster.operator_bench import RUNNER_IMAGE, OperatorProcess, batch_test, check_trail

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from cluster.bed.client import Cluster

pytestmark = pytest.mark.timeout(3600)

AT_ONCE = 5
LEAST = 100
NEVER = ""
NAME = "reference"
BATCH: dict[str, Any] = {
    "cases": [
        {"name": f"case-{number:02}", "input": {"seconds": 0.2}, "expected": {"done": 2}} for number in range(24)
    ],
    "evaluation": {"evaluators": [{"name": "exactMatch", "config": {"field": "done"}}]},
    "gate": {"minSuccessRate": 1.0},
}


class MortalOperator(OperatorProcess):
    """An operator that kills itself in the chosen moment; ``marks`` names the moments that came."""

    def __init__(
        self, cluster: Cluster, namespace: str, folder: Path, moment: str, ports: tuple[int, int] | None = None
    ) -> None:
        super().__init__(cluster, namespace, folder, ports=ports)
        self._moment = moment
        self.marks = folder / ("moments" if moment else "moments of the next")

    def _spawn(self) -> Forked:
        settings = OperatorSettings(
            store=self.store,
            namespace=self.namespace,
            identity="mortal" if self._moment else "successor",
            results_url=self.results_url,
            namespaces=(self.namespace,),
            results_port=self.results_port,
            metrics_port=self.metrics_port,
            runner_image=RUNNER_IMAGE,
            ray_version=version("ray"),
            image_pull_policy="IfNotPresent",
            lease_seconds=15.0,
        )
        return Forked(self._moment, self.marks, settings, self.kubeconfig, self.log)

    def moments(self) -> list[str]:
        """Return every moment that came."""
        return self.marks.read_text().splitlines() if self.marks.exists() else []


@pytest.fixture
def namespaces(cluster: Cluster) -> Iterator[SimpleQueue[str]]:
    """Namespaces, each for one operator at a time."""
    names = [f"test-kills-{secrets.token_hex(4)}" for _ in range(AT_ONCE)]
    free: SimpleQueue[str] = SimpleQueue()
    for name in names:
        cluster.make_namespace(name)
        free.put(name)
    yield free
    cluster.kubectl("delete", "namespace", "--wait=false", *names)


class Life:
    """One life of the reference batch, with an operator that dies in a chosen moment and another that goes on."""

    def __init__(self, cluster: Cluster, free: SimpleQueue[str], folder: Path, **batch: Any) -> None:
        self._cluster, self._free, self._folder, self._batch = cluster, free, folder, batch

    def lived(self, moment: str) -> tuple[list[str], dict[str, Any]]:
        """Return the moments that came before the death, and what the end is like."""
        namespace = self._free.get()
        folder = self._folder / (moment.replace("/", "-") or "undisturbed")
        folder.mkdir()
        try:
            return self._live(namespace, folder, moment)
        except AssertionError as err:
            # Told with all others that ended differently.
            return ["failed"], {"failed": str(err)[:2000]}
        finally:
            self._forget(namespace)
            self._free.put(namespace)

    def _live(self, namespace: str, folder: Path, moment: str) -> tuple[list[str], dict[str, Any]]:
        mortal = MortalOperator(self._cluster, namespace, folder, moment)
        mortal.apply(*batch_test(NAME, "waits", **BATCH, **self._batch))
        self._bury(namespace)
        mortal.start(wait=False)
        try:
            mortal.until(
                240, "the operator's or the batch's end", lambda: mortal.exit_code is not None or _over(mortal)
            )
            if moment == NEVER:
                return mortal.moments(), _end(mortal)
        finally:
            mortal.kill()
        self._bury(namespace)
        with MortalOperator(self._cluster, namespace, folder, NEVER, mortal.ports) as successor:
            return mortal.moments(), _end(successor)

    def _bury(self, namespace: str) -> None:
        """Let the Lease of the dead run out, which a successor would wait for."""
        self._cluster.kubectl("delete", "lease", "-n", namespace, "--all")

    def _forget(self, namespace: str) -> None:
        """Leave nothing to the next life in this namespace."""
        self._cluster.kubectl("delete", "batchtest", "--all", "-n", namespace, "--timeout=60s", timeout=70)
        self._cluster.kubectl("delete", "secret", "--all", "-n", namespace)


def _over(operator: OperatorProcess) -> bool:
    return operator.condition(NAME, "Finished") == "True" and not operator.places()


def _end(operator: OperatorProcess) -> dict[str, Any]:
    """Return everything of a batch's end that does not tell when it was."""
    operator.finished(NAME)
    operator.until(30, "the place to be given back", lambda: operator.place_records(NAME)[-1].released_at is not None)
    check_trail(operator, NAME)
    status, trail, attempts = operator.status(NAME), operator.trail(NAME), operator.attempts(NAME)
    own = [sealed.entry.type.value for sealed in trail if sealed.entry.source != "kubernetes"]
    return {
        "phase": status["phase"],
        "reason": status["reason"],
        "trials": status["trials"],
        "best": status["best"],
        "combinations": [{k: v for k, v in row.items() if k != "meanSeconds"} for row in status["combinations"]],
        "conditions": {one["type"]: one["status"] for one in status["conditions"]},
        "attempts": sorted((one.trial_id, one.attempt, one.outcome.value, one.score) for one in attempts),
        "told": Counter(own),
        "places": [(place.attempt, place.state.value) for place in operator.place_records(NAME)],
    }


def check_lives(life: Life, chosen: Sequence[str], undisturbed: dict[str, Any], at_once: int) -> None:
    """Live once for each chosen moment, and check that the operator died in it and that the end is the same."""
    with ThreadPoolExecutor(at_once) as several:
        lives = dict(zip(chosen, several.map(life.lived, chosen), strict=True))
    different = {moment: end for moment, (_, end) in lives.items() if end != undisturbed}
    assert not different, (undisturbed, different)
    assert {moment: reached[-1] for moment, (reached, _) in lives.items()} == {moment: moment for moment in chosen}


def kinds_of(moments: Sequence[str]) -> dict[str, list[str]]:
    """Return the moments of each kind."""
    return {kind: list(some) for kind, some in groupby(sorted(moments, key=_key), lambda moment: _key(moment)[0])}


def _key(moment: str) -> tuple[str, int]:
    kind, _, number = moment.rpartition(" ")
    return kind, int(number)


@pytest.mark.cluster
@pytest.mark.alone
@pytest.mark.proves("bug-25")
def test_an_operator_that_is_killed_in_each_kind_of_moment_changes_nothing_about_the_end(
    cluster: Cluster, namespaces: SimpleQueue[str], tmp_path: Path, measured: Callable[[str], None]
) -> None:
    life = Life(cluster, namespaces, tmp_path)
    moments, undisturbed = life.lived(NEVER)
    # In the middle of its kind: the first belong to a batch that hardly began, the last to one that is over.
    chosen = [some[len(some) // 2] for some in kinds_of(moments).values()]

    check_lives(life, chosen, undisturbed, AT_ONCE)

    measured(f"operators killed in {len(chosen)} kinds of moments of a batch in a Job: {chosen}")


@pytest.mark.soak
def test_an_operator_that_is_killed_at_any_moment_changes_nothing_about_the_end(
    cluster: Cluster, namespaces: SimpleQueue[str], tmp_path: Path, measured: Callable[[str], None]
) -> None:
    life = Life(cluster, namespaces, tmp_path)
    moments, undisturbed = life.lived(NEVER)
    assert len(moments) >= LEAST, moments

    check_lives(life, moments, undisturbed, AT_ONCE)

    counted = {kind: len(some) for kind, some in kinds_of(moments).items()}
    measured(f"operators killed in {len(moments)} moments of a batch in a Job: {counted}")


@pytest.mark.soak
def test_an_operator_that_is_killed_around_what_only_ray_needs_changes_nothing_about_the_end(
    cluster: Cluster, namespaces: SimpleQueue[str], tmp_path: Path, measured: Callable[[str], None]
) -> None:
    life = Life(cluster, namespaces, tmp_path, provider="KubeRay")
    moments, undisturbed = life.lived(NEVER)
    kinds = [f"{when} {what}" for when in ("before", "after") for what in ("create rayclusters", "submit job")]
    chosen = [moment for kind in kinds for moment in kinds_of(moments)[kind]]

    check_lives(life, chosen, undisturbed, 2)

    measured(f"operators killed in {len(chosen)} moments of a batch on Ray: {chosen}")
