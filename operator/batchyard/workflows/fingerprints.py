"""Reduce a value of the user's to a fingerprint of all that decides what it does: code, closure, state, versions.

Two values with the same fingerprint do the same. What cannot be followed with certainty (an open file, a lock, an
object of C code that cannot be pickled) has no fingerprint. Libraries, which the workflow's own package is never, count
by name, and by what is installed (``versions``). Not for graphs; ``graph_marks`` knows those.
"""

from __future__ import annotations

import copyreg
import dis
import functools
import hashlib
import importlib
import importlib.util
import logging
import sys
import sysconfig
import types
import typing
from pathlib import Path
from typing import Any

import batchyard
from batchyard.workflows.keys_read import keys_read, nested

if typing.TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

_MOST_VALUES = 200_000
_MOST_BYTES = 64 * 1024 * 1024
_ATOMS = (type(None), bool, int, float, complex, str, bytes, bytearray, type(...), type(NotImplemented))
_BY_NAME = (
    types.WrapperDescriptorType,
    types.MethodDescriptorType,
    types.ClassMethodDescriptorType,
    types.GetSetDescriptorType,
    types.MemberDescriptorType,
)
_OF_EVERY_CLASS = frozenset(
    ("__dict__", "__weakref__", "__doc__", "__module__", "__abstractmethods__", "_abc_impl", "__firstlineno__")
)


class NoFingerprint(Exception):
    """The value cannot be reduced; says which part and why."""


class Fingerprinter:
    """Reduces the values of one node. ``variants`` are the chosen ones.

    A mapping that equals the variants is taken for them, wherever it is met. If it can be seen which of them the code
    reads, these count and ``depends_on``; if not, ``depends_on`` must name all. ``known`` puts something plain in the
    place of objects that it knows, or returns None. ``own`` is the workflow's own package, whose code counts also where
    it is installed.
    """

    def __init__(
        self,
        variants: Mapping[str, str],
        depends_on: Iterable[str],
        known: Callable[[object], object | None] = lambda _value: None,
        own: str = "",
    ) -> None:
        self._variants = dict(variants)
        self._depends_on = frozenset(depends_on)
        self._known = known
        self._own = own
        self._done: dict[int, bytes] = {}
        self._under_way: dict[int, int] = {}
        self._modules_under_way: set[tuple[str, frozenset[str]]] = set()
        self._kept: list[object] = []  # an id means something only while its object lives
        self._values = self._bytes = 0

    def of(self, value: object) -> str:
        """Return the fingerprint. Raises ``NoFingerprint``."""
        try:
            return self._digest(value).hex()
        except RecursionError as error:
            raise NoFingerprint("it is nested too deeply") from error

    def _digest(self, value: object) -> bytes:
        if isinstance(value, _ATOMS) and type(value) in _ATOMS:
            return self._atom(value)
        key = id(value)
        if key in self._done:
            return self._done[key]
        if key in self._under_way:
            return _hashed("cycle", len(self._under_way) - self._under_way[key])
        self._values += 1
        if self._values > _MOST_VALUES:
            raise NoFingerprint(f"more than {_MOST_VALUES} values hang on it")
        self._under_way[key] = len(self._under_way)
        self._kept.append(value)
        try:
            found = self._done[key] = self._compound(value)
        finally:
            del self._under_way[key]
        return found

    def _atom(self, value: object) -> bytes:
        if isinstance(value, str | bytes | bytearray):
            self._bytes += len(value)
            if self._bytes > _MOST_BYTES:
                raise NoFingerprint(f"more than {_MOST_BYTES // 1024 // 1024} MiB hang on it")
        return _hashed(type(value).__name__, repr(value))

    def _all(self, kind: str, *parts: object) -> bytes:
        return _hashed(kind, *(self._digest(part) for part in parts))

    def _compound(self, value: object) -> bytes:
        known = self._known(value)
        if known is not None:
            return self._all("known", known)
        match value:
            case dict() if type(value) is dict:
                return self._dict(value)
            case types.MappingProxyType():
                return self._all("view", dict(value))
            case tuple() | list() if type(value) in (tuple, list):
                return self._all(type(value).__name__, *value)
            case set() | frozenset() if type(value) in (set, frozenset):
                return _hashed(type(value).__name__, *sorted(map(self._digest, value)))
            case types.FunctionType():
                return self._function(value)
            case types.CodeType():
                return self._code(value)
            case types.CellType():
                return self._cell(value)
            case types.MethodType():
                return self._all("method", value.__func__, value.__self__)
            case types.BuiltinFunctionType():
                owner = value.__self__
                owned = None if owner is None or isinstance(owner, types.ModuleType) else owner
                return self._all("builtin", value.__module__, value.__qualname__, owned)
            case types.ModuleType():
                return self._module(value, frozenset())
            case staticmethod() | classmethod():
                return self._all(type(value).__name__, value.__func__)
            case property():
                return self._all("property", value.fget, value.fset, value.fdel)
            case functools.partial():
                return self._all("partial", value.func, value.args, value.keywords)
            case logging.Logger():  # whoever logs is no other for it
                return _hashed("logger", value.name)
            case typing.ForwardRef() | typing.TypeVar() | typing.ParamSpec():
                return _hashed("typing", repr(value))
            case _ if isinstance(value, _BY_NAME):
                return self._all("descriptor", value.__objclass__, value.__name__)
            case _ if typing.get_origin(value) is not None:
                extras = getattr(value, "__metadata__", ())
                return self._all("generic", typing.get_origin(value), typing.get_args(value), extras)
            case _ if getattr(value, "__module__", "") == "typing" and not isinstance(value, type):
                return _hashed("typing", repr(value))
            case type():
                return self._class(value)
            case _ if isinstance(value, functools._lru_cache_wrapper):
                return self._all("cached", value.__wrapped__)
            case _:
                return self._instance(value)

    def _dict(self, value: dict[Any, Any]) -> bytes:
        if self._is_variants(value):
            left_out = sorted(self._variants.keys() - self._depends_on)
            if left_out:
                raise NoFingerprint(
                    "the mapping of variants hangs on it, its code does not show which of them it reads, and dependsOn "
                    f"leaves out {', '.join(left_out)}; take what it needs out of the mapping in the factory, as in "
                    f'chosen = variants["{left_out[0]}"]'
                )
            return self._chosen(frozenset())
        return self._all("dict", *(part for item in value.items() for part in item))

    def _chosen(self, read: frozenset[str]) -> bytes:
        return _hashed(
            "variants", *(f"{name}={self._variants.get(name)!r}" for name in sorted(read | self._depends_on))
        )

    def _is_variants(self, value: object) -> bool:
        if type(value) is not dict:
            return False
        if not value or len(value) != len(self._variants) or any(type(part) is not str for part in value.values()):
            return False
        return value.keys() == self._variants.keys() and value == self._variants

    # -- code --------------------------------------------------------------------------------------------------

    def _function(self, function: types.FunctionType) -> bytes:
        parts = [function.__defaults__, function.__kwdefaults__, self._closure(function), function.__dict__]
        module = str(function.__globals__.get("__name__"))
        if is_library(module, self._own):
            # Of functions made within another one several have the same name.
            code = function.__code__ if "<" in function.__qualname__ else None
            return self._all("library function", module, function.__qualname__, code, *parts)
        return self._all("function", function.__code__, *self._globals_of(function), *parts)

    def _closure(self, function: types.FunctionType) -> dict[str, object]:
        """Return what the function closes over, with the variants as those that it reads."""
        held: dict[str, object] = {}
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            read = keys_read(function.__code__, name) if self._holds_variants(cell) else None
            held[name] = cell if read is None else self._chosen(read)
        return held

    def _holds_variants(self, cell: types.CellType) -> bool:
        try:
            return self._is_variants(cell.cell_contents)
        except ValueError:  # it is empty yet
            return False

    def _code(self, code: types.CodeType) -> bytes:
        plain = (code.co_name, code.co_code, code.co_exceptiontable, code.co_names, code.co_varnames, code.co_freevars)
        counts = (code.co_flags, code.co_argcount, code.co_kwonlyargcount, code.co_posonlyargcount, code.co_cellvars)
        return self._all("code", plain, counts, code.co_consts)

    def _cell(self, cell: types.CellType) -> bytes:
        try:
            return self._all("cell", cell.cell_contents)
        except ValueError:
            return _hashed("empty cell")

    def _globals_of(self, function: types.FunctionType) -> Iterable[object]:
        """Yield what the function reads from its module or imports while it runs, by name."""
        found = function.__globals__
        for code in nested(function.__code__):
            names = frozenset(code.co_names)
            steps = list(dis.get_instructions(code))
            for at, step in enumerate(steps):
                if step.opname in ("LOAD_GLOBAL", "LOAD_NAME") and step.argval in found:
                    value = found[step.argval]
                    yield step.argval
                    yield self._module(value, names) if isinstance(value, types.ModuleType) else value
                elif step.opname == "IMPORT_NAME":
                    yield step.argval
                    yield self._imported(str(step.argval), steps[at - 2].argval, found, names)

    def _imported(self, name: str, level: object, found: Mapping[str, Any], names: frozenset[str]) -> bytes:
        if not isinstance(level, int):
            raise NoFingerprint(f"it imports {name or 'a module'} in a way that cannot be followed")
        full = importlib.util.resolve_name("." * level + name, str(found.get("__package__") or "") or None)
        if is_library(full, self._own):
            return _hashed("library", full)
        try:
            return self._module(importlib.import_module(full), names)
        except NoFingerprint:
            raise
        except Exception as error:  # the user's module may raise anything
            raise NoFingerprint(f"it imports {full}, which fails: {error}") from error

    def _module(self, module: types.ModuleType, names: frozenset[str]) -> bytes:
        if is_library(module.__name__, self._own):
            return _hashed("library", module.__name__)
        key = (module.__name__, names)
        if key in self._modules_under_way:
            return _hashed("module under way", module.__name__)
        self._modules_under_way.add(key)
        try:
            return self._read_module(module, names)
        finally:
            self._modules_under_way.remove(key)

    def _read_module(self, module: types.ModuleType, names: frozenset[str]) -> bytes:
        file = getattr(module, "__file__", None)
        body = Path(file).read_bytes() if file and Path(file).is_file() else b""
        read: list[object] = []
        for name in sorted(names):
            if name in vars(module):
                value = vars(module)[name]
                inner = isinstance(value, types.ModuleType) and value is not module
                read += [name, self._module(value, names) if inner else value]
        return self._all("module", module.__name__, body, *read)

    # -- classes and their instances -----------------------------------------------------------------------------

    def _class(self, kind: type) -> bytes:
        if is_library(kind.__module__, self._own):
            return _hashed("library class", kind.__module__, kind.__qualname__)
        own = {
            name: value
            for name, value in vars(kind).items()
            if name not in _OF_EVERY_CLASS and not name.startswith("__pydantic_") and not _is_slot(value)
        }
        return self._all("class", kind.__module__, kind.__qualname__, type(kind), kind.__bases__, own)

    def _instance(self, value: object) -> bytes:
        kind = type(value)
        if kind is object:
            return _hashed("a plain object")
        own = getattr(value, "__dict__", None)
        try:
            reducer = copyreg.dispatch_table.get(kind)
            reduced = reducer(value) if reducer else value.__reduce_ex__(4)
        except Exception as error:  # what an object says when it is to be pickled is its own affair
            raise NoFingerprint(f"a {kind.__module__}.{kind.__qualname__} hangs on it: {error}") from error
        if isinstance(reduced, str):
            return _hashed("singleton", kind.__module__, reduced)
        made, given, *rest = reduced
        state = rest[0] if rest else None
        items = [list(part) for part in rest[1:3] if part is not None]
        return self._all("instance", kind, own, made, given, None if state is own else state, items)


def is_library(module: str, own: str = "") -> bool:
    """Return whether a module comes with Python or was installed: its code is told by its version.

    ``own`` is a package that is none, wherever it lies: its author changes it between two runs of the same version.
    """
    top = module.partition(".")[0]
    if top in sys.stdlib_module_names or top in ("batchyard", "builtins"):
        return True
    return top != own and _is_installed(top)


@functools.cache
def _is_installed(top: str) -> bool:
    module = sys.modules.get(top)
    try:
        spec = getattr(module, "__spec__", None) or (importlib.util.find_spec(top) if module is None else None)
    except (ImportError, ValueError):
        return False
    places = [spec.origin or "", *(spec.submodule_search_locations or ())] if spec is not None else []
    return any(Path(place).is_relative_to(root) for place in places if place for root in _installed_roots())


@functools.cache
def _installed_roots() -> tuple[Path, ...]:
    named = [sysconfig.get_path(name) for name in ("purelib", "platlib", "stdlib", "platstdlib")]
    paths = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
    return tuple(Path(path) for path in dict.fromkeys([*named, *paths]))


@functools.cache
def versions() -> str:
    """Return a fingerprint of Python, batchyard and every package that is installed here."""
    installed = sorted(
        {found.name for path in sys.path if Path(path).is_dir() for found in Path(path).glob("*.dist-info")}
    )
    return _hashed(sys.version, batchyard.__version__, *installed).hex()


def _is_slot(value: object) -> bool:
    return isinstance(value, types.MemberDescriptorType | types.GetSetDescriptorType)


def _hashed(*parts: object) -> bytes:
    found = hashlib.sha256()
    for part in parts:
        body = part if isinstance(part, bytes) else str(part).encode(errors="backslashreplace")
        found.update(len(body).to_bytes(8, "big"))
        found.update(body)
    return found.digest()
