"""Whatever the files are called and whatever is in them: a cluster has what this machine has, bit by bit."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from batchyard.cli.manifests import yaml_text
from batchyard.engine.bundling import Bundle
from batchyard.engine.config_maps import MAX_BYTES, NARROW, WIDE, Owner, Room, case_maps, code_map, keys_of
from batchyard.engine.leaving_out import IGNORE_FILE, is_left_out, patterns_of
from batchyard.engine.sources import load
from batchyard.model.cases import parse_cases
from batchyard.model.questions import ScriptedAnswer
from batchyard.model.trial import Case
from bundle_bench import a_batch_test, bundled, code_of, in_cluster, mounted, run_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

NAMES = st.text(
    st.characters(exclude_characters="/\0", exclude_categories=["Cs"]) | st.sampled_from("ab._- "),
    min_size=1,
    max_size=12,
).filter(lambda name: name not in {".", ".."} and len(name.encode()) < 200)
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("\n\t #:-|\r"), max_size=60)
CONTENTS = st.binary(max_size=40) | TEXTS.map(str.encode)


def a_tree(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Leave out what would need to be a file and a folder."""
    folders = {path[:end] for path in files for end, char in enumerate(path) if char == "/"}
    return {path: content for path, content in files.items() if path not in folders}


TREES = st.dictionaries(PATHS, CONTENTS, min_size=1, max_size=12).map(a_tree).filter(bool)

# What every JSON reader holds: no lone surrogates, no NUL, no number without bounds.
JSON_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | JSON_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(JSON_TEXT, inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@st.composite
def cases(draw: st.DrawFn, prefix: str) -> list[Case]:
    inputs = draw(st.lists(st.dictionaries(JSON_TEXT, VALUES, max_size=3), min_size=1, max_size=8))
    return [
        Case(
            f"{prefix}-{number}",
            given,
            draw(VALUES),
            draw(st.floats(0, 1_000_000)),
            draw(st.none() | st.floats(0.001, 1000)),
            draw(st.just(()) | st.tuples(st.builds(ScriptedAnswer, VALUES, st.sampled_from(["", "ask"])))),
        )
        for number, given in enumerate(inputs)
    ]


@given(st.lists(PATHS, unique=True, max_size=30))
def test_every_path_has_a_key_of_its_own(paths: list[str]) -> None:
    keys = keys_of(paths)

    assert sorted(keys.values()) == sorted(paths)
    assert all(0 < len(key) <= 253 and not key.startswith("..") and key != "." for key in keys)
    assert all(char in "-._" or (char.isascii() and char.isalnum()) for key in keys for char in key)
    assert keys == keys_of(list(reversed(paths)))


@given(TREES)
def test_files_come_out_of_a_configmap_and_its_yaml_bit_by_bit(files: dict[str, bytes]) -> None:
    made = code_map(Owner("demo", "team"), files)

    (read,) = yaml.load_all(yaml_text([made], "x"), Loader=yaml.CSafeLoader)

    assert read == made
    # A path from the top that begins with two dots is refused before.
    assert mounted(read) == files
    assert made == code_map(Owner("demo", "team"), dict(reversed(files.items())))


@given(TREES.filter(lambda files: IGNORE_FILE not in files), st.permutations(["a", "b", "c"]))
@example({"kept": b"", "env/bin/python": b"", "env/pyvenv.cfg": b"", "conda-meta": b""}, ["a", "b", "c"])
@settings(max_examples=50)
def test_a_folder_is_in_the_cluster_what_it_is_here(files: dict[str, bytes], dimensions: list[str]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for below, content in files.items():
            (folder / "code" / below).parent.mkdir(parents=True, exist_ok=True)
            (folder / "code" / below).write_bytes(content)
        (folder / "code" / "graph.py").write_bytes(b"")
        document = a_batch_test(
            workflow={"factory": "graph:build", "source": {"path": "code"}},
            variants={"matrix": {dimension: ["y", "x"] for dimension in dimensions}},
        )
        path = folder / "batch.yaml"
        path.write_text(json.dumps(document))

        bundle, again, local = bundled(path), bundled(path), load(path)

    expected = {**files, "graph.py": b""}
    kept = {below for below in expected if not _is_left_out(below, expected)}
    assert mounted(code_of(bundle)) == {below: expected[below] for below in kept}
    assert yaml_text(bundle.objects, "x") == yaml_text(again.objects, "x")
    assert in_cluster(bundle).plan == local.plan


def _is_left_out(path: str, paths: Iterable[str]) -> bool:
    names = path.split("/")
    endings = (".db", ".pyc", ".pyo")
    if any(name.endswith(".egg-info") or name in {"__pycache__", "node_modules"} for name in names[:-1]):
        return True
    if any(name.startswith(".") or name.endswith(endings) or ".db-" in name for name in names):
        return True
    # What marks an environment of Python's or conda's counts in any folder but the top.
    marks = {
        f"{'/'.join(names[:end])}/{mark}/" for end in range(1, len(names)) for mark in ("pyvenv.cfg", "conda-meta")
    }
    return any(f"{one}/".startswith(mark) for one in paths for mark in marks)


@given(cases("first"), cases("second"), cases("own"), st.dictionaries(JSON_TEXT, VALUES, max_size=3))
@settings(max_examples=50)
def test_cases_are_in_the_cluster_what_they_are_here(
    first: list[Case], second: list[Case], own: list[Case], state: dict[str, Any]
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "graph.py").write_bytes(b"")
        (folder / "first.jsonl").write_text("\n".join(json.dumps(_spelled(case)) for case in first))
        (folder / "second.yaml").write_text(json.dumps([_spelled(case) for case in second]))
        path = folder / "batch.yaml"
        document = a_batch_test(
            cases=[{**_spelled(case), "weight": 1} for case in own],
            casesFrom=[{"path": "first.jsonl"}, {"path": "second.yaml"}],
            initialState=state,
        )
        path.write_text(json.dumps(document))

        bundle, local = bundled(path), load(path)

    read = tuple(yaml.load_all(yaml_text(bundle.objects, "x"), Loader=yaml.CSafeLoader))
    there = in_cluster(Bundle(read, bundle.loaded))
    assert there.plan == local.plan
    assert run_of(there) == run_of(local)
    assert there.plan.cases[len(own) :] == (*first, *second)


def _spelled(case: Case) -> dict[str, Any]:
    return {
        "name": case.name,
        "input": case.input,
        "expected": case.expected,
        "weight": case.weight,
        "deadlineSeconds": case.deadline_seconds,
        "answers": [{"value": answer.value, "node": answer.node or None} for answer in case.answers],
    }


@given(cases("case"), st.integers(1, 400))
def test_parted_cases_are_all_there_in_order(found: list[Case], most_bytes: int) -> None:
    pieces = case_maps(Owner("demo"), "many", found, Room(most_bytes, len))

    texts = [piece.config_map["data"][piece.key] for piece in pieces]
    read = [case for text in texts for case in parse_cases(text, "jsonl", "many.jsonl").cases]
    assert read == found
    assert all(len(text) <= most_bytes or text.count("\n") == 1 for text in texts)


@given(cases("case"))
def test_a_line_never_costs_less_than_it_is_long(found: list[Case]) -> None:
    lines = case_maps(Owner("demo"), "c", found, WIDE)[0].config_map["data"]["c.jsonl"].splitlines(keepends=True)

    assert all(NARROW.cost(line) > WIDE.cost(line) == len(line.encode()) <= MAX_BYTES for line in lines)


@given(PATHS, st.lists(st.text("ab*?[]!/#\\. ", max_size=8), max_size=6))
def test_any_patterns_at_all_can_be_asked(path: str, lines: list[str]) -> None:
    patterns = patterns_of("\n".join(lines))

    assert not is_left_out(path, [], is_folder=False)
    assert is_left_out(path, [*patterns, *patterns_of("**/*")], is_folder=False)
    assert not is_left_out(path, [*patterns, *patterns_of("!**/*")], is_folder=True)
