"""Files of other tools, as small as they can be, and a folder of them in memory."""

from __future__ import annotations

import fnmatch
import io
import json
import struct
import zipfile
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import zstandard

from batchyard.importing.cases import Imported, imported
from batchyard.importing.source import Source, Wanted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchyard.importing.formats import Format


@dataclass(frozen=True)
class InMemory:
    """A folder that is a mapping of names to texts."""

    files: Mapping[str, str] = field(default_factory=dict)

    def matching(self, pattern: str) -> list[str]:
        return sorted(fnmatch.filter(self.files, pattern)) if "*" in pattern else [pattern]

    def read(self, path: str) -> bytes:
        if path not in self.files:
            raise FileNotFoundError(2, "No such file or directory", path)
        return self.files[path].encode()


def found_in(
    content: str | bytes,
    name: str = "tests.yaml",
    form: Format | None = None,
    files: Mapping[str, str] | None = None,
    **wanted: str,
) -> Imported:
    """Import a text that stands in a file of this name."""
    raw = content.encode() if isinstance(content, str) else content
    return imported(Source(name, raw, InMemory(files or {})), Wanted(**wanted), form)


def lines(*rows: Mapping[str, Any]) -> str:
    """Return rows as JSON lines."""
    return "".join(json.dumps(row) + "\n" for row in rows)


def losses(found: Imported) -> list[str]:
    """Return what was lost, each with its places and its count."""
    return [f"{', '.join(loss.places)} ({loss.count}): {loss.message}" for loss in found.losses]


def inputs(found: Imported) -> dict[str, Any]:
    """Return the cases' inputs by name."""
    return {case.name: case.input for case in found.cases}


def expected(found: Imported) -> dict[str, Any]:
    """Return what the cases expect, by name."""
    return {case.name: case.expected for case in found.cases}


def evaluation(found: Imported) -> Any:
    """Return the suggested evaluation."""
    assert found.evaluation is not None
    return found.evaluation.to_json()


def archive(members: Mapping[str, Any]) -> bytes:
    """Return a zip of JSON documents."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, document in members.items():
            packed.writestr(name, json.dumps(document))
    return buffer.getvalue()


def zstandard_archive(members: Mapping[str, Any]) -> bytes:
    """Return a zip of JSON documents that are packed with Zstandard, which ``zipfile`` cannot write."""
    texts = {name: json.dumps(document).encode() for name, document in members.items()}
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w") as made:
        for name, text in texts.items():
            made.writestr(name, zstandard.ZstdCompressor().compress(text))
        infos, directory = made.infolist(), made.start_dir
    packed = bytearray(raw.getvalue())
    for info in infos:
        text = texts[info.filename]
        # Method, checksum and size, in the local header and in the directory (APPNOTE.TXT of PKWARE, 4.3.7 and 4.3.12).
        for start, method in ((info.header_offset, 8), (directory, 10)):
            struct.pack_into("<H", packed, start + method, 93)
            struct.pack_into("<I", packed, start + method + 6, zlib.crc32(text))
            struct.pack_into("<I", packed, start + method + 14, len(text))
        directory += 46 + len(info.filename)
    return bytes(packed)
