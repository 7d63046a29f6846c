"""Variants with packages of their own, as a whole batch: two versions of one package beside each other."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from batch_bench import BatchBench, cases
from batchyard.config import ENVIRONMENTS_VARIABLE
from package_bench import a_wheel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batchyard.engine.sources import LoadedBatch

VERSIONS = {"old": "1.0", "new": "2.0"}


@pytest.fixture(scope="module")
def wheels() -> Iterator[Path]:
    """A folder with both versions, and environments that the whole module shares."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv(ENVIRONMENTS_VARIABLE, f"{folder}/environments")
        patch.setenv("UV_OFFLINE", "1")
        patch.setenv("UV_CACHE_DIR", f"{folder}/uv")
        for version in VERSIONS.values():
            a_wheel(Path(folder), version=version)
        yield Path(folder)


def loaded(bench: BatchBench, wheels: Path) -> LoadedBatch:
    """Two trials of each version, two at a time."""
    overrides = [
        {"match": {"motto": name}, "packages": [f"{wheels}/motto-{version}-py3-none-any.whl"], "env": {"MOTTO": name}}
        for name, version in VERSIONS.items()
    ]
    matrix = {"matrix": {"motto": list(VERSIONS)}, "overrides": overrides}
    return bench.load("quoting:build", variants=matrix, cases=cases("one", "two"), parallelism=2)


@pytest.mark.timeout(300)  # LangGraph is imported five times
@pytest.mark.proves("variant-environments", "bug-14")
def test_two_versions_of_one_package_run_side_by_side(bench: BatchBench, wheels: Path) -> None:
    batch = loaded(bench, wheels)
    assert bench.engine.check(batch) == []

    ran = bench.run(batch)

    seen = {(result.combination, result.case): result.output for result in ran.finals}
    assert len(seen) == 4
    for (combination, _), output in seen.items():
        assert isinstance(output, dict)
        assert (output["text"], output["variable"]) == (VERSIONS[combination], combination)
        assert str(output["prefix"]).startswith(f"{wheels}/environments/")
    assert len({output["prefix"] for output in seen.values() if isinstance(output, dict)}) == 2


def test_what_cannot_be_installed_is_told_of_every_variant_before_anything_runs(
    bench: BatchBench, wheels: Path
) -> None:
    overrides = [
        {"match": {"motto": "old"}, "packages": [f"motto @ {wheels}/no-such-file.whl"]},
        {"match": {"motto": "new"}, "packages": [f"{a_wheel(wheels / 'bad', needs=['no-such-package'])}"]},
    ]
    batch = bench.load("quoting:build", variants={"matrix": {"motto": list(VERSIONS)}, "overrides": overrides})

    faults = bench.engine.check(batch)

    assert [fault.path for fault in faults] == [f"spec.variants.overrides[{index}].packages" for index in (0, 1)]
    assert "there is no" in faults[0].message
    assert "No solution found" in faults[1].message
