"""The formats that can be imported, their readers, and how a file is told to be of one."""

from __future__ import annotations

import json
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING

from batchyard.importing import inspect_logs, langsmith, openai_evals, promptfoo
from batchyard.importing.source import Reader, Source, refused
from batchyard.model.text import parse_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from batchyard.model.trial import JSON


class Format(StrEnum):
    """Whose file it is."""

    PROMPTFOO = "promptfoo"
    OPENAI_EVALS = "openai-evals"
    LANGSMITH = "langsmith"
    INSPECT = "inspect"


READERS: Mapping[Format, Reader] = MappingProxyType(
    {
        Format.PROMPTFOO: promptfoo.read,
        Format.OPENAI_EVALS: openai_evals.read,
        Format.LANGSMITH: langsmith.read,
        Format.INSPECT: inspect_logs.read,
    }
)

_CONFIG_KEYS = {"tests", "scenarios", "prompts", "providers", "targets", "defaultTest"}


def detected(source: Source) -> Format:
    """Return the only format a file looks like. Raises ``SpecInvalid`` if it is none of them, or could be several."""
    if inspect_logs.is_archive(source.content):
        return Format.INSPECT
    if source.name.lower().endswith(".csv"):
        return Format.PROMPTFOO  # no other has tables
    looks = sorted(set(_looks(_beginning(source))))
    if len(looks) == 1:
        return looks[0]
    if not looks:
        known = ", ".join(Format)
        raise refused(source.name, "", "looks like none of the formats", f"known are {known}; say which with --format")
    raise refused(source.name, "", f"could be {' or '.join(looks)}", "say which with --format")


def _beginning(source: Source) -> JSON:
    """Return the whole document, of a list its first entry, or of JSON lines the first.

    Raises ``SpecInvalid`` if it begins as JSON does and cannot be read.
    """
    text = source.text.strip()
    document: JSON = None
    why = ""
    for part in (text, text.split("\n", 1)[0]):
        try:
            document = json.loads(part)
            break
        except (ValueError, RecursionError) as err:
            why = why or str(err)
    else:
        parsed = parse_text(text, core=True)
        if parsed.faults and text.startswith(("{", "[")):
            raise refused(source.name, "", f"is not JSON: {why}", "mend it")
        document = parsed.value
    return document[0] if isinstance(document, list) and document else document


def _looks(value: JSON) -> Iterator[Format]:
    if not isinstance(value, dict):
        return
    keys = value.keys()
    if isinstance(value.get("eval"), dict):
        yield Format.INSPECT
        return
    if keys & _CONFIG_KEYS or "assert" in keys or isinstance(value.get("vars"), dict):
        yield Format.PROMPTFOO
    if "inputs" in keys or isinstance(value.get("examples"), list):
        yield Format.LANGSMITH
    if isinstance(value.get("item"), dict) or ("input" in keys and ("ideal" in keys or "target" not in keys)):
        yield Format.OPENAI_EVALS
    if "input" in keys and ("target" in keys or "ideal" not in keys):
        yield Format.INSPECT
