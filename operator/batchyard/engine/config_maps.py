"""ConfigMaps of code and of cases, as JSON, and what Kubernetes and kubectl say of their size. Pure.

The same contents give the same ConfigMap: its name ends with a digest of them, and it is immutable. Not for which files
and cases there are (``code_folder``, ``sources``), nor for reading ConfigMaps (``cluster_source``).
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from typing import TYPE_CHECKING, NamedTuple

from batchyard.engine.cluster_source import PATHS_ANNOTATION
from batchyard.model.cases import case_json
from batchyard.model.names import dns_label, short_hash

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from batchyard.model.trial import JSON, Case

MAX_BYTES = 1024 * 1024
"""What the values of a ConfigMap may be together, before base64; the API server refuses more."""

MAX_ANNOTATION_BYTES = 256 * 1024
"""What the annotations of an object may be together, names and values."""

MAX_STORED_BYTES = 3 * 512 * 1024
"""What etcd takes as one object unless it was told otherwise."""

MAX_KEY = 253

MANAGED_BY = "batchyard-bundle"
"""Unlike what the operator makes, and looks after, and sweeps."""

_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
# Per file, what the cluster adds to the key: managed fields and the like.
_FILE_OVERHEAD = 64
_OBJECT_OVERHEAD = 4096
_UNSAFE = re.compile(r"[^-._a-zA-Z0-9]")
# No line ends of other kinds, no control characters, no byte order mark.
_LITERAL = re.compile("[\t\n\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]*")
_ESCAPED_IN_JSON = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
# What Go's encoder escapes and Python's does not, at six bytes each; Python's two bytes for some are six in older ones.
_ESCAPED_BY_GO = re.compile("[<>&\u2028\u2029\b\f\x7f]")


class Owner(NamedTuple):
    """The BatchTest that the ConfigMaps are for; ``namespace`` "" leaves it to whoever applies them."""

    name: str
    namespace: str = ""


class Room(NamedTuple):
    """How much of a file of cases goes into one ConfigMap: the bytes, and what a line counts."""

    most_bytes: int
    cost: Callable[[str], int]


class CasePiece(NamedTuple):
    """A ConfigMap of cases and the key that they are under."""

    config_map: dict[str, JSON]
    key: str


class TooLong(NamedTuple):
    """A case that no ConfigMap can hold."""

    case: Case
    size: int


def code_map(owner: Owner, files: Mapping[str, bytes]) -> dict[str, JSON]:
    """Return the ConfigMap with these files, by their paths."""
    keys = keys_of(files)
    data: dict[str, str] = {}
    binary: dict[str, str] = {}
    for key, path in keys.items():
        text = _literal_text(files[path])
        if text is None:
            binary[key] = base64.b64encode(files[path]).decode()
        else:
            data[key] = text
    other = {key: path for key, path in sorted(keys.items()) if key != path}
    annotations = {PATHS_ANNOTATION: _compact(other)} if other else {}
    return _config_map(owner, "code", data, binary, annotations)


def too_many_files(config_map: Mapping[str, JSON]) -> str:
    """Return why the files of a ConfigMap, small as they may be, are too many for the cluster, "" if they are not."""
    annotations = _annotation_bytes(config_map)
    if annotations > MAX_ANNOTATION_BYTES:
        return f"has so many files that their paths take {annotations:,} bytes, more than {MAX_ANNOTATION_BYTES:,}"
    values = {**(config_map.get("data") or {}), **(config_map.get("binaryData") or {})}
    size = value_bytes(config_map) + annotations + sum(2 * len(key) + _FILE_OVERHEAD for key in values)
    if size > MAX_STORED_BYTES - _OBJECT_OVERHEAD:
        return f"takes about {size:,} bytes with the names of its {len(values):,} files, more than {MAX_STORED_BYTES:,}"
    return ""


def keys_of(paths: Iterable[str]) -> dict[str, str]:
    """Return the path of each key: every path has one, valid and unlike the others'."""
    keys: dict[str, str] = {}
    # A path that can be a key is one, whatever others would like to be.
    for path in sorted(paths, key=lambda path: (_key(path) != path, path)):
        key = _key(path)
        length = 8
        while len(key) > MAX_KEY or key in keys:
            suffix = f"-{short_hash(path, length)}"
            key = _key(path)[: MAX_KEY - len(suffix)] + suffix
            length += 8
        keys[key] = path
    return keys


def case_maps(owner: Owner, stem: str, cases: Iterable[Case], room: Room) -> list[CasePiece]:
    """Return the ConfigMaps with these cases in JSONL, in order; ``stem`` is what their files are called after.

    A single case that needs more room than there is gets a ConfigMap of its own.
    """
    pieces = list(_cut(map(case_line, cases), room))
    name = dns_label(stem)[: MAX_KEY // 2].strip("-") or "cases"
    keys = [f"{name}.jsonl" if len(pieces) == 1 else f"{name}-{number}.jsonl" for number in range(1, len(pieces) + 1)]
    return [
        CasePiece(_config_map(owner, "cases", {key: text}, {}, {}), key) for key, text in zip(keys, pieces, strict=True)
    ]


def too_long(cases: Iterable[Case]) -> Iterator[TooLong]:
    """Yield the cases that no ConfigMap can hold."""
    for case in cases:
        size = len(case_line(case).encode())
        if size > MAX_BYTES:
            yield TooLong(case, size)


def case_line(case: Case) -> str:
    """Return a case as a line of JSONL that can stand in YAML as it is."""
    text = json.dumps(case_json(case), ensure_ascii=False, separators=(",", ":"))
    return _ESCAPED_IN_JSON.sub(lambda found: f"\\u{ord(found[0]):04x}", text) + "\n"


def is_literal(text: str) -> bool:
    """Return whether every reader of YAML takes a text from a literal as it stands."""
    return _LITERAL.fullmatch(text) is not None


def value_bytes(config_map: Mapping[str, JSON]) -> int:
    """Return what the API server counts as the size of a ConfigMap."""
    texts = sum(len(value.encode()) for value in (config_map.get("data") or {}).values())
    return texts + sum(len(base64.b64decode(value)) for value in (config_map.get("binaryData") or {}).values())


def is_too_large_for_plain_apply(document: Mapping[str, JSON]) -> bool:
    """Return whether ``kubectl apply`` needs ``--server-side`` for an object, or may need it."""
    metadata = {"namespace": "n" * 63, "annotations": {}, **document["metadata"]}
    copy = _json_bytes({**document, "metadata": metadata})
    return _annotation_bytes(document) + len(_LAST_APPLIED) + copy + 1 > MAX_ANNOTATION_BYTES


def _config_map(
    owner: Owner, kind: str, data: Mapping[str, str], binary: Mapping[str, str], annotations: Mapping[str, str]
) -> dict[str, JSON]:
    digest = hashlib.sha256(_compact([data, binary, annotations]).encode()).hexdigest()[:8]
    metadata: dict[str, JSON] = {"name": f"{owner.name}-{kind}-{digest}"}
    if owner.namespace:
        metadata["namespace"] = owner.namespace
    metadata["labels"] = {
        "app.kubernetes.io/component": kind,
        "app.kubernetes.io/managed-by": MANAGED_BY,
        "app.kubernetes.io/name": "batchyard",
        "batchyard.dev/batch": owner.name,
    }
    if annotations:
        metadata["annotations"] = dict(annotations)
    made: dict[str, JSON] = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "immutable": True}
    if data:
        made["data"] = dict(sorted(data.items()))
    if binary:
        made["binaryData"] = dict(sorted(binary.items()))
    return made


def _key(path: str) -> str:
    key = _UNSAFE.sub("_", path.replace("/", "."))
    return f"_{key}" if key.startswith("..") or key == "." else key


def _literal_text(content: bytes) -> str | None:
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return None
    return text if is_literal(text) else None


def _cut(lines: Iterable[str], room: Room) -> Iterator[str]:
    piece: list[str] = []
    used = 0
    for line in lines:
        cost = room.cost(line)
        if piece and used + cost > room.most_bytes:
            yield "".join(piece)
            piece, used = [], 0
        piece.append(line)
        used += cost
    if piece:
        yield "".join(piece)


def _annotation_bytes(document: Mapping[str, JSON]) -> int:
    annotations = document["metadata"].get("annotations") or {}
    return sum(len(key.encode()) + len(value.encode()) for key, value in annotations.items())


def _json_bytes(value: JSON) -> int:
    """Return how long Go's encoder makes a value, or somewhat more."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return len(text.encode()) + 5 * len(_ESCAPED_BY_GO.findall(text))


def _compact(value: JSON) -> str:
    return json.dumps(value, separators=(",", ":"), sort_keys=True)


def _utf8_bytes(text: str) -> int:
    return len(text.encode())


WIDE = Room(MAX_BYTES, _utf8_bytes)
"""As much as a ConfigMap holds."""

NARROW = Room(250_000, _json_bytes)
"""What ``kubectl apply`` can do with by itself: it copies every object, as JSON, into an annotation."""
