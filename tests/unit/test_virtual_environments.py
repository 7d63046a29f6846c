"""Environments of variants with packages of their own: made once, really different, and nothing half-made is left."""

from __future__ import annotations

import signal
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from batch_bench import batch_file
from batchyard.clock import SystemClock
from batchyard.engine.ports import RuntimeEnvironment
from batchyard.engine.sources import load
from batchyard.environments.in_process import InProcessEnvironment
from batchyard.environments.virtual import VirtualEnvironments
from batchyard.environments.virtual_build import find_uv
from batchyard.environments.virtual_recipe import CannotBeInstalled
from batchyard.environments.virtual_upkeep import Bounds, kept, prune
from batchyard.linux import descendants
from batchyard.model.errors import EnvironmentUnavailable
from package_bench import Project, a_wheel
from plain_parts import FOLDER
from runner_bench import CLOCK, LONG, await_all_dead, await_true

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from batchyard.clock import Clock

NOTHING = Bounds(bytes=0)


@dataclass
class EnvironmentBench:
    """Makes environments in a folder of a test's own."""

    folder: Path

    @property
    def root(self) -> Path:
        return self.folder / "environments"

    @contextmanager
    def opened(self, clock: Clock = CLOCK) -> Iterator[VirtualEnvironments]:
        environments = VirtualEnvironments("plain_parts:PlainParts", clock, self.root)
        try:
            yield environments
        finally:
            environments.close()

    def python(
        self, *packages: object, env: Mapping[str, str] | None = None, seconds: float = LONG, over: bool = False
    ) -> Path:
        """The interpreter of an environment with the packages; nobody uses it afterwards."""
        with self.opened() as environments:
            return python_of(environments, *packages, env=env, seconds=seconds, over=over)

    def left(self) -> list[str]:
        """What is there besides whole environments and locks."""
        whole = {one.key for one in kept(self.root)}
        return sorted(path.name for path in self.root.iterdir() if path.is_dir() and path.name not in whole)


class LateOnce(SystemClock):
    """A clock on which every deadline has passed once the project is being built."""

    def __init__(self, project: Project) -> None:
        self._project = project

    def monotonic(self) -> float:
        return super().monotonic() + (1e6 if self._project.builds else 0)


def python_of(
    environments: VirtualEnvironments,
    *packages: object,
    env: Mapping[str, str] | None = None,
    seconds: float = LONG,
    over: bool = False,
) -> Path:
    runtime = RuntimeEnvironment("key", env or {}, packages=tuple(map(str, packages)))
    return environments.python(runtime, until=CLOCK.monotonic() + seconds, is_over=lambda: over)


def said_by(python: Path, code: str) -> str:
    return subprocess.run([python, "-P", "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def maker_of(bench: EnvironmentBench, project: Project) -> list[str]:
    """The command of a process that makes an environment with the project."""
    return [sys.executable, str(FOLDER / "environment_child.py"), str(bench.root), str(project.folder)]


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EnvironmentBench:
    monkeypatch.setenv("PYTHONPATH", str(FOLDER))
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
    return EnvironmentBench(tmp_path)


def test_a_package_is_seen_by_its_environment_only_and_the_base_installation_by_all(bench: EnvironmentBench) -> None:
    needs = ["pydantic>=2", "no-such-package; extra == 'more'"]

    python = bench.python(a_wheel(bench.folder, needs=needs))

    code = "import motto, pydantic, batchyard, sys; print(motto.TEXT, pydantic.__file__, sys.prefix != sys.base_prefix)"
    text, where, virtual = said_by(python, code).split()
    assert (text, virtual) == ("1.0", "True")
    assert bench.root not in Path(where).parents


def test_a_package_of_the_base_installation_can_be_had_in_another_version(bench: EnvironmentBench) -> None:
    here = a_wheel(bench.folder, "iniconfig", "99.0")

    python = bench.python(here)

    assert said_by(python, "import iniconfig; print(iniconfig.TEXT)") == "99.0"


def test_a_folder_is_the_package_that_its_project_names_so_that_a_later_override_replaces_it(tmp_path: Path) -> None:
    for folder, name in (("m1", "Motto"), ("m2", "motto")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "pyproject.toml").write_text(f'[project]\nname = "{name}"\nversion = "1"\n')
    overrides = [
        {"match": {}, "packages": [f"{tmp_path}/m1"]},
        {"match": {"motto": "new"}, "packages": [f"motto @ {tmp_path}/m2"]},
    ]
    variants = {"matrix": {"motto": ["old", "new"]}, "overrides": overrides}
    loaded = load(batch_file(tmp_path, "quoting:build", variants=variants))
    environment = InProcessEnvironment(loaded.batch, tmp_path, {})

    seen = {one.name: environment.runtime(one).packages for one in loaded.plan.combinations}

    assert seen == {"old": (f"{tmp_path}/m1",), "new": (f"motto @ {tmp_path}/m2",)}


def test_the_same_recipe_is_made_once_and_another_content_of_the_file_is_another(bench: EnvironmentBench) -> None:
    wheel = a_wheel(bench.folder)
    first = bench.python(wheel)
    (before,) = bench.root.glob("*/environment.json")
    made = before.stat().st_ino

    again = bench.python(wheel)
    other = bench.python(a_wheel(bench.folder, code="TEXT = 'changed'\n"))

    assert (again, before.stat().st_ino) == (first, made)
    assert [said_by(one, "import motto; print(motto.TEXT)") for one in (first, other)] == ["1.0", "changed"]


@pytest.mark.proves("variant-environments")
def test_two_processes_that_want_the_same_at_once_make_it_once(bench: EnvironmentBench) -> None:
    project = Project(bench.folder)
    project.hold()
    command = maker_of(bench, project)

    children = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    await_true(lambda: project.builds, "a build")
    project.let_go()
    said = [child.communicate(timeout=LONG)[0].strip() for child in children]

    assert said[0] == said[1] != ""
    assert len(project.builds) == 1


def test_what_takes_too_long_is_ended_with_all_its_processes_and_nothing_is_left(bench: EnvironmentBench) -> None:
    project = Project(bench.folder)
    project.hold()

    with (
        bench.opened(LateOnce(project)) as environments,
        pytest.raises(EnvironmentUnavailable, match=r"deadline passed; raise spec\.deadlines\.environmentSeconds"),
    ):
        python_of(environments, project.folder)

    await_all_dead(project.builds)
    assert len(project.builds) == 1
    assert bench.left() == []


def test_a_batch_that_is_over_waits_for_no_packages(bench: EnvironmentBench) -> None:
    project = Project(bench.folder)
    project.hold()

    with pytest.raises(EnvironmentUnavailable, match="given up, since the batch is over"):
        bench.python(project.folder, over=True)

    assert kept(bench.root) == []


def test_a_killed_maker_leaves_nothing_that_is_used_and_the_next_one_tidies_up(bench: EnvironmentBench) -> None:
    project = Project(bench.folder)
    project.hold()
    command = maker_of(bench, project)
    child = subprocess.Popen(command)
    await_true(lambda: project.builds, "a build")
    started = descendants(child.pid)

    child.kill()
    child.wait()
    await_all_dead(started)
    assert len(bench.left()) == 1
    project.let_go()
    python = bench.python(project.folder)

    assert said_by(python, "import lantern; print(lantern.TEXT)") == "lit"
    assert bench.left() == []


@pytest.mark.parametrize(
    ("name", "version", "needs", "said"),
    [
        ("motto", "1.0", ["no-such-package"], "uv says: error: No solution found .* no-such-package"),
        ("motto", "1.0", ["pydantic>=99"], "motto 1.0 needs pydantic>=99, and the base installation has"),
        ("pydantic", "1.0", [], "batchyard .* needs pydantic.*, and packages bring 1.0; choose versions that fit"),
    ],
)
def test_what_does_not_fit_together_is_refused_before_any_trial(
    bench: EnvironmentBench, name: str, version: str, needs: list[str], said: str
) -> None:
    with pytest.raises(CannotBeInstalled, match=said):
        bench.python(a_wheel(bench.folder, name, version, needs=needs))

    assert kept(bench.root) == []
    assert bench.left() == []


@pytest.mark.parametrize(("package", "said"), [("motto==one", "is no requirement"), ("./no-1.0.whl", "there is no")])
def test_a_requirement_that_means_nothing_is_a_fault_of_the_file(
    bench: EnvironmentBench, package: str, said: str
) -> None:
    with pytest.raises(CannotBeInstalled, match=said):
        bench.python(package)


def test_an_index_out_of_reach_is_the_places_fault_and_its_password_is_not_told(bench: EnvironmentBench) -> None:
    index = "http://me:hunter22@127.0.0.1:9/simple"

    with pytest.raises(EnvironmentUnavailable, match="uv says") as refused:
        bench.python("motto", env={"UV_DEFAULT_INDEX": index, "UV_HTTP_RETRIES": "0", "UV_OFFLINE": "0"})

    assert not isinstance(refused.value, CannotBeInstalled)
    assert "127.0.0.1" in str(refused.value)
    assert "hunter22" not in str(refused.value)


def test_how_uv_ended_is_known_where_the_ends_of_children_are_ignored_as_ray_has_it(bench: EnvironmentBench) -> None:
    wheel = a_wheel(bench.folder, needs=["no-such-package"])
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        with pytest.raises(CannotBeInstalled, match="No solution found"):
            bench.python(wheel)
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_without_uv_it_says_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentUnavailable, match=r"pip install 'batchyard\[packages\]'"):
        find_uv(str(tmp_path))


def test_nothing_goes_but_environments_whatever_else_is_in_the_folder(bench: EnvironmentBench) -> None:
    for other in ("thesis", ".config", "cafe", "0123456789abcdef0123456789abcdef.old", ".making-bread"):
        (bench.root / other).mkdir(parents=True)
        (bench.root / other / "environment.json").write_text('{"packages": [], "python": "3.12", "bytes": 1}')
        (bench.root / other / "kept.txt").touch()
    (bench.root / "thesis" / "environment.json").unlink()
    half = bench.root / f".making-{'0' * 32}-x"
    half.mkdir()
    before = sorted(place for place in bench.root.rglob("*") if place != half)

    removed = prune(bench.root, NOTHING, CLOCK.now())

    assert (list(removed), kept(bench.root)) == ([], [])
    assert sorted(bench.root.rglob("*")) == before


def test_what_is_in_use_stays_and_the_rest_goes_oldest_first(bench: EnvironmentBench) -> None:
    wheels = [a_wheel(bench.folder, version=f"{number}.0") for number in range(3)]
    with bench.opened() as environments:
        used = python_of(environments, wheels[0])
        for wheel in wheels[1:]:
            bench.python(wheel)
        newest = kept(bench.root)[0]

        first = prune(bench.root, Bounds(count=2), CLOCK.now())
        then = prune(bench.root, NOTHING, CLOCK.now())

        assert [one.in_use for one in kept(bench.root)] == [True]
        assert used.exists()
    assert [len(first), [one.key for one in then]] == [1, [newest.key]]
    assert len(prune(bench.root, NOTHING, CLOCK.now())) == 1
    assert list(bench.root.iterdir()) == []
