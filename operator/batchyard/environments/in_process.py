"""The environment on this machine: worker processes of the runner, with values and folders of their own.

It says which packages a combination's trials have; what installs them is ``virtual``.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from batchyard import config
from batchyard.engine.ports import RuntimeEnvironment
from batchyard.model.errors import EnvironmentUnavailable, Fault
from batchyard.model.quantity import to_bytes
from batchyard.model.requirement import required

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from batchyard.model.spec import BatchTest
    from batchyard.model.spec_workload import Override
    from batchyard.model.trial import Combination


def attempt_folder(folder: Path, batch_id: str, trial_id: str, attempt: int) -> Path:
    """Return where an attempt's files are while it runs, and afterwards if they are kept."""
    return folder / batch_id / f"{trial_id.replace('/', '_')}_{attempt}"


class InProcessEnvironment:
    """Gives each combination its environment values and each attempt a folder. See ``EnvironmentProvider``."""

    def __init__(self, batch: BatchTest, folder: Path, inherited: Mapping[str, str], base: Path | None = None) -> None:
        """``folder`` holds the workspaces; ``inherited`` are secret values the trials see anyway.

        The path of the workflow's source is relative to ``base``.
        """
        self._spec = batch.spec
        self._folder = folder
        self._inherited = dict(inherited)
        self._source = PurePosixPath(base or Path.cwd(), batch.spec.workflow.source.path or "")
        self._known: dict[str, RuntimeEnvironment] = {}

    @staticmethod
    def faults(batch: BatchTest) -> list[Fault]:
        """Return what the file asks for that this machine's environment cannot give."""
        source = batch.spec.workflow.source
        if source.path is not None:
            return []
        return [
            Fault(
                "spec.workflow.source",
                "image" if source.image is not None else "configMapRef",
                "is for a cluster; a run on this machine needs the code in a folder",
                "name it with spec.workflow.source.path",
            )
        ]

    @property
    def secrets(self) -> tuple[str, ...]:
        """Return the values that must not be written anywhere: inherited ones and those whose names say so."""
        own = dict(self._spec.environment.env)
        for override in self._spec.variants.overrides:
            own.update(override.env)
        return (*self._inherited.values(), *config.secret_values(own))

    def ensure(self, batch_id: str) -> None:
        """Make the batch's folder. Raises ``EnvironmentUnavailable``."""
        try:
            (self._folder / batch_id).mkdir(parents=True, exist_ok=True)
        except OSError as err:
            raise EnvironmentUnavailable(
                f"no folder for workspaces can be made at {self._folder / batch_id}: {err.strerror}; "
                "free some space or name another place with --store"
            ) from err

    def runtime(self, combination: Combination) -> RuntimeEnvironment:
        """Return the values and bounds of one combination: the batch's own, then each override that matches."""
        known = self._known.get(combination.name)
        if known is None:
            known = self._known[combination.name] = self._resolve(combination)
        return known

    def workspace(self, batch_id: str, trial_id: str, attempt: int) -> Path:
        """Make and return an empty folder named after the attempt."""
        path = attempt_folder(self._folder, batch_id, trial_id, attempt)
        try:
            path.mkdir()
        except FileExistsError:
            # Left by a run that was killed in this very attempt; its files are not this attempt's.
            shutil.rmtree(path, ignore_errors=True)
            path.mkdir(exist_ok=True)
        return path

    def release_workspace(self, path: Path, *, keep: bool) -> None:
        """Remove an attempt's folder unless it is to be kept and holds anything."""
        try:
            path.rmdir()  # most attempts write nothing, and an empty folder tells nothing
        except OSError:
            if not keep:
                shutil.rmtree(path, ignore_errors=True)

    def release(self, batch_id: str) -> None:
        """Remove the batch's folder unless kept workspaces are in it."""
        path = self._folder / batch_id
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()

    def _resolve(self, combination: Combination) -> RuntimeEnvironment:
        env = dict(self._spec.environment.env)
        memory: str | None = None
        packages: dict[str, str] = {}
        for override in self._spec.variants.overrides:
            if override.matches(combination.variants):
                env.update(override.env)
                packages.update(self._packages(override))
                if override.resources is not None and override.resources.memory is not None:
                    memory = override.resources.memory
        bound = to_bytes(memory) if memory is not None else None
        wanted = tuple(packages[name] for name in sorted(packages))
        key = hashlib.sha256(json.dumps([sorted(env.items()), bound, wanted]).encode()).hexdigest()[:16]
        return RuntimeEnvironment(key, env, bound, wanted)

    def _packages(self, override: Override) -> Iterator[tuple[str, str]]:
        """Yield each requirement by the package it names, so that a later override has another version of it."""
        for text in override.packages:
            requirement = required(text).in_folder(self._source)
            yield requirement.name or _package_of(requirement.path), requirement.text


def _package_of(folder: str) -> str:
    """Return the package that a folder is the project of, the folder itself if it does not say."""
    # Few batches name folders, and every command would wait for what reads them.
    from batchyard.environments.virtual_recipe import CannotBeInstalled, project_name

    try:
        return project_name(Path(folder))
    except CannotBeInstalled:
        return folder  # it is told of when the environment is made, with what to do
