"""``kill -9`` of the operator at every moment of a batch's life: the end is that of an operator that nobody killed."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
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
NEVER = 0
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
        self, cluster: Cluster, namespace: str, folder: Path, moment: int, ports: tuple[int, int] | None = None
    ) -> None:
        super().__init__(cluster, namespace, folder, ports=ports)
        self._moment = moment
        self.marks = folder / f"moments-{moment}"

    def _spawn(self) -> Forked:
        settings = OperatorSettings(
            store=self.store,
            namespace=self.namespace,
            identity=f"mortal-{self._moment}",
            results_url=self.results_url,
            namespaces=(self.namespace,),
            results_port=self.results_port,
            metrics_port=self.metrics_port,
            runner_image=RUNNER_IMAGE,
            image_pull_policy="IfNotPresent",
            lease_seconds=15.0,
        )
        return Forked(self._moment, self.marks, settings, self.cluster.kubeconfig, self.log)

    def moments(self) -> list[str]:
        """Return every moment that came."""
        return self.marks.read_text().splitlines() if self.marks.exists() else []


@pytest.fixture
def namespaces(cluster: Cluster) -> Iterator[SimpleQueue[str]]:
    """Namespaces, each for one operator at a time."""
    names = [f"test-kills-{number}" for number in range(AT_ONCE)]
    free: SimpleQueue[str] = SimpleQueue()
    for name in names:
        cluster.make_namespace(name)
        # An earlier run may have been ended half-way.
        cluster.kubectl("delete", "batchtest", "--all", "-n", name, "--timeout=60s", timeout=70)
        free.put(name)
    yield free
    cluster.kubectl("delete", "namespace", "--wait=false", *names)


class Life:
    """One life of the reference batch, with an operator that dies in a chosen moment and another that goes on."""

    def __init__(self, cluster: Cluster, free: SimpleQueue[str], folder: Path, **batch: Any) -> None:
        self._cluster, self._free, self._folder, self._batch = cluster, free, folder, batch

    def lived(self, moment: int) -> tuple[list[str], dict[str, Any]]:
        """Return the moments that came before the death, and what the end is like."""
        namespace = self._free.get()
        folder = self._folder / f"moment-{moment}"
        folder.mkdir()
        try:
            return self._live(namespace, folder, moment)
        except AssertionError as err:
            # Told with all others that ended differently.
            return ["failed"], {"failed": str(err)[:2000]}
        finally:
            self._cluster.kubectl("delete", "batchtest", "--all", "-n", namespace, "--timeout=60s", timeout=70)
            self._free.put(namespace)

    def _live(self, namespace: str, folder: Path, moment: int) -> tuple[list[str], dict[str, Any]]:
        mortal = MortalOperator(self._cluster, namespace, folder, moment)
        mortal.apply(*batch_test(NAME, "waits", **BATCH, **self._batch))
        self._bury(namespace)
        mortal.start(wait=False)
        try:
            mortal.until(
                120, "the operator's or the batch's end", lambda: mortal.exit_code is not None or _over(mortal)
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


def check_lives(life: Life, chosen: Sequence[int], undisturbed: dict[str, Any], at_once: int) -> list[str]:
    """Live once for each chosen moment, compare every end, and return the moments in which an operator died."""
    with ThreadPoolExecutor(at_once) as several:
        lives = dict(zip(chosen, several.map(life.lived, chosen), strict=True))
    different = {number: (reached[-1], end) for number, (reached, end) in lives.items() if end != undisturbed}
    assert not different, (undisturbed, different)
    return [reached[-1] for number, (reached, _) in lives.items() if len(reached) == number]


@pytest.mark.cluster
@pytest.mark.alone
def test_an_operator_that_is_killed_in_each_kind_of_moment_changes_nothing_about_the_end(
    cluster: Cluster, namespaces: SimpleQueue[str], tmp_path: Path, measured: Callable[[str], None]
) -> None:
    life = Life(cluster, namespaces, tmp_path)
    moments, undisturbed = life.lived(NEVER)
    kinds = {what: [number for number, one in enumerate(moments, 1) if one == what] for what in moments}
    # In the middle of its kind: the first belong to a batch that hardly began, the last to one that is over.
    chosen = sorted(numbers[len(numbers) // 2] for numbers in kinds.values())

    died = check_lives(life, chosen, undisturbed, AT_ONCE)

    measured(f"operators killed in {len(died)} kinds of moments of a batch in a Job: {died}")
    assert set(died) == kinds.keys()


@pytest.mark.soak
def test_an_operator_that_is_killed_at_any_moment_changes_nothing_about_the_end(
    cluster: Cluster, namespaces: SimpleQueue[str], tmp_path: Path, measured: Callable[[str], None]
) -> None:
    life = Life(cluster, namespaces, tmp_path)
    moments, undisturbed = life.lived(NEVER)
    assert len(moments) >= LEAST, Counter(moments)

    died = check_lives(life, range(1, len(moments) + 1), undisturbed, AT_ONCE)

    measured(f"operators killed in {len(died)} moments of a batch in a Job: {dict(Counter(died))}")
    assert len(died) >= LEAST
    assert set(died) == set(moments)


@pytest.mark.soak
def test_an_operator_that_is_killed_around_what_only_ray_needs_changes_nothing_about_the_end(
    cluster: Cluster, namespaces: SimpleQueue[str], tmp_path: Path, measured: Callable[[str], None]
) -> None:
    life = Life(cluster, namespaces, tmp_path, provider="KubeRay")
    moments, undisturbed = life.lived(NEVER)
    chosen = [number for number, what in enumerate(moments, 1) if what.endswith(("rayclusters", "submit job"))]

    died = check_lives(life, chosen, undisturbed, 2)

    measured(f"operators killed in {len(died)} moments of a batch on Ray: {died}")
    assert set(died) >= {
        f"{when} {what}" for when in ("before", "after") for what in ("create rayclusters", "submit job")
    }
