"""What changes a node's fingerprint, and what has none."""

from __future__ import annotations

import functools
import math
import threading
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

import pytest

from batchyard.workflows.fingerprints import Fingerprinter, NoFingerprint, is_library
from package_bench import installed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LIMIT = 3
VARIANTS = {"style": "warm", "model": "small"}


def mark(value: object, *depends_on: str, variants: dict[str, str] = VARIANTS) -> str:
    return Fingerprinter(variants, depends_on).of(value)


def closing_over(value: object) -> Callable[[], object]:
    return lambda: value


def defaulting(value: object) -> Callable[..., object]:
    def run(given: object = value) -> object:
        return given

    return run


def helped() -> int:
    return LIMIT


def calls_helped() -> int:
    return helped() + 1


class Color(Enum):
    """Some values."""

    RED = 1
    BLUE = 2


@dataclass
class Model:
    """A node that is an object."""

    temperature: float

    def __call__(self, state: dict[str, Any]) -> dict[str, Any]:
        return {"out": self.temperature, **state}


PAIRS: list[tuple[str, Callable[[Any], object]]] = [
    ("a closure", closing_over),
    ("a default", defaulting),
    ("a bound argument", lambda value: functools.partial(defaulting, value)),
    ("an object's state", Model),
    ("a method's object", lambda value: Model(value).__call__),
    ("a list in a closure", lambda value: closing_over([{"k": (value,)}])),
    ("a set", lambda value: frozenset((value, "other"))),
]


@pytest.mark.parametrize(("make"), [make for _, make in PAIRS], ids=[name for name, _ in PAIRS])
def test_another_value_is_another_fingerprint_and_the_same_value_the_same(make: Callable[[Any], object]) -> None:
    assert mark(make(1.5)) == mark(make(1.5))
    assert mark(make(1.5)) != mark(make(2.5))


def test_other_code_is_another_fingerprint() -> None:
    def one(state: int) -> int:
        return state + 1

    def other(state: int) -> int:
        return state + 2

    other.__name__, other.__qualname__ = one.__name__, one.__qualname__

    assert mark(one) != mark(other)


def test_a_global_that_a_called_function_reads_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    before = mark(calls_helped)
    monkeypatch.setitem(globals(), "LIMIT", 4)

    assert mark(calls_helped) != before


def test_what_a_function_imports_while_it_runs_counts(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lazily_read.py").write_text("LEVEL = 1\n")
    monkeypatch.syspath_prepend(tmp_path)

    def run() -> int:
        import lazily_read  # type: ignore[import-not-found]

        return int(lazily_read.LEVEL)

    before = mark(run)
    import lazily_read

    monkeypatch.setattr(lazily_read, "LEVEL", 2)
    assert mark(run) != before


def test_the_value_of_an_enum_counts_and_a_logger_does_not() -> None:
    import logging

    assert mark(closing_over(Color.RED)) != mark(closing_over(Color.BLUE))
    assert mark(closing_over(logging.getLogger("a")))


@pytest.mark.parametrize(
    "make", [lambda v: lambda: v["style"], lambda v: lambda: [v.get("style", "") for _ in "ab"]], ids=["item", "get"]
)
def test_of_the_variants_those_that_the_code_reads_count_and_those_that_are_declared(make: Callable[..., Any]) -> None:
    style, model = {**VARIANTS, "style": "cold"}, {**VARIANTS, "model": "large"}

    assert mark(make(VARIANTS)) == mark(make(model), variants=model)
    assert mark(make(VARIANTS)) != mark(make(style), variants=style)
    assert mark(make(VARIANTS), "model") != mark(make(model), "model", variants=model)


READS_UNSEEN: list[tuple[str, Callable[[dict[str, str]], object]]] = [
    ("returned", closing_over),
    ("a default", defaulting),
    ("a bound argument", lambda v: functools.partial(mark, v)),
    ("handed on", lambda v: lambda: mark(v)),
    ("unpacked", lambda v: lambda: {**v}),
    ("a computed name", lambda v: lambda name: v[name]),
    ("a joined name", lambda v: lambda end: v.get("mo" + end)),
    ("a computed default", lambda v: lambda: v.get("style", v.items())),
    ("found as a local", lambda v: lambda: (v["style"], locals())),
    ("a copy", lambda v: closing_over(dict(v))),
]


@pytest.mark.parametrize("make", [make for _, make in READS_UNSEEN], ids=[name for name, _ in READS_UNSEEN])
def test_variants_that_are_read_unseen_have_a_fingerprint_only_if_all_are_declared(make: Callable[..., Any]) -> None:
    with pytest.raises(NoFingerprint, match="dependsOn leaves out model"):
        mark(make(VARIANTS), "style")

    assert mark(make(VARIANTS), "style", "model")


def test_libraries_count_by_name() -> None:
    assert mark(math.sqrt) != mark(math.floor)
    assert is_library("json.decoder")
    assert is_library("pydantic")
    assert not is_library(__name__)


SEARCHING = """
def build(variants):
    if variants["retriever"] == "bm25":
        def retrieve(state):
            return rank(state, "words")
    else:
        def retrieve(state):
            return rank(state, "vectors")
    return retrieve

def rank(state, by):
    return sorted(state, reverse=%s)
"""


def test_a_workflows_own_package_counts_by_its_code_though_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def marked(direction: bool, retriever: str, own: str = "searching_package") -> str:
        module = installed("searching_package", SEARCHING % direction, monkeypatch)
        return Fingerprinter(VARIANTS, (), own=own).of(module.build({"retriever": retriever}))

    assert marked(True, "bm25") == marked(True, "bm25")
    assert marked(True, "bm25") != marked(True, "tfidf")
    assert marked(True, "bm25") != marked(False, "bm25")
    assert marked(True, "bm25", own="another") == marked(False, "bm25", own="another")


def test_of_functions_within_a_librarys_function_the_name_does_not_tell_which_one_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = installed("retrieving_library", SEARCHING % True, monkeypatch)

    assert mark(module.build({"retriever": "bm25"})) == mark(module.build({"retriever": "bm25"}))
    assert mark(module.build({"retriever": "bm25"})) != mark(module.build({"retriever": "tfidf"}))


def test_modules_that_name_each_other_have_a_fingerprint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "naming_package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "tools.py").write_text(
        "import naming_package.sums\n\ndef load(state):\n    return naming_package.sums.add(state)\n"
    )
    (package / "sums.py").write_text(
        "import naming_package.tools\n\nSTEP = 1\n\ndef add(state):\n    return state + STEP\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    import naming_package.tools  # type: ignore[import-not-found]

    before, again = mark(naming_package.tools.load), mark(naming_package.tools.load)
    monkeypatch.setattr(naming_package.sums, "STEP", 2)

    assert before == again
    assert mark(naming_package.tools.load) != before


def test_a_cycle_has_a_fingerprint() -> None:
    loop: list[Any] = [1]
    loop.append(loop)

    assert mark(loop) == mark(loop)
    assert mark(loop) != mark([1, [1]])


@pytest.mark.parametrize("opaque", [threading.Lock(), (n for n in [1])], ids=["lock", "generator"])
def test_what_cannot_be_followed_has_none(opaque: object) -> None:
    with pytest.raises(NoFingerprint, match="hangs on it"):
        mark(closing_over(opaque))


def test_what_is_nested_too_deeply_has_none() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]

    with pytest.raises(NoFingerprint, match="deeply"):
        mark(deep)
