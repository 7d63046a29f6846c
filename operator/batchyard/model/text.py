"""YAML or JSON text to plain data, with every fault that is one of the text and not of what it means.

Stricter than ``yaml.safe_load``: a key written twice, a second document, text that is no JSON value, an alias that
multiplies, and nesting without end are faults. Dates stay text, as they do in Kubernetes.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import yaml

from batchyard.model.errors import Fault
from batchyard.model.trial import JSON

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_DEPTH = 100
MAX_VALUES = 2_000_000

_SIMPLE_KEY = re.compile(r"[A-Za-z0-9_-]+\Z")
_MAPS_AND_LISTS = {"tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"}
_SCALARS = {f"tag:yaml.org,2002:{kind}" for kind in ("str", "int", "float", "bool", "null", "merge")}

_CLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_CLoader):  # type: ignore[misc,valid-type]
    yaml_implicit_resolvers: ClassVar = {
        first: [pair for pair in pairs if pair[0] != "tag:yaml.org,2002:timestamp"]
        for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


@dataclass(frozen=True, slots=True)
class Parsed:
    """What a text says. ``value`` is None if it could not be read at all; then there is at least one fault."""

    value: JSON
    faults: tuple[Fault, ...] = ()


def child_path(path: str, key: str | int) -> str:
    """Return the path of what stands under ``key`` at ``path``, spelled ``a.b[0]["c d"]``."""
    if isinstance(key, int):
        return f"{path}[{key}]"
    if not _SIMPLE_KEY.match(key):
        return f"{path}[{json.dumps(key, ensure_ascii=False)}]"
    return f"{path}.{key}" if path else key


def parse_json(text: str, root: str) -> Parsed:
    """Return what a JSON text says, and what is wrong with it; YAML is not tried."""
    try:
        value = json.loads(text, object_pairs_hook=_object)
    except json.JSONDecodeError as err:
        message = f"is not JSON: {err.msg} at column {err.colno}"
        return Parsed(None, (Fault(root, "", message, "write one JSON object on the line"),))
    except ValueError as err:
        return Parsed(None, (Fault(root, "", f"is not JSON: {err}", "write a smaller number"),))
    except RecursionError:
        return Parsed(None, (_too_deep(root),))
    return Parsed(value, (*_twice_faults(value, root), *_value_faults(value, root)))


def parse_text(text: str, root: str = "") -> Parsed:
    """Return what a YAML or JSON text says, and what is wrong with it. Paths begin at ``root``."""
    if not text.strip():
        return Parsed(None, (Fault(root or "file", "", "is empty", "write a document"),))
    try:
        parsed = _parse_json(text, root) if text.lstrip()[0] in "{[" else None
        parsed = parsed or _parse_yaml(text, root)
    except yaml.MarkedYAMLError as err:
        mark = err.problem_mark or err.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else "file"
        reason = (err.problem or err.context or "cannot be read").splitlines()[0]
        return Parsed(
            None, (Fault(f"{root}:{where}" if root else where, "", f"is not YAML: {reason}", _advice(reason)),)
        )
    except yaml.YAMLError as err:
        reason = str(err).splitlines()[0]
        return Parsed(None, (Fault(root or "file", "", f"is not YAML: {reason}", "remove that character"),))
    except _TextFault as err:
        return Parsed(None, (err.fault,))
    except RecursionError:
        return Parsed(None, (_too_deep(root),))
    return Parsed(parsed.value, parsed.faults + tuple(_value_faults(parsed.value, root)))


class _TextFault(Exception):
    """Carries the one fault after which reading cannot go on."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(str(fault))
        self.fault = fault


class _Object(dict[str, JSON]):
    """A JSON object that remembers which of its keys were written more than once."""

    twice: tuple[str, ...] = ()


def _parse_json(text: str, root: str) -> Parsed | None:
    # Proper JSON first: tabs and surrogate pairs are read otherwise by YAML. What is no JSON may still be YAML's
    # flow style, hence None.
    try:
        value = json.loads(text, object_pairs_hook=_object)
    except ValueError:
        return None
    return Parsed(value, tuple(_twice_faults(value, root)))


def _object(pairs: list[tuple[str, JSON]]) -> _Object:
    made = _Object(pairs)
    if len(made) < len(pairs):
        keys = [key for key, _ in pairs]
        made.twice = tuple(key for key in made if keys.count(key) > 1)
    return made


def _twice_faults(value: JSON, path: str) -> Iterator[Fault]:
    if isinstance(value, _Object):
        for key in value.twice:
            yield Fault(child_path(path, key), "", "is written more than once", "keep one")
    for step, item in _children(value):
        yield from _twice_faults(item, child_path(path, step))


def _parse_yaml(text: str, root: str) -> Parsed:
    _check_shape(text, root)
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return Parsed(None, (Fault(root or "file", "", "holds no document", "write one"),))
        builder = _Builder(loader)
        return Parsed(builder.built(node, root, ()), tuple(builder.faults))
    finally:
        loader.dispose()


def _check_shape(text: str, root: str) -> None:
    # By events, before any recursion: the C composer overflows its stack on deep nesting and ends the process.
    depth = documents = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                line = event.start_mark.line + 1 if event.start_mark else 0
                where = f"{root}:line {line}" if root else f"line {line}"
                raise _TextFault(Fault(where, "---", "a second document begins", "put it into a file of its own"))
        elif isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
            depth += 1
            if depth > MAX_DEPTH:
                raise _TextFault(_too_deep(root))
        elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
            depth -= 1


def _too_deep(root: str) -> Fault:
    return Fault(root or "file", "", f"is nested more than {MAX_DEPTH} deep", "write it flatter")


class _Builder:
    """Makes plain data of YAML nodes, every alias written out, with a bound on how much that may be."""

    def __init__(self, loader: yaml.SafeLoader) -> None:
        self.faults: list[Fault] = []
        self._loader = loader
        self._values = 0

    def built(self, node: yaml.Node, path: str, above: tuple[int, ...]) -> JSON:
        """Return the value of ``node``, without what is faulty. Raises ``_TextFault`` if it has no end."""
        self._values += 1
        if self._values > MAX_VALUES:
            message = f"has more than {MAX_VALUES:,} values once its aliases are written out"
            raise _TextFault(Fault(path or "file", "", message, "use fewer aliases"))
        if id(node) in above:
            raise _TextFault(Fault(path or "file", "", "holds itself", "remove the alias"))
        if node.tag not in _MAPS_AND_LISTS | _SCALARS:
            tag = node.tag.replace("tag:yaml.org,2002:", "!!")
            self.faults.append(Fault(path or "file", tag, "is not a kind of value that JSON has", "remove the tag"))
            return None
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path, (*above, id(node)))
        if isinstance(node, yaml.SequenceNode):
            inner = (*above, id(node))
            return [self.built(item, child_path(path, index), inner) for index, item in enumerate(node.value)]
        return self._scalar(node, path)

    def _scalar(self, node: yaml.Node, path: str) -> JSON:
        try:
            return self._loader.construct_object(node)
        except (yaml.YAMLError, ValueError, OverflowError, AttributeError) as err:
            # PyYAML's constructors fail in many ways on a tag that does not fit its text.
            self.faults.append(Fault(path or "file", "", f"cannot be read: {err}", "write it in quotes"))
            return None

    def _mapping(self, node: yaml.MappingNode, path: str, above: tuple[int, ...]) -> dict[str, JSON]:
        lines: dict[str, int] = {}
        made: dict[str, JSON] = {}
        merged: list[dict[str, JSON]] = []
        for key_node, value_node in node.value:
            line = _line(key_node)
            if key_node.tag == "tag:yaml.org,2002:merge":
                value = self.built(value_node, path, above)
                merged += [item for item in (value if isinstance(value, list) else [value]) if isinstance(item, dict)]
                continue
            if key_node.tag != "tag:yaml.org,2002:str":
                shown = key_node.value if isinstance(key_node, yaml.ScalarNode) else ""
                fault = Fault(path or "file", shown, f"the key in line {line} is not text", "write it in quotes")
                self.faults.append(fault)
                continue
            key = key_node.value
            here = child_path(path, key)
            if key in lines:
                where = f"lines {lines[key]} and {line}"
                self.faults.append(Fault(here, "", f"is written more than once ({where})", "keep one"))
            lines.setdefault(key, line)
            made[key] = self.built(value_node, here, above)
        for under in merged:
            made = {**under, **made}
        return made


def _line(node: yaml.Node) -> int:
    return node.start_mark.line + 1 if node.start_mark else 0


def _value_faults(value: JSON, path: str, depth: int = 0) -> Iterator[Fault]:
    if depth > MAX_DEPTH:
        yield _too_deep(path)
        return
    if isinstance(value, float) and not math.isfinite(value):
        yield Fault(path or "file", str(value), "is not a number that can be reckoned with", "write a finite number")
    if isinstance(value, str):
        yield from _string_faults(value, path)
    for key, item in _children(value):
        if isinstance(key, str):
            yield from _string_faults(key, path)
        yield from _value_faults(item, child_path(path, key), depth + 1)


def _string_faults(text: str, path: str) -> Iterator[Fault]:
    if "\0" in text:
        yield Fault(path or "file", "", "has a NUL character in it", "remove it")
    if any("\ud800" <= char <= "\udfff" for char in text):
        yield Fault(path or "file", "", "has half a surrogate pair in it", "write the whole character")


def _children(value: JSON) -> Iterator[tuple[str | int, JSON]]:
    if isinstance(value, dict):
        yield from value.items()
    elif isinstance(value, list):
        yield from enumerate(value)


def _advice(reason: str) -> str:
    if r"'\t'" in reason or "tab" in reason:
        return "indent with spaces"
    return "check the indentation, quotes and colons in and above that line"
