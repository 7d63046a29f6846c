"""Shared beginnings of runs on this machine: which there may be, and the folder that they are kept in.

Not for using them: ``engine.prefixes`` does.
"""

from __future__ import annotations

import base64
import hashlib
from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING

import orjson
import structlog

from batchyard.decide.prefixes import Shape
from batchyard.engine.attempts import Prefix
from batchyard.engine.prefixes import KeptPrefix, SharedPrefixes
from batchyard.local_files import checkpoints_folder
from batchyard.model.errors import EnvironmentUnavailable
from batchyard.model.trial import NodeBoundary
from batchyard.runners.marks import workflow_marks
from batchyard.runners.workers import Wanted
from batchyard.setups import shareable_nodes

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from batchyard.clock import Clock
    from batchyard.engine.marks import GraphMarks, ShareableNode
    from batchyard.engine.ports import EnvironmentProvider, RuntimeEnvironment
    from batchyard.engine.sources import LoadedBatch
    from batchyard.runners.worker import Setup
    from batchyard.runners.workers import LedWorker
    from batchyard.runners.zygotes import Zygotes

_log = structlog.get_logger(__name__)

_ENDING = ".prefix"


def open_prefixes(
    loaded: LoadedBatch,
    files: Path,
    batch_id: str,
    zygotes: Zygotes,
    setup: Setup,
    provider: EnvironmentProvider,
    clock: Clock,
) -> SharedPrefixes | None:
    """Return what the batch's trials may share, kept in a folder of its own; None if that is not asked for.

    The workflows are built in workers. If that fails, nothing is shared: the trials will tell what is wrong.
    """
    declared, plan = shareable_nodes(loaded.batch.spec), loaded.plan
    if not declared or len(plan.combinations) < 2:
        return None
    seconds = loaded.batch.spec.deadlines.environment_seconds
    until = clock.monotonic() + seconds

    def spawn(runtime: RuntimeEnvironment) -> LedWorker:
        return zygotes.spawn(Wanted(runtime, until, lambda: False, lambda _order, _outcome: None))

    try:
        marks = workflow_marks(spawn, setup, provider, plan.combinations, declared, seconds=seconds, clock=clock)
    except EnvironmentUnavailable as err:
        _log.warning("nothing is shared between combinations", error=str(err))
        return None
    shapes = [Shape(found.marks, {node: tuple(ends) for node, ends in found.leads_to.items()}) for found in marks]
    return SharedPrefixes(
        plan,
        shapes,
        PrefixFolder(checkpoints_folder(files, batch_id) / "prefixes"),
        not_shared=_not_shared(marks, declared),
    )


def _not_shared(marks: Sequence[GraphMarks], declared: Sequence[ShareableNode]) -> dict[str, str]:
    """Return why declared nodes are not shared, one reason a node."""
    known = {node for found in marks for node in found.nodes}
    missing = {node.name: "no workflow has a node of this name" for node in declared if node.name not in known}
    return {**missing, **{node: why for found in marks for node, why in found.unmarked.items()}}


class PrefixFolder:
    """See ``engine.prefixes.PrefixKeeper``: a file a beginning.

    A file that is there is whole (it is renamed into place) and has its own digest, so that a damaged one counts as
    lost. Not durable over a power cut: what is lost is run again.
    """

    def __init__(self, folder: Path) -> None:
        """The folder is made when there is something to keep, and removed with the last of it."""
        self._folder = folder

    def keep(self, ordinal: int, kept: KeptPrefix) -> None:
        """Keep one, whole or not at all."""
        body = orjson.dumps(
            {
                "thread": base64.b64encode(kept.prefix.thread).decode(),
                "boundaries": [asdict(boundary) for boundary in kept.prefix.boundaries],
                "marks": dict(kept.marks),
            }
        )
        self._folder.mkdir(parents=True, exist_ok=True)
        written = self._file(ordinal).with_suffix(".new")
        written.write_bytes(hashlib.sha256(body).digest() + body)
        written.replace(self._file(ordinal))

    def get(self, ordinal: int) -> KeptPrefix | None:
        """Return one, None if it is not there or damaged."""
        try:
            content = self._file(ordinal).read_bytes()
        except OSError:
            return None
        digest, body = content[:32], content[32:]
        if hashlib.sha256(body).digest() != digest:
            return None
        told = orjson.loads(body)
        boundaries = tuple(NodeBoundary(**boundary) for boundary in told["boundaries"])
        return KeptPrefix(Prefix(base64.b64decode(told["thread"]), boundaries), told["marks"])

    def known(self) -> Sequence[int]:
        """Return the trials of which one is kept."""
        return [int(file.stem) for file in self._folder.glob(f"*{_ENDING}") if file.stem.isdigit()]

    def drop(self, ordinal: int) -> None:
        """Forget one."""
        with suppress(OSError):
            self._file(ordinal).unlink(missing_ok=True)
            self._folder.rmdir()

    def _file(self, ordinal: int) -> Path:
        return self._folder / f"{ordinal}{_ENDING}"
