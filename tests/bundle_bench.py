"""Files to bundle, and what a cluster makes of a bundle: the API server sorts keys, the pods mount the code."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

from batchyard.engine.bundling import Bundle, Wanted, bundle_file
from batchyard.engine.cluster_source import config_maps_needed, load_from_cluster, source_items
from batchyard.environments.left_out import faults_of_file
from batchyard.model.errors import SpecInvalid

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from batchyard.engine.sources import LoadedBatch

Object = dict[str, Any]


def a_batch_test(**spec: Any) -> Object:
    """Return a small BatchTest whose code is beside it; ``spec`` replaces whole parts, None leaves one out."""
    whole = {
        "workflow": {"factory": "graph:build", "source": {"path": "."}},
        "variants": {"matrix": {"retriever": ["bm25", "tfidf"], "reader": ["first", "best"]}},
        "cases": [{"name": "one", "input": {"question": "why"}}],
        **spec,
    }
    return {
        "apiVersion": "batchyard.dev/v1alpha1",
        "kind": "BatchTest",
        "metadata": {"name": "demo"},
        "spec": {key: value for key, value in whole.items() if value is not None},
    }


def of_provider(name: str, **environment: Any) -> Object:
    """Return the part of a spec that names a provider, and further fields of the environment."""
    return {"environment": {"provider": name, **environment}}


def a_file(folder: Path, document: Object | None = None, **spec: Any) -> Path:
    """Write a BatchTest and its graph.py into a folder and return its path."""
    (folder / "graph.py").write_text("def build(variants): ...\n")
    path = folder / "batch.yaml"
    path.write_text(json.dumps(document or a_batch_test(**spec)))
    return path


def bundled(path: Path, **wanted: Any) -> Bundle:
    """Return the bundle of a file."""
    return bundle_file(path, Wanted(**wanted), faults_of_place=faults_of_file)


def faults_of(path: Path, **wanted: Any) -> dict[str, str]:
    """Return the faults of a file that cannot be bundled: what is wrong and what to do, by their paths."""
    try:
        bundled(path, **wanted)
    except SpecInvalid as err:
        return {fault.path: f"{fault.message}; {fault.remedy}" for fault in err.faults}
    raise AssertionError(f"{path} has no fault")


def the_test(bundle: Bundle) -> Object:
    """Return the BatchTest of a bundle."""
    return bundle.objects[-1]


def code_of(bundle: Bundle) -> Object:
    """Return the ConfigMap with the code."""
    return _config_maps(bundle)[the_test(bundle)["spec"]["workflow"]["source"]["configMapRef"]["name"]]


def in_cluster(bundle: Bundle) -> LoadedBatch:
    """Return the batch that an operator reads after the objects went through an API server."""
    # Go's maps have no order: what is read back is sorted by name.
    objects = [json.loads(json.dumps(one, sort_keys=True)) for one in bundle.objects]
    maps = {one["metadata"]["name"]: one for one in objects[:-1]}
    needed = {name: maps[name] for name in config_maps_needed(objects[-1])}
    assert len(needed) == len(objects) - 1
    return load_from_cluster(objects[-1], needed)


def mounted(config_map: Mapping[str, Any]) -> dict[str, bytes]:
    """Return the files that a pod sees of a ConfigMap of code, by their paths."""
    text = {key: value.encode() for key, value in config_map.get("data", {}).items()}
    binary = {key: base64.b64decode(value) for key, value in config_map.get("binaryData", {}).items()}
    assert not text.keys() & binary.keys()
    items = source_items(config_map)
    assert len(set(items.values())) == len(items)
    return {items[key]: content for key, content in {**text, **binary}.items()}


def run_of(loaded: LoadedBatch) -> Object:
    """Return all that decides what is run, but where the code is."""
    document = loaded.to_json()
    del document["spec"]["workflow"]["source"]
    spec: Object = document["spec"]
    return spec


def _config_maps(bundle: Bundle) -> dict[str, Object]:
    return {one["metadata"]["name"]: one for one in bundle.objects[:-1]}
