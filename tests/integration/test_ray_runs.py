"""``batchyard run --runner ray`` as a user types it, and that it says what the local run says."""

from __future__ import annotations

import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from batch_bench import WORKFLOWS, batch_file
from batchyard.compose import LocalEngine
from batchyard.config import RayConfig
from batchyard.engine.sources import load
from batchyard.environments.ray import RAY_SETTINGS, connected, cpus_per_trial
from batchyard.linux import adopts_orphans, descendants
from batchyard.local_files import files_folder
from batchyard.model.errors import EnvironmentUnavailable
from batchyard.model.outcome import Outcome, Reason, Verdict
from batchyard.store.opening import open_store
from command_line import Bench
from ray_bench import actors_of, local_ray
from runner_bench import await_all_dead, await_true

if TYPE_CHECKING:
    from batchyard.model.trial import JSON

# A Ray starts in most of them, which takes its time on a machine that is busy.
pytestmark = pytest.mark.timeout(300)

EXAMPLE = Path(__file__).parents[2] / "examples" / "docs_search" / "batchtest.yaml"
RAY_SECONDS = 90.0
"""Ray begins in ten seconds, and in far more where others want the processors."""


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


# -- the command -----------------------------------------------------------------------------------------------------


@pytest.mark.proves("providers")
def test_a_run_with_provider_ray_starts_a_ray_of_its_own_and_leaves_nothing_behind(bench: Bench) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as short:  # Ray's sockets have long names
        alone = Bench(bench.folder, {"TMPDIR": short})
        done = alone.run("run", alone.write(environment={"provider": "Ray"}))
        left = list(Path(short).iterdir())

    assert done.returncode == 0, done.stderr
    assert "a Ray that is started here" in done.stderr
    assert "Succeeded" in done.stdout
    assert "Token authentication" not in done.stderr
    assert "Warning" not in done.stderr
    assert not (bench.folder / ".ray").exists()
    assert left == []


@pytest.mark.kill
def test_a_run_that_is_killed_takes_its_ray_and_its_trials_along(bench: Bench) -> None:
    # What is left of Ray may still write while the folder is removed.
    with tempfile.TemporaryDirectory(dir="/tmp", ignore_cleanup_errors=True) as short:
        alone = Bench(bench.folder, {"TMPDIR": short})
        (bench.folder / "pids").mkdir()
        file = alone.write(
            workflow={"factory": "hostile:build", "source": {"path": str(WORKFLOWS)}},
            variants={"matrix": {"act": ["forks_grandchildren"]}},
            cases=[{"name": "one", "input": {"pids": str(bench.folder / "pids")}}],
        )
        run = alone.start("run", file, "--runner", "ray")
        await_true(
            lambda: len([*(bench.folder / "pids").iterdir()]) == 3, "the node and its grandchildren", RAY_SECONDS
        )
        # Ray's own agents may take a minute to see that they are alone.
        actors = actors_of(run.pid)
        theirs = [*actors, *(pid for actor in actors for pid in descendants(actor))]
        run.kill()
        run.communicate()

        await_all_dead(theirs)

    assert len(actors) == 1
    assert len(theirs) >= 6


def test_without_ray_installed_the_user_is_told_what_to_install(bench: Bench) -> None:
    (bench.folder / "ray.py").write_text("raise ModuleNotFoundError(\"No module named 'ray'\")")
    without = Bench(bench.folder, {"PYTHONPATH": str(bench.folder)})

    done = without.run("run", without.write(), "--runner", "ray")

    assert done.returncode == 4
    assert "pip install 'batchyard[ray]'" in done.stderr


def test_a_thread_cannot_be_had_on_ray(bench: Bench) -> None:
    done = bench.run("run", bench.write(environment={"isolation": "Thread"}), "--runner", "ray")

    assert done.returncode == 2
    assert "spec.environment.isolation" in done.stderr
    assert "write isolation: Process, or use --runner threads" in done.stderr


def test_a_ray_client_is_refused_with_the_way_out(bench: Bench) -> None:
    done = bench.run("run", bench.write(), "--ray-address", "ray://127.0.0.1:10001")

    assert done.returncode == 4
    assert "Ray Client" in done.stderr
    assert "auto" in done.stderr


def test_provider_ray_runs_in_threads_if_the_user_says_so(bench: Bench) -> None:
    done = bench.run("run", bench.write(environment={"provider": "Ray"}), "--runner", "threads")

    assert done.returncode == 0, done.stderr


# -- the place -------------------------------------------------------------------------------------------------------


def test_each_actor_has_the_most_that_any_combination_asks_for(tmp_path: Path) -> None:
    assert _cpus(tmp_path) == 1.0
    assert _cpus(tmp_path, "500m") == 0.5
    assert _cpus(tmp_path, "500m", "1500m") == 2.0  # Ray shares out parts of one processor only


def _cpus(folder: Path, *asked: str) -> float:
    overrides: list[JSON] = [{"match": {"side": "left"}, "resources": {"cpu": cpu}} for cpu in asked]
    variants: dict[str, JSON] = {"matrix": {"side": ["left"]}, "overrides": overrides}
    return cpus_per_trial(load(batch_file(folder, "observed:build", variants=variants)).batch)


def test_what_a_cluster_should_set_is_documented() -> None:
    page = (EXAMPLE.parents[2] / "docs" / "runners.md").read_text(encoding="utf-8")

    assert [
        f"| `{name}` | `{value}` |" for name, value in RAY_SETTINGS.items() if f"`{name}` | `{value}`" not in page
    ] == []


def test_an_address_where_nothing_listens_is_named_at_once(bench: Bench) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]

    done = bench.run("run", bench.write(), "--ray-address", f"127.0.0.1:{port}")

    assert done.returncode == 4
    assert f"no connection to the Ray cluster at 127.0.0.1:{port}: [Errno 111] Connection refused" in done.stderr


def test_what_ray_says_of_a_cluster_it_cannot_join_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = _FakeRay()
    monkeypatch.setitem(sys.modules, "ray", fake)

    with (
        pytest.raises(EnvironmentUnavailable, match="no connection to the Ray cluster at auto: timed out"),
        connected(RayConfig("auto"), 1),
    ):
        pass

    assert fake.joined == ["auto"]
    assert fake.shut_down


# As in test_agents: a Ray of its own process.
@pytest.mark.alone
def test_a_process_that_was_connected_is_the_parent_it_was_before() -> None:
    with local_ray(1):
        pass

    assert not adopts_orphans()
    assert subprocess.run([sys.executable, "-c", "raise SystemExit(7)"], check=False).returncode == 7


def test_a_connection_that_there_is_already_is_used_and_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = _FakeRay(initialised=True)
    monkeypatch.setitem(sys.modules, "ray", fake)

    with connected(RayConfig(), 1):
        pass

    assert (fake.joined, fake.shut_down) == ([], False)


class _FakeRay:
    """A module that is asked to connect and cannot."""

    def __init__(self, *, initialised: bool = False) -> None:
        self.joined: list[object] = []
        self.shut_down = False
        self._initialised = initialised

    def is_initialized(self) -> bool:
        return self._initialised

    def init(self, *, address: str, **_options: object) -> None:
        self.joined.append(address)
        raise ConnectionError("timed out")

    def shutdown(self) -> None:
        self.shut_down = True


# -- the example -----------------------------------------------------------------------------------------------------


def test_the_example_ends_on_ray_trial_by_trial_as_it_does_locally(tmp_path: Path) -> None:
    with local_ray(2):
        on_ray = _results(EXAMPLE, tmp_path / "ray.db", RayConfig())
    locally = _results(EXAMPLE, tmp_path / "local.db", None)

    assert len(on_ray) == 837
    assert on_ray == locally


def _results(
    file: Path, target: Path, ray: RayConfig | None
) -> dict[str, tuple[Outcome, Reason | str, float | None, str]]:
    with LocalEngine(ray=ray) as engine, open_store(str(target)) as store:
        loaded = load(file)
        record = engine.accept(store, loaded, files_folder(str(target)))
        finished = engine.run(store, files_folder(str(target)), record, loaded, on_start=lambda _running: None)
        assert finished.verdict is Verdict.SUCCEEDED
        return {
            result.trial_id: (result.outcome, result.reason, result.score, result.output_digest)
            for result in store.results(record.id)
        }


def test_combinations_on_ray_share_what_they_have_in_common(tmp_path: Path) -> None:
    log, names = tmp_path / "log", [f"n{number}" for number in range(1, 8)]
    file = batch_file(
        tmp_path,
        "branching:build",
        workflow={
            "factory": "branching:build",
            "source": {"path": str(WORKFLOWS)},
            "sharedPrefix": {"nodes": [{"name": name, "dependsOn": []} for name in names]},
        },
        variants={"matrix": {"first": ["a"], "last": ["0", "1", "2"]}},
        cases=[{"name": "one", "input": {"log": str(log)}}],
    )

    with local_ray(2):
        ended = _results(file, tmp_path / "ray.db", RayConfig())

    assert {outcome for outcome, *_ in ended.values()} == {Outcome.PASSED}
    assert len(log.read_text().split()) == 7 + 3 * 3
