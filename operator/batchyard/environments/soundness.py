"""Run by a new virtual environment's own Python: do its packages and the base installation fit together?

``python -P -m batchyard.environments.soundness MODULE:CLASS`` prints one fault a line, and none if the trials' workers
start there. The packages win over the base installation, which lies behind them on the import path.
"""

from __future__ import annotations

import importlib
import re
import sys
import sysconfig
from importlib.metadata import Distribution, distributions
from typing import TYPE_CHECKING, TypeAlias

from packaging.requirements import InvalidRequirement, Requirement

if TYPE_CHECKING:
    from collections.abc import Iterator

_OWN = "batchyard"

Found: TypeAlias = dict[str, Distribution]
"""Distributions by their normalised names."""


def main(parts: str) -> None:
    """Print what is wrong."""
    for fault in (*misfits(sysconfig.get_path("purelib")), *_worker_faults(parts)):
        print(fault)  # noqa: T201 - the answer to whoever started this process


def misfits(folder: str) -> Iterator[str]:
    """Yield what does not fit of the packages in ``folder``, with what they need and with what Batchyard needs."""
    seen: Found = {}
    for found in distributions():
        seen.setdefault(_name(found.name), found)
    own = {_name(found.name): found for found in distributions(path=[folder])}
    for name, found in own.items():
        if seen[name].version != found.version:
            yield (
                f"{name} {found.version} is installed for this variant, but its trials would see {seen[name].version}, "
                "which comes first on the import path; take it out of PYTHONPATH"
            )
    yield from _needs(own, seen, of=own)
    yield from _needs(_needed_by(_OWN, seen), seen, of=own, only_own=True)


def _needs(needing: Found, seen: Found, *, of: Found, only_own: bool = False) -> Iterator[str]:
    """Yield what of the needs of ``needing`` is not met; ``of`` is what this environment has of its own."""
    for name, distribution in needing.items():
        if only_own and name in of:
            continue  # it was looked at already
        for requirement in _requirements(distribution):
            wanted = _name(requirement.name)
            if only_own and wanted not in of:
                continue  # how the base installation is, is not this variant's affair
            text = f"{name} {distribution.version} needs {requirement.name}{requirement.specifier}"
            found = seen.get(wanted)
            if found is None:
                yield f"{text}, which is not there; add it to packages"
            elif not requirement.specifier.contains(found.version, prereleases=True):
                place = "packages bring" if wanted in of else "the base installation has"
                remedy = "choose versions that fit" if wanted in of else f"add {wanted} to packages"
                yield f"{text}, and {place} {found.version}; {remedy}"


def _needed_by(name: str, seen: Found) -> Found:
    """Return the distribution and all that it needs, directly or not, as far as they are there."""
    found: Found = {}
    waiting = [name]
    while waiting:
        one = waiting.pop()
        if one in seen and one not in found:
            found[one] = seen[one]
            waiting += [_name(requirement.name) for requirement in _requirements(seen[one])]
    return found


def _requirements(distribution: Distribution) -> Iterator[Requirement]:
    for text in distribution.requires or ():
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            continue  # what its author wrote down wrong cannot be checked
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield requirement


def _worker_faults(parts: str) -> Iterator[str]:
    """Yield why a worker does not start here, if it does not."""
    module, _, name = parts.partition(":")
    try:
        importlib.import_module("batchyard.runners.zygote")
        getattr(importlib.import_module(module), name)().warm_up()
    except Exception as err:  # the packages' own code runs here, and may raise anything
        text = f"{type(err).__name__}: {' '.join(str(err).split())}"
        yield f"what runs the trials does not start with these packages: {text}"


def _name(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    main(sys.argv[1])
