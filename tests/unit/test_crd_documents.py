"""The engine agrees with what admission is tested on: it refuses what is refused there, and takes what is taken."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from admission_documents import ACCEPTED, LARGE, REFUSED
from batchyard.engine.cluster_source import load_from_cluster
from batchyard.model.errors import SpecInvalid

if TYPE_CHECKING:
    from batchyard.model.trial import JSON


def config_maps(document: JSON) -> dict[str, JSON]:
    """Return the ConfigMaps that a document names, each case file with one case of its own."""
    keys = [entry["configMapRef"]["key"] for entry in document["spec"].get("casesFrom", []) if "path" not in entry]
    keys += ["a.csv"]
    files = {key: one_case(key) for key in keys}
    return {
        "code": {"metadata": {"name": "code"}, "data": {"graph.py": ""}},
        "cases": {"metadata": {"name": "cases"}, "data": files},
    }


def one_case(key: str) -> str:
    name = "f-" + "".join(char for char in key.lower() if char.isalnum())
    if key.lower().endswith("csv"):
        return f"name\n{name}\n"
    return f'{{"name": "{name}"}}' if key.endswith(("jsonl", "ndjson")) else f'[{{"name": "{name}"}}]'


@pytest.mark.parametrize("name", REFUSED)
def test_the_engine_refuses_what_admission_refuses(name: str) -> None:
    document, _ = REFUSED[name]

    with pytest.raises(SpecInvalid):
        load_from_cluster(document, config_maps(document))


@pytest.mark.parametrize("name", [*ACCEPTED, *LARGE])
def test_the_engine_takes_what_admission_takes(name: str) -> None:
    document = ACCEPTED[name] if name in ACCEPTED else LARGE[name]()

    assert load_from_cluster(document, config_maps(document)).plan.combinations
