"""YAML or JSON text to plain data, with every fault that is one of the text and not of what it means.

Stricter than ``yaml.safe_load``: a key written twice, a second document, text that is no JSON value, an alias that
multiplies, and nesting without end are faults. Dates stay text, and numbers are numbers, as in Kubernetes: 1e-6 is one,
12:30 is not.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from dataclasses import dataclass
from typing import ClassVar

import yaml

from batchyard.model.errors import Fault
from batchyard.model.trial import JSON

MAX_DEPTH = 100
# Aliases may multiply a small text up to this many values; a large one without them cannot have more than characters.
MAX_ALIASED_VALUES = 100_000
MAX_ALIASED_CHARACTERS = 10_000_000
# What JSON readers, databases and checkpoint formats all keep exactly.
MAX_INTEGER = 2**63

_SURROGATE = re.compile("[\ud800-\udfff]")
_SIMPLE_KEY = re.compile(r"[A-Za-z0-9_-]+\Z")
_MAPS_AND_LISTS = {"tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"}
_SCALARS = {f"tag:yaml.org,2002:{kind}" for kind in ("str", "int", "float", "bool", "null", "merge")}

_CLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _without(*kinds: str) -> dict[str, list[tuple[str, re.Pattern[str]]]]:
    dropped = {f"tag:yaml.org,2002:{kind}" for kind in kinds}
    resolvers = yaml.SafeLoader.yaml_implicit_resolvers.items()
    return {first: [pair for pair in pairs if pair[0] not in dropped] for first, pairs in resolvers}


class _Loader(_CLoader):  # type: ignore[misc,valid-type]
    yaml_implicit_resolvers: ClassVar = _without("timestamp", "int", "float", "value")


class _CoreLoader(_CLoader):  # type: ignore[misc,valid-type]
    """Reads plain words as YAML 1.2 does, where `no` and 12:30 are text."""

    yaml_implicit_resolvers: ClassVar = _without("timestamp", "bool", "int", "float", "value")


for _by, _kind, _pattern, _first in (
    (_Loader, "int", r"[-+]?(?:0b[01_]+|0[0-7_]*|[1-9][0-9_]*|0x[0-9a-fA-F_]+)\Z", "-+0123456789"),
    (
        _Loader,
        "float",
        r"(?:[-+]?(?:\.[0-9][0-9_]*|[0-9][0-9_]*\.[0-9_]*|[0-9][0-9_]*(?=[eE]))(?:[eE][-+]?[0-9]+)?"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))\Z",
        "-+.0123456789",
    ),
    (_CoreLoader, "bool", r"(?:true|True|TRUE|false|False|FALSE)\Z", "tTfF"),
    (_CoreLoader, "int", r"[-+]?(?:0|[1-9][0-9]*|0x[0-9a-fA-F]+)\Z", "-+0123456789"),
    (_CoreLoader, "float", r"[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?\Z", "-+.0123456789"),
):
    _by.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", re.compile(_pattern), list(_first))


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


def plain(text: str, root: str) -> Parsed:
    """Return a text that stands for itself, and what is wrong with it."""
    return _checked(text, root, [])


def parse_json(text: str, root: str) -> Parsed:
    """Return what a JSON text says, and what is wrong with it; YAML is not tried."""
    try:
        return _checked(json.loads(text, object_pairs_hook=_object), root, [])
    except json.JSONDecodeError as err:
        message = f"is not JSON: {err.msg} at column {err.colno}"
        return Parsed(None, (Fault(root, "", message, "write one JSON value in one line"),))
    except ValueError:
        # Python refuses to read integers of thousands of digits.
        return Parsed(None, (Fault(root, "", "has a number in it that is too large", "write it in quotes"),))
    except RecursionError:
        return Parsed(None, (_too_deep(root),))


def parse_text(text: str, root: str = "", *, core: bool = False) -> Parsed:
    """Return what a YAML or JSON text says, and what is wrong with it. Paths begin at ``root``.

    With ``core``, the plain words of YAML are those of version 1.2, as other tools than Kubernetes have them.
    """
    if not text.strip():
        return Parsed(None, (Fault(root or "file", "", "is empty", "write a document"),))
    try:
        # Proper JSON first: tabs and surrogate pairs are read otherwise by YAML.
        parsed = _parse_proper_json(text, root) if text.lstrip()[0] in "{[" else None
        return parsed or _parse_yaml(text, root, _CoreLoader if core else _Loader)
    except yaml.YAMLError as err:
        return Parsed(None, (_yaml_fault(err, root),))
    except _TextFault as err:
        return Parsed(None, (err.fault,))
    except RecursionError:
        return Parsed(None, (_too_deep(root),))


class _TextFault(Exception):
    """Carries the one fault after which reading cannot go on."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(str(fault))
        self.fault = fault


class _Object(dict[str, JSON]):
    """A JSON object that remembers which of its keys were written more than once."""

    twice: tuple[str, ...] = ()


def _parse_proper_json(text: str, root: str) -> Parsed | None:
    try:
        value = json.loads(text, object_pairs_hook=_object)
    except ValueError:
        # It may still be YAML's flow style, and if not, YAML's message has a line.
        return None
    return _checked(value, root, [])


def _object(pairs: list[tuple[str, JSON]]) -> _Object:
    made = _Object(pairs)
    if len(made) < len(pairs):
        times = Counter(key for key, _ in pairs)
        made.twice = tuple(key for key in made if times[key] > 1)
    return made


def _parse_yaml(text: str, root: str, loaded_by: type[yaml.SafeLoader]) -> Parsed:
    _check_shape(text, root)
    loader = loaded_by(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return Parsed(None, (Fault(root or "file", "", "holds no document", "write one"),))
        builder = _Builder(loader, len(text))
        return _checked(builder.built(node, root, ()), root, builder.faults)
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

    def __init__(self, loader: yaml.SafeLoader, length: int) -> None:
        """``length`` is that of the text: without aliases it has no more values, nor characters in them."""
        self.faults: list[Fault] = []
        self._loader = loader
        self._left = max(MAX_ALIASED_VALUES, length)
        self._characters_left = max(MAX_ALIASED_CHARACTERS, length)

    def built(self, node: yaml.Node, path: str, above: tuple[int, ...]) -> JSON:
        """Return the value of ``node``, without what is faulty. Raises ``_TextFault`` if it has no end."""
        self._count(node)
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

    def _count(self, node: yaml.Node, values: int = 1) -> None:
        self._left -= values
        if isinstance(node, yaml.ScalarNode):
            self._characters_left -= len(node.value)
        if self._left < 0 or self._characters_left < 0:
            message = "is too large once its aliases are written out"
            raise _TextFault(Fault("file", "", message, "use fewer aliases"))

    def _scalar(self, node: yaml.Node, path: str) -> JSON:
        try:
            return self._loader.construct_object(node)
        except (yaml.YAMLError, ValueError, KeyError, OverflowError, AttributeError, IndexError):
            # PyYAML's constructors fail in many ways on text that does not fit its tag. The text may be a secret.
            kind = node.tag.rpartition(":")[2]
            self.faults.append(Fault(path or "file", "", f"cannot be read as {kind}", "write it in quotes"))
            return None

    def _mapping(self, node: yaml.MappingNode, path: str, above: tuple[int, ...]) -> dict[str, JSON]:
        lines: dict[str, int] = {}
        made: dict[str, JSON] = {}
        merged: list[dict[str, JSON]] = []
        for key_node, value_node in node.value:
            line = _line(key_node)
            self._count(key_node, values=0)
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
                self.faults.append(_twice(here, f" (lines {lines[key]} and {line})"))
            lines.setdefault(key, line)
            made[key] = self.built(value_node, here, above)
        for under in merged:
            made = {**under, **made}
        return made


def _line(node: yaml.Node) -> int:
    return node.start_mark.line + 1 if node.start_mark else 0


def _twice(path: str, where: str = "") -> Fault:
    return Fault(path, "", f"is written more than once{where}", "keep one")


def _checked(value: JSON, root: str, faults: list[Fault]) -> Parsed:
    sound = _sound(value, root, 0, faults)
    return Parsed(sound, tuple(faults))


def _sound(value: JSON, path: str, depth: int, faults: list[Fault]) -> JSON:
    """Return the value with None in place of what not every JSON reader, database and process can hold."""
    if depth > MAX_DEPTH:
        faults.append(_too_deep(path))
        return None
    if isinstance(value, dict):
        sound = [key for key in value if not _complain(key, path, faults)]
        twice = value.twice if isinstance(value, _Object) else ()
        faults += [_twice(child_path(path, key)) for key in sound if key in twice]
        return {key: _sound(value[key], child_path(path, key), depth + 1, faults) for key in sound}
    if isinstance(value, list):
        return [_sound(item, child_path(path, index), depth + 1, faults) for index, item in enumerate(value)]
    return None if _complain(value, path, faults) else value


def _complain(value: JSON, path: str, faults: list[Fault]) -> bool:
    found: Fault | None = None
    if isinstance(value, float) and not math.isfinite(value):
        found = Fault(path or "file", str(value), "is not a number that can be reckoned with", "write a finite number")
    elif isinstance(value, int) and not -MAX_INTEGER <= value < MAX_INTEGER:
        found = Fault(path or "file", "", "has more than 64 bits", "write it in quotes")
    elif isinstance(value, str) and "\0" in value:
        found = Fault(path or "file", "", "has a NUL character in it", "remove it")
    elif isinstance(value, str) and _SURROGATE.search(value):
        found = Fault(path or "file", "", "has half a surrogate pair in it", "write the whole character")
    if found:
        faults.append(found)
    return found is not None


def _yaml_fault(err: yaml.YAMLError, root: str) -> Fault:
    if not isinstance(err, yaml.MarkedYAMLError):
        reason = str(err).splitlines()[0]
        return Fault(root or "file", "", f"is not YAML: {reason}", "remove that character")
    mark = err.problem_mark or err.context_mark
    where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else "file"
    reason = (err.problem or err.context or "cannot be read").splitlines()[0]
    remedy = "check the indentation, quotes and colons in and above that line"
    if "cannot start any token" in reason or "tab" in reason:
        remedy = "indent with spaces, not tabs, and quote values that begin with @, ` or %"
    return Fault(f"{root}:{where}" if root else where, "", f"is not YAML: {reason}", remedy)
