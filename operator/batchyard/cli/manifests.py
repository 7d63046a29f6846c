"""Objects of a cluster as YAML for ``kubectl`` and for people: one document each, the same bytes each time.

Every reader of YAML has its own idea of which bare words are numbers or booleans, so text that is not plainly text is
quoted, and the files in a ConfigMap are literals. Not for JSON (``document``).
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import yaml

from batchyard.engine.config_maps import is_literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from batchyard.model.trial import JSON

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*( [A-Za-z0-9_./(),-]+)*")
_WORDS = {"", "y", "n", "yes", "no", "on", "off", "true", "false", "null", "none", "nan", "inf"}
_ENDLESS = 2**31
_CONTENTS = ("data", "binaryData")


def yaml_text(objects: Iterable[Mapping[str, JSON]], heading: str) -> str:
    """Return the objects as YAML documents below a comment, which is one line."""
    return f"# {heading}\n" + "".join("---\n" + "".join(_document(one)) for one in objects)


def _document(document: Mapping[str, JSON]) -> Iterator[str]:
    if document["kind"] != "ConfigMap":
        yield _dumped(document)
        return
    yield _dumped({key: value for key, value in document.items() if key not in _CONTENTS})
    for key in _CONTENTS:
        if document.get(key):
            yield f"{key}:\n"
            yield from (f"  {_quoted(name)}: {_content(text)}" for name, text in document[key].items())


def _content(text: str) -> str:
    """Return a text that can stand in YAML as it is, as the rest of a line that began with its key."""
    if "\n" not in text and "\t" not in text:
        return f"{json.dumps(text, ensure_ascii=False)}\n"
    indent = "2" if _begins_with_blank(text) else ""
    if not text.endswith("\n"):
        return f"|{indent}-{_lines(text)}\n"
    keep = "+" if text.endswith("\n\n") or text == "\n" else ""
    return f"|{indent}{keep}{_lines(text)}"


def _lines(text: str) -> str:
    return "\n" + "\n".join(f"    {line}" if line else "" for line in text.split("\n"))


def _begins_with_blank(text: str) -> bool:
    # It would be taken for deeper indentation.
    return text[0] in " \t\n"


def _quoted(name: str) -> str:
    return name if _is_plain(name) else json.dumps(name)


def _is_plain(text: str) -> bool:
    return _PLAIN.fullmatch(text) is not None and text.lower() not in _WORDS


def _dumped(document: Mapping[str, JSON]) -> str:
    return yaml.dump(
        dict(document), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=_ENDLESS, default_flow_style=False
    )


class _Dumper(yaml.SafeDumper):
    """The dumper in Python: the one in C words some text otherwise, and may not be there."""

    def ignore_aliases(self, data: object) -> bool:
        del data
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=_style(text))


def _style(text: str) -> str | None:
    if _is_plain(text):
        return None
    if not is_literal(text):
        return '"'
    if "\n" in text and not _begins_with_blank(text):
        return "|"
    return "'" if '"' in text else '"'


_Dumper.add_representer(str, _text)
