"""JSON schemas for kubeconform: from the OpenAPI documents of Kubernetes' own releases, and from definitions.

Strict: a field that the documents do not name is a fault, where the API server would drop it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

Schema = dict[str, Any]

FILE = "{{.Group}}_{{.ResourceKind}}_{{.ResourceAPIVersion}}.json"
"""The name of a schema's file, as kubeconform is told to look for it."""

_PREFIX = "#/definitions/"
# Their documents say "string", and the API server takes both.
_LOOSE = {
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": {"type": ["string", "integer"]},
    "io.k8s.apimachinery.pkg.api.resource.Quantity": {"type": ["string", "number"]},
}


def write_schemas(openapi: Path, kinds: Iterable[tuple[str, str]], folder: Path) -> None:
    """Write the schemas of those kinds (apiVersion and kind) that a release's document has."""
    definitions = json.loads(openapi.read_text())["definitions"]
    wanted = set(kinds)
    for name, definition in definitions.items():
        for known in definition.get("x-kubernetes-group-version-kind", []):
            version = f"{known['group']}/{known['version']}".lstrip("/")
            if (version, known["kind"]) in wanted:
                needed: dict[str, Schema] = {}
                _gather(name, definitions, needed)
                _write(folder, version, known["kind"], {"$ref": f"{_PREFIX}{name}", "definitions": needed})


def write_definitions(files: Iterable[Path], folder: Path) -> None:
    """Write the schemas of the kinds that CustomResourceDefinitions define."""
    for file in files:
        spec = yaml.load(file.read_text(), Loader=yaml.CSafeLoader)["spec"]
        for version in spec["versions"]:
            schema = _strict(version["schema"]["openAPIV3Schema"])
            _write(folder, f"{spec['group']}/{version['name']}", spec["names"]["kind"], schema)


def _gather(name: str, definitions: Mapping[str, Schema], needed: dict[str, Schema]) -> None:
    """Put a definition, and whatever it refers to, into ``needed``."""
    if name in needed:
        return
    needed[name] = _LOOSE.get(name) or _strict(definitions[name])
    for other in _references(needed[name]):
        _gather(other, definitions, needed)


def _references(schema: object) -> Iterable[str]:
    match schema:
        case {"$ref": str(reference)}:
            yield reference.removeprefix(_PREFIX)
        case dict():
            for below in schema.values():
                yield from _references(below)
        case list():
            for below in schema:
                yield from _references(below)


def _strict(schema: Schema) -> Schema:
    """Return the schema with every object closed that names its properties."""
    made = {key: value for key, value in schema.items() if not key.startswith("x-kubernetes-")}
    if "properties" in schema:
        # What these are called is no word of JSON Schema, even if it looks like one.
        made["properties"] = {key: _strict(below) for key, below in schema["properties"].items()}
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            made.setdefault("additionalProperties", False)
    for key in ("items", "additionalProperties"):
        if isinstance(made.get(key), dict):
            made[key] = _strict(made[key])
    return made


def _write(folder: Path, version: str, kind: str, schema: Schema) -> None:
    group, _, of_group = version.rpartition("/")
    name = FILE.replace("{{.Group}}", group or of_group).replace("{{.ResourceAPIVersion}}", of_group)
    (folder / name.replace("{{.ResourceKind}}", kind.lower())).write_text(json.dumps(schema))
