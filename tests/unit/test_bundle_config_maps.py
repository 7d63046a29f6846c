"""ConfigMaps as Kubernetes takes them: keys, text and bytes, and how much goes into one."""

from __future__ import annotations

import base64
import json
import re

import pytest

from batchyard.engine.config_maps import (
    MAX_BYTES,
    NARROW,
    WIDE,
    Owner,
    Room,
    case_line,
    case_maps,
    code_map,
    is_too_large_for_plain_apply,
    keys_of,
    too_many_files,
    value_bytes,
)
from batchyard.model.trial import Case

OWNER = Owner("demo")


def test_a_path_that_can_be_a_key_is_one() -> None:
    assert keys_of(["graph.py", "-_.A9"]) == {"graph.py": "graph.py", "-_.A9": "-_.A9"}


def test_folders_and_odd_letters_are_told_by_others() -> None:
    assert keys_of(["docs/graph.py", "übung 1.md"]) == {"docs.graph.py": "docs/graph.py", "_bung_1.md": "übung 1.md"}


def test_paths_that_would_have_one_key_get_different_ones() -> None:
    keys = keys_of(["a/b.py", "a.b.py", "a b.py", "a_b.py", "a/b/py"])

    assert keys["a.b.py"] == "a.b.py"
    assert keys["a_b.py"] == "a_b.py"
    assert sorted(keys.values()) == sorted(["a/b.py", "a.b.py", "a b.py", "a_b.py", "a/b/py"])
    assert all(re.fullmatch(r"[-._a-zA-Z0-9]+", key) for key in keys)


def test_a_file_named_like_anothers_key_keeps_its_own() -> None:
    (hashed,) = keys_of(["a/b", "a.b"]).keys() - {"a.b"}

    keys = keys_of(["a/b", "a.b", hashed])

    assert keys[hashed] == hashed
    assert len(keys) == 3


@pytest.mark.parametrize("path", ["x" * 255, "é" * 127, "d/" * 200 + "x", "..hidden/x", "..", "..."])
def test_no_key_is_longer_or_begins_otherwise_than_kubernetes_allows(path: str) -> None:
    (key,) = keys_of([path])

    assert re.fullmatch(r"[-._a-zA-Z0-9]{1,253}", key)
    assert not key.startswith("..")


def test_text_is_readable_and_all_else_is_base64() -> None:
    files = {
        "text.py": "x = 'ü\U0001f600'\n\tindented \n".encode(),
        "empty.py": b"",
        "windows.txt": b"a\r\nb\r\n",
        "marked.txt": b"\xef\xbb\xbfa",
        "latin.txt": b"\xe9",
        "zero": b"a\0b",
        "separator": "a\u2028b\x85".encode(),
    }

    made = code_map(OWNER, files)

    assert set(made["data"]) == {"text.py", "empty.py"}
    assert {key: base64.b64decode(value) for key, value in made["binaryData"].items()} == {
        key: content for key, content in files.items() if key not in made["data"]
    }
    assert value_bytes(made) == sum(map(len, files.values()))


def test_a_case_is_one_line_of_plain_text() -> None:
    odd = "line\nend \x85\u2028\x7f\ufeff ü\U0001f600"

    line = case_line(Case("one", {"text": odd}))

    assert line.endswith("}\n")
    assert not set(line[:-1]) & set("\n\x85\u2028\x7f\ufeff")
    assert "ü\U0001f600" in line
    assert json.loads(line)["input"]["text"] == odd


def test_cases_are_parted_where_the_next_one_has_no_room() -> None:
    room = Room(30, len)
    cases = [Case(name, {}) for name in "abc"] + [Case("d", {"text": "x" * 100}), Case("e", {})]
    assert len(case_line(cases[0])) == 24

    pieces = case_maps(OWNER, "many", cases, Room(48, len))

    texts = [piece.config_map["data"][piece.key] for piece in pieces]
    assert [text.count("\n") for text in texts] == [2, 1, 1, 1]
    assert "".join(texts) == "".join(map(case_line, cases))
    assert [piece.key for piece in pieces] == [f"many-{number}.jsonl" for number in (1, 2, 3, 4)]
    assert [text.count("\n") for text in (piece.config_map["data"][piece.key] for piece in case_maps(
        OWNER, "many", cases[:3], room))] == [1, 1, 1]  # fmt: skip


def test_a_wide_configmap_is_filled_to_its_last_byte() -> None:
    bare = len(case_line(Case("a", {"text": ""})))
    fitting = [Case(name, {"text": "x" * (MAX_BYTES // 2 - bare)}) for name in "ab"]

    (piece,) = case_maps(OWNER, "cases", fitting, WIDE)

    assert value_bytes(piece.config_map) == MAX_BYTES
    assert len(case_maps(OWNER, "cases", [*fitting, Case("c", {})], WIDE)) == 2


@pytest.mark.parametrize("text", ["x", '"', "<&>", "ü", "\u2028", "\x01", "\b"])
def test_a_narrow_configmap_can_be_applied_by_plain_kubectl(text: str) -> None:
    cases = [Case(f"case-{number}", {"text": text * 50}) for number in range(3000)]

    pieces = case_maps(Owner("n" * 63, "n" * 63), "cases", cases, NARROW)

    assert not any(is_too_large_for_plain_apply(piece.config_map) for piece in pieces)


def test_an_annotation_counts_twice_for_plain_kubectl() -> None:
    made = code_map(OWNER, {"words": b"x" * 200_000})
    assert not is_too_large_for_plain_apply(made)

    made["metadata"]["annotations"] = {"note": "x" * 31_000}

    assert is_too_large_for_plain_apply(made)


def test_few_files_are_never_too_many() -> None:
    assert too_many_files(code_map(OWNER, {"a/b": bytes(MAX_BYTES)})) == ""


def test_the_files_of_cases_are_called_after_theirs() -> None:
    keys = [case_maps(OWNER, stem, [Case("a", {})], NARROW)[0].key for stem in ("Smoke Tests", "ü", "x" * 300)]

    assert keys == ["smoke-tests.jsonl", "cases.jsonl", f"{'x' * 126}.jsonl"]
