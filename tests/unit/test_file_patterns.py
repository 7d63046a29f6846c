"""Which files a pattern means."""

from __future__ import annotations

import pytest

from batchyard.model.file_patterns import FilePatterns, pattern_fault


@pytest.mark.parametrize(
    ("pattern", "tracked", "others"),
    [
        ("out/", ["out", "out/a", "out/deep/er/b.txt"], ["outer/a", "a/out/b"]),
        ("*.md", ["notes.md"], ["docs/notes.md", "notes.md.bak"]),
        ("**/*.md", ["notes.md", "docs/a/b.md"], ["docs/a.txt"]),
        ("out/**", ["out/a", "out/b/c"], ["out", "a"]),
        ("out/**/last.txt", ["out/last.txt", "out/a/b/last.txt"], ["last.txt", "out/last.txt2"]),
        ("**", ["a", "b/c/d", ".hidden"], [".batchyard/removed-1/a"]),
        ("run-?/[ab].txt", ["run-1/a.txt"], ["run-12/a.txt", "run-1/c.txt"]),
        ("a/**/b/**/c", ["a/b/c", "a/x/b/y/z/c"], ["a/c", "a/b"]),
    ],
)
def test_a_pattern_means_these_files_and_no_others(pattern: str, tracked: list[str], others: list[str]) -> None:
    patterns = FilePatterns([pattern])

    assert [path for path in [*tracked, *others] if patterns.tracks(path)] == tracked


def test_what_is_ignored_is_ignored_at_any_depth() -> None:
    patterns = FilePatterns(["**"], ["__pycache__", "*.pyc", "data/raw"])

    paths = ["a.py", "x/__pycache__/a", "x/a.pyc", "data/raw/1", "x/data/raw/1"]

    assert [path for path in paths if patterns.tracks(path)] == ["a.py", "x/data/raw/1"]
    assert not patterns.may_hold("x/__pycache__")


def test_only_folders_that_may_hold_a_tracked_file_are_looked_into() -> None:
    patterns = FilePatterns(["out/*/report.md", "notes/"])

    folders = ["out", "out/a", "out/a/b", "notes", "notes/deep", "other"]

    assert [folder for folder in folders if patterns.may_hold(folder)] == ["out", "out/a", "notes", "notes/deep"]


def test_many_any_folders_take_no_time() -> None:
    patterns = FilePatterns(["/".join(["**", "a"] * 100)])

    assert not patterns.tracks("/".join(["a"] * 99 + ["b"] * 500))


@pytest.mark.parametrize("pattern", ["/etc/passwd", "../out", "out/../../x", "a//b", "./a", ".", "a\\b", "a**/b", "/"])
def test_a_pattern_that_leads_elsewhere_is_a_fault(pattern: str) -> None:
    assert pattern_fault(pattern)


@pytest.mark.parametrize("pattern", ["out", "out/", "**", "a/**/b", ".config/x", "..a/b.."])
def test_a_pattern_below_the_folder_is_none(pattern: str) -> None:
    assert not pattern_fault(pattern)
