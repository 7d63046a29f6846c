"""From a BatchTest as the cluster has it, and the ConfigMaps it names, to everything the engine needs to run it.

Pure: the caller reads the objects. Nothing of the user's is imported or run here.
"""

from __future__ import annotations

import base64
import json
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from batchyard.engine.sources import MAX_YAML_CASE_FILE_BYTES, LoadedBatch, loaded_from
from batchyard.model.cases import MAX_FAULTS, ParsedCases, case_of, kind_of, name_faults, parse_cases
from batchyard.model.crd_rules import FORK_WITHOUT_DATABASE
from batchyard.model.errors import Fault, SpecInvalid
from batchyard.model.parse import in_file_order, most_cases, read_draft, trial_cap_faults
from batchyard.model.rules import Place
from batchyard.model.spec_environment import Provider

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from batchyard.model.parse import Draft
    from batchyard.model.spec import BatchTest
    from batchyard.model.trial import JSON, Case

PATHS_ANNOTATION = "batchyard.dev/paths"
"""On a ConfigMap of code: a JSON object of each key whose file has another path than the key."""

DIMENSIONS_ANNOTATION = "batchyard.dev/dimensions"
"""On a BatchTest: a JSON list of the dimensions as they were written, which an API server sorts by name."""

_NO_CASES = ParsedCases((), (), ())
_BUNDLE = "run `batchyard bundle FILE | kubectl apply -f -`"


def config_maps_needed(document: JSON) -> tuple[str, ...]:
    """Return the names of the ConfigMaps that a BatchTest names, however malformed the rest of it is."""
    spec = Place(document, "").at("spec")
    places = [spec.at("workflow", "source", "configMapRef", "name")]
    places += [entry.at("configMapRef", "name") for entry in spec.at("casesFrom").items()]
    return tuple(dict.fromkeys(name for place in places if (name := place.text())))


def load_from_cluster(
    document: JSON,
    config_maps: Mapping[str, Mapping[str, JSON]],
    faults_of_place: Callable[[BatchTest], Iterable[Fault]] = lambda _: (),
) -> LoadedBatch:
    """Return the batch that an object describes; ``config_maps`` are those of ``config_maps_needed``, by name.

    ``faults_of_place`` says what is wrong with the place that it asks for, whatever else is wrong.

    Raises:
        SpecInvalid: with every fault of the object and of the case files it names.
    """
    bare = {key: value for key, value in document.items() if key != "status"}
    draft = read_draft(json.dumps(_as_written(bare)))
    cases, faults, file_faults = _cases(draft, config_maps)
    faults += _local_faults(draft.document)
    faults += _source_faults(draft.document, config_maps)
    faults += faults_of_place(draft.shape) if draft.shape is not None else ()
    ordered = (*in_file_order([*draft.faults, *faults], draft.document), *file_faults)
    if draft.batch is None or ordered:
        name = Place(document, "").at("metadata", "name").text() or "?"
        raise SpecInvalid(f"BatchTest {name}", ordered)
    return loaded_from(draft.batch, cases, Path("/"))


def source_items(config_map: Mapping[str, JSON]) -> dict[str, str]:
    """Return the path of each key of a ConfigMap of code. Raises ``SpecInvalid`` for one that leads out of it."""
    name = config_map["metadata"]["name"]
    annotations = config_map["metadata"].get("annotations") or {}
    try:
        paths = json.loads(annotations.get(PATHS_ANNOTATION) or "{}")
    except (ValueError, RecursionError):
        paths = None
    if not isinstance(paths, dict):
        fault = Fault(f"metadata.annotations.{PATHS_ANNOTATION}", "", "is no JSON object", _BUNDLE)
        raise SpecInvalid(f"ConfigMap {name}", [fault])
    keys = [*(config_map.get("data") or {}), *(config_map.get("binaryData") or {})]
    items = {key: str(paths.get(key, key)) for key in keys}
    outside = [
        Fault(f"metadata.annotations.{PATHS_ANNOTATION}", path, "leads out of the folder of the code", _BUNDLE)
        for path in items.values()
        if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts
    ]
    if outside:
        raise SpecInvalid(f"ConfigMap {name}", outside)
    return items


def _cases(
    draft: Draft, config_maps: Mapping[str, Mapping[str, JSON]]
) -> tuple[tuple[Case, ...], list[Fault], list[Fault]]:
    """Return all cases, the faults of the BatchTest, and those of the case files.

    Files are read as long as there may be more cases: anybody may name many large ones.
    """
    spec = Place(draft.document, "").at("spec")
    named = [(place.at("name").text() or "", place.path) for place in spec.at("cases").items()]
    cases = [case_of(case) for case in draft.batch.spec.cases] if draft.batch else []
    count, faults, file_faults = len(named), list[Fault](), list[Fault]()
    entries, files = spec.at("casesFrom").items(), _CaseFiles(config_maps)
    most = most_cases(draft.document, len(draft.combinations))
    for entry in entries:
        if count > most:
            break
        fault, found = files.read(entry, most - count + 1)
        faults += [fault] if fault else []
        cases += found.cases
        count += len(found.cases)
        file_faults += found.faults
        named += zip((case.name for case in found.cases), found.places, strict=True)
    if entries:
        # Without files the rules of the BatchTest's own have said all this.
        file_faults += islice(name_faults(one for one in named if one[0]), MAX_FAULTS)
        faults += trial_cap_faults(draft.document, len(draft.combinations), count, more=True)
        if cases and all(case.weight == 0 for case in cases):
            text = "all cases have weight 0, so nothing would count"
            faults.append(Fault("spec.casesFrom", "", text, "give one a weight"))
    return tuple(cases), faults, file_faults


class _CaseFiles:
    """Reads the case files of one batch, each once, and only so much YAML."""

    def __init__(self, config_maps: Mapping[str, Mapping[str, JSON]]) -> None:
        self._config_maps = config_maps
        self._known: dict[tuple[str, str], ParsedCases] = {}
        self._yaml_bytes = 0

    def read(self, entry: Place, most: int) -> tuple[Fault | None, ParsedCases]:
        """Return what is wrong with an entry, and at most so many cases; a file's own faults come once."""
        if entry.at("path").value is not None:
            return entry.at("path").fault("is a local file, which a cluster cannot read", _BUNDLE), _NO_CASES
        place = entry.at("configMapRef", "key")
        name, key = entry.at("configMapRef", "name").text(), place.text()
        if not name or not key:
            return None, _NO_CASES
        if (name, key) in self._known:
            return None, self._known[name, key]._replace(faults=())
        fault, found = self._parse(place, name, key, most)
        if fault is None:
            self._known[name, key] = found
        return fault, found

    def _parse(self, place: Place, name: str, key: str, most: int) -> tuple[Fault | None, ParsedCases]:
        kind = kind_of(key)
        if kind is None:
            return place.fault("has no ending that is known", "use .jsonl, .yaml, .json or .csv"), _NO_CASES
        text = _text_of(self._config_maps.get(name) or {}, key)
        if text is None:
            return place.fault(f"is no key of ConfigMap {name}", "correct the key, or the ConfigMap"), _NO_CASES
        if kind == "yaml":
            self._yaml_bytes += len(text.encode())
            if self._yaml_bytes > MAX_YAML_CASE_FILE_BYTES:
                larger = f"is, with the YAML before it, larger than {MAX_YAML_CASE_FILE_BYTES // 1024:,} KiB"
                return place.fault(larger, "put cases into JSONL files"), _NO_CASES
        return None, parse_cases(text, kind, f"{name}/{key}", most=most)


def _text_of(config_map: Mapping[str, JSON], key: str) -> str | None:
    text: str | None = (config_map.get("data") or {}).get(key)
    if text is None and key in (config_map.get("binaryData") or {}):
        text = base64.b64decode(config_map["binaryData"][key]).decode("utf-8-sig", errors="replace")
    return text


def _local_faults(document: JSON) -> list[Fault]:
    """Return what the object asks for that only the machine it was written on may have."""
    spec = Place(document, "").at("spec")
    faults = []
    path = spec.at("workflow", "source", "path")
    if path.value is not None:
        faults.append(path.fault("is a local folder, which a cluster cannot read", _BUNDLE))
    provider = spec.at("environment", "provider")
    fork = spec.at("forkFrom")
    if fork.value is not None and spec.at("checkpoints", "postgres").value is None:
        faults.append(fork.fault(*FORK_WITHOUT_DATABASE, shown=False))
    if provider.value == Provider.RAY:
        faults.append(provider.fault("is for an address outside a cluster", "write KubeRay or InProcess"))
    return faults


def _source_faults(document: JSON, config_maps: Mapping[str, Mapping[str, JSON]]) -> tuple[Fault, ...]:
    reference = Place(document, "").at("spec", "workflow", "source", "configMapRef", "name").text()
    if reference and reference in config_maps:
        try:
            source_items(config_maps[reference])
        except SpecInvalid as err:
            return err.faults
    return ()


def _as_written(document: dict[str, JSON]) -> dict[str, JSON]:
    """Return the document with its matrix in the order that the annotation tells, as far as it tells any."""
    place = Place(document, "")
    matrix = place.at("spec", "variants", "matrix").value
    try:
        order = json.loads(place.at("metadata", "annotations").at(DIMENSIONS_ANNOTATION).text() or "[]")
    except (ValueError, RecursionError):
        return document
    if not isinstance(matrix, dict) or not isinstance(order, list):
        return document
    told = [name for name in order if isinstance(name, str) and name in matrix]
    ordered = {**{name: matrix[name] for name in told}, **matrix}
    spec = document["spec"]
    return {**document, "spec": {**spec, "variants": {**spec["variants"], "matrix": ordered}}}
