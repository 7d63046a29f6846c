"""The virtual environments of variants with packages of their own: each made once, kept by its recipe, and shared.

Below one folder, by default in the user's cache: a folder for each key, made beside its place and then renamed, and a
lock file for each. Whoever uses an environment holds its lock with others, whoever makes or removes it holds it alone.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from batchyard import config
from batchyard.environments import virtual_build
from batchyard.environments.commands import Patience
from batchyard.environments.virtual_lock import EnvironmentLock
from batchyard.environments.virtual_recipe import CannotBeInstalled, Recipe, recipe_of
from batchyard.environments.virtual_upkeep import BUILDING, Bounds, is_made, mark_used, prune
from batchyard.model.errors import EnvironmentUnavailable, Fault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from batchyard.clock import Clock
    from batchyard.engine.ports import EnvironmentProvider, RuntimeEnvironment
    from batchyard.model.spec import BatchTest
    from batchyard.model.trial import Combination


class VirtualEnvironments:
    """Gives the Python that runs trials with packages of their own. Any thread may ask; ``close`` when nothing runs."""

    def __init__(self, parts: str, clock: Clock, folder: Path | None = None) -> None:
        """``parts`` names, as ``module:class``, what a worker starts with; ``folder`` is where to keep them."""
        self._parts, self._clock = parts, clock
        self._folder = folder
        self._guard = threading.Lock()  # guards _used
        self._used: dict[tuple[tuple[str, ...], tuple[tuple[str, str], ...]], tuple[Path, EnvironmentLock]] = {}

    def python(self, runtime: RuntimeEnvironment, *, until: float, is_over: Callable[[], bool]) -> Path:
        """Return the interpreter with the packages of ``runtime``, made now if it was never made here.

        Raises ``EnvironmentUnavailable``; ``CannotBeInstalled`` if another place would not help.
        """
        asked = (runtime.packages, tuple(sorted(runtime.env.items())))
        with self._guard:
            known = self._used.get(asked)
        if known is not None:
            return known[0]
        recipe = recipe_of(runtime.packages, runtime.env)
        root = self._folder or config.environments_folder()
        python, lock = self._found_or_made(root, recipe, runtime, Patience(self._clock, until, is_over))
        with self._guard:
            if asked in self._used:
                lock.release()
                return self._used[asked][0]
            self._used[asked] = python, lock
        return python

    def close(self) -> None:
        """Let the environments go: from now on they may be removed."""
        with self._guard:
            for _, lock in self._used.values():
                lock.release()
            self._used.clear()

    def _found_or_made(
        self, root: Path, recipe: Recipe, runtime: RuntimeEnvironment, patience: Patience
    ) -> tuple[Path, EnvironmentLock]:
        place = root / recipe.key
        try:
            root.mkdir(parents=True, exist_ok=True)
            lock = EnvironmentLock(root, recipe.key)
            try:
                while not lock.shared_if(lambda: is_made(place), patience):
                    lock.alone(patience)
                    if not is_made(place):
                        self._make(root, place, recipe, runtime, patience)
            except BaseException:
                lock.release()
                raise
        except OSError as err:
            raise EnvironmentUnavailable(
                f"no environment can be kept in {root}: {err.strerror or err}; free some space or name another folder "
                f"with {config.ENVIRONMENTS_VARIABLE}"
            ) from err
        mark_used(place)
        return place / "bin" / "python", lock

    def _make(self, root: Path, place: Path, recipe: Recipe, runtime: RuntimeEnvironment, patience: Patience) -> None:
        with _beside(root, recipe.key) as folder:
            virtual_build.make(folder, recipe, self._parts, runtime.env, patience)
            virtual_build.describe(folder, recipe, self._clock.now().timestamp())
            shutil.rmtree(place, ignore_errors=True)  # what a removal that was killed left of it
            folder.rename(place)
        prune(root, Bounds(), self._clock.now())


@contextmanager
def _beside(root: Path, key: str) -> Iterator[Path]:
    """Give an empty folder for an environment under way, which only the holder of the key's lock may have."""
    _tidy_up(root, key)
    folder = Path(tempfile.mkdtemp(prefix=f"{BUILDING}{key}-", dir=root))
    try:
        yield folder
    finally:
        _tidy_up(root, key)


def _tidy_up(root: Path, key: str) -> None:
    """Remove what is not done: of this process, and of others that were killed."""
    for left in root.glob(f"{BUILDING}{key}-*"):
        shutil.rmtree(left, ignore_errors=True)


def package_faults(
    batch: BatchTest,
    combinations: Sequence[Combination],
    provider: EnvironmentProvider,
    environments: VirtualEnvironments,
    *,
    until: float,
    is_over: Callable[[], bool],
) -> list[Fault]:
    """Make the environment of every combination; return what cannot be installed, all of it.

    Raises ``EnvironmentUnavailable`` if there is no finding out here.
    """
    faults: dict[str, Fault] = {}
    seen: set[str] = set()
    for combination in combinations:
        runtime = provider.runtime(combination)
        if not runtime.packages or runtime.key in seen:
            continue
        seen.add(runtime.key)
        try:
            environments.python(runtime, until=until, is_over=is_over)
        except CannotBeInstalled as err:
            faults.setdefault(str(err), Fault(_place_of(batch, combination), combination.name, str(err)))
    return list(faults.values())


def _place_of(batch: BatchTest, combination: Combination) -> str:
    """Return where the packages of the combination stand: the last place, if there are several."""
    overrides = enumerate(batch.spec.variants.overrides)
    matching = [index for index, override in overrides if override.packages and override.matches(combination.variants)]
    return f"spec.variants.overrides[{matching[-1]}].packages"
