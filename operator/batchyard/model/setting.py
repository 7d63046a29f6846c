"""What a batch ran with beyond its spec: the code, the packages, Python and the place. Plain data.

Not for finding it out (``engine.settings``) nor for holding two against each other (``decide.amending``).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchyard.model.trial import JSON

DIGEST = "sha256:"
"""What a value in ``Setting.pods`` begins with that is only a digest of what it stands for."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What decides a trial's course and stands in no spec.

    ``files`` are the digests of the workflow's files by their path in its folder; ``apart`` are paths there that are
    no code but the batch's own file and its cases. ``packages`` has name and version of each that is installed.
    ``pods`` is what decides what its pods are, in a cluster, by its name: the value, or a digest of it.
    ``unknown`` is why the code is not known, "" if it is. ``written`` are those of ``apart`` that the batch's own run
    writes: its reports and its store. ``ignored`` are the patterns of what the user has left out by now; not kept.
    """

    files: Mapping[str, str] = field(default_factory=dict)
    apart: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    python: str = ""
    place: str = ""
    unknown: str = ""
    pods: Mapping[str, str] = field(default_factory=dict)
    written: tuple[str, ...] = ()
    ignored: str = field(default="", compare=False)

    def to_json(self) -> dict[str, JSON]:
        """Return it as JSON."""
        return {
            "files": dict(self.files),
            "apart": list(self.apart),
            "packages": list(self.packages),
            "python": self.python,
            "place": self.place,
            "unknown": self.unknown,
            **({"pods": dict(self.pods)} if self.pods else {}),
            **({"written": list(self.written)} if self.written else {}),
        }

    @classmethod
    def from_json(cls, body: Mapping[str, JSON]) -> Setting:
        """Return what ``to_json`` gave. Raises ``KeyError`` or ``TypeError`` for anything else."""
        return cls(
            files=dict(body["files"]),
            apart=tuple(body["apart"]),
            packages=tuple(body["packages"]),
            python=body["python"],
            place=body["place"],
            unknown=body["unknown"],
            pods=dict(body.get("pods", {})),
            written=tuple(body.get("written", ())),
        )
