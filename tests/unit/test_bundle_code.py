"""Which files of a workflow's folder go along, as they are, and what is wrong with the others."""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from batchyard.engine.code_folder import CodeFolder, read_code
from batchyard.engine.config_maps import MAX_BYTES
from batchyard.engine.leaving_out import is_left_out, patterns_of
from bundle_bench import a_file, bundled, code_of, faults_of, mounted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

NOBODY = 65534


def put(folder: Path, *paths: str) -> None:
    for path in paths:
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"# {path}\n")


def found(folder: Path, apart: Iterable[Path] = (), most_bytes: int = MAX_BYTES) -> CodeFolder:
    return read_code(folder, "code", apart, most_bytes)


def fault_paths(folder: Path) -> list[str]:
    return [fault.path for fault in found(folder).faults]


# -- what is left out --------------------------------------------------------------------------------------------


def test_what_nobody_means_to_run_is_left_out(tmp_path: Path) -> None:
    put(tmp_path, "graph.py", "parts/node.py", "parts/data.txt", "parts/prompt.md")
    put(tmp_path, ".env", ".git/config", "parts/.cache/x", "parts/__pycache__/node.cpython-311.pyc", "old.pyc", "o.pyo")
    put(tmp_path, "facts.db", "facts.db-wal", "search.egg-info/PKG-INFO", "node_modules/left/pad.js")
    put(tmp_path, "venv/pyvenv.cfg", "venv/lib/x.py", "parts/conda/conda-meta/history", "parts/conda/x.py")

    assert list(found(tmp_path).files) == ["graph.py", "parts/data.txt", "parts/node.py", "parts/prompt.md"]


def test_the_batchtest_and_its_case_files_are_left_out_wherever_they_are(tmp_path: Path) -> None:
    put(tmp_path, "code/graph.py", "code/[smoke]*.jsonl", "code/s.jsonl", "code/deep/batch.yaml")
    (tmp_path / "code" / "[smoke]*.jsonl").write_text('{"name": "two"}\n')
    (tmp_path / "code" / "deep" / "cases.jsonl").write_text('{"name": "three"}\n')
    path = a_file(
        tmp_path / "code" / "deep",
        workflow={"factory": "graph:build", "source": {"path": ".."}},
        casesFrom=[{"path": "../[smoke]*.jsonl"}, {"path": "cases.jsonl"}],
    )

    assert list(mounted(code_of(bundled(path)))) == ["deep/graph.py", "graph.py", "s.jsonl"]


def test_files_that_the_workflow_reads_itself_can_be_taken_back(tmp_path: Path) -> None:
    (tmp_path / "cases.jsonl").write_text('{"name": "two"}\n')
    (tmp_path / ".batchyardignore").write_text("# the workflow reads them too\n!cases.jsonl\n!.prompts/\nnotes*\n")
    put(tmp_path, ".prompts/system.md", "notes.txt", "deep/notes/x.txt")

    files = mounted(code_of(bundled(a_file(tmp_path, casesFrom=[{"path": "cases.jsonl"}]))))

    assert sorted(files) == [".prompts/system.md", "cases.jsonl", "graph.py"]


@pytest.mark.parametrize(
    ("patterns", "left_out", "kept"),
    [
        ("*.log", ["a.log", "b/a.log"], ["a.logs", "log"]),
        ("/*.log", ["a.log"], ["b/a.log"]),
        ("b/*.log", ["b/a.log"], ["a.log", "c/b/a.log", "b/c/a.log"]),
        ("**/b/*.log", ["b/a.log", "c/b/a.log"], ["b/c/a.log"]),
        ("b/**/a.log", ["b/a.log", "b/c/a.log", "b/c/d/a.log"], ["a.log"]),
        ("b/**", ["b/a", "b/c/a"], ["b", "a"]),
        ("a?c", ["abc"], ["ac", "a/c"]),
        ("[ab].txt", ["a.txt"], ["c.txt"]),
        ("*.log\n!keep.log", ["a.log"], ["keep.log", "b/keep.log"]),
        ("!keep.log\n*.log", ["keep.log"], []),
        ("\\!a\n\\#b\n#c", ["!a", "#b"], ["#c", "a", "b", "c"]),
        ("a  \n\n/\n!\n  ", ["a"], ["b"]),
        ("A", ["A"], ["a"]),
    ],
)
def test_patterns_are_read_as_in_a_gitignore(patterns: str, left_out: list[str], kept: list[str]) -> None:
    read = patterns_of(patterns)

    assert [path for path in [*left_out, *kept] if is_left_out(path, read, is_folder=False)] == left_out


def test_a_pattern_with_a_slash_at_its_end_is_of_folders(tmp_path: Path) -> None:
    put(tmp_path, "build/x.py", "a/build", "graph.py")
    (tmp_path / ".batchyardignore").write_text("build/\r\n")

    assert list(found(tmp_path).files) == ["a/build", "graph.py"]


def test_nothing_in_a_folder_that_is_left_out_can_be_taken_back(tmp_path: Path) -> None:
    put(tmp_path, "big/keep.py", "graph.py")
    (tmp_path / ".batchyardignore").write_text("big\n!big/keep.py\n")

    assert list(found(tmp_path).files) == ["graph.py"]


# -- links -------------------------------------------------------------------------------------------------------


def test_links_within_the_folder_are_followed(tmp_path: Path) -> None:
    put(tmp_path, "v2/graph.py", ".hidden/prompt.md")
    (tmp_path / "latest").symlink_to("v2")
    (tmp_path / "v2" / "prompt.md").symlink_to("../.hidden/prompt.md")

    files = found(tmp_path).files

    assert files["latest/graph.py"] == files["v2/graph.py"]
    assert files["latest/prompt.md"] == b"# .hidden/prompt.md\n"


def test_the_folder_itself_may_be_a_link(tmp_path: Path) -> None:
    put(tmp_path, "real/graph.py")
    (tmp_path / "link").symlink_to("real")

    assert list(found(tmp_path / "link").files) == ["graph.py"]


def test_links_out_of_the_folder_round_in_circles_and_nowhere_are_refused(tmp_path: Path) -> None:
    put(tmp_path, "outside/secret", "code/graph.py", "code/deep/x.py")
    (tmp_path / "code" / "away").symlink_to("../outside/secret")
    (tmp_path / "code" / "folder").symlink_to(tmp_path / "outside")
    (tmp_path / "code" / "deep" / "top").symlink_to("..")
    (tmp_path / "code" / "gone").symlink_to("nothing")
    (tmp_path / "code" / "self").symlink_to("self")

    assert fault_paths(tmp_path / "code") == ["code/away", "code/deep/top", "code/folder", "code/gone", "code/self"]


def test_a_link_by_way_of_the_outside_is_refused_though_it_comes_back(tmp_path: Path) -> None:
    put(tmp_path, "code/graph.py")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "back").symlink_to("../code2")
    put(tmp_path, "code2/secret")
    (tmp_path / "code" / "x").symlink_to("../outside/back/secret")

    assert fault_paths(tmp_path / "code") == ["code/x"]


def test_links_that_are_left_out_are_no_fault(tmp_path: Path) -> None:
    put(tmp_path, "code/graph.py")
    for name in (".away", "away"):
        (tmp_path / "code" / name).symlink_to("/")
    (tmp_path / "code" / "self").symlink_to("self")
    (tmp_path / "code" / ".batchyardignore").write_text("away\nself\n")

    assert found(tmp_path / "code").faults == []


# -- other faults ------------------------------------------------------------------------------------------------


def test_what_is_neither_file_nor_folder_is_refused_without_waiting_for_it(tmp_path: Path) -> None:
    put(tmp_path, "graph.py")
    os.mkfifo(tmp_path / "pipe")

    assert fault_paths(tmp_path) == ["code/pipe"]


def test_names_that_no_volume_holds_are_refused(tmp_path: Path) -> None:
    put(tmp_path, "graph.py", "..odd/x")
    (tmp_path / ".batchyardignore").write_text("!..odd\n")
    (Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.py"))).write_text("")

    assert fault_paths(tmp_path) == ["code/..odd/x", "code/\\udcff.py"]


@pytest.mark.parametrize("content", [b"\xff\n", b"x" * 70_000])
def test_patterns_that_cannot_be_read_are_a_fault(tmp_path: Path, content: bytes) -> None:
    put(tmp_path, "graph.py")
    (tmp_path / ".batchyardignore").write_bytes(content)

    assert fault_paths(tmp_path) == ["code/.batchyardignore"]


@contextmanager
def nobody_in_particular() -> Iterator[None]:
    """Be a user who may not read everything."""
    before = os.geteuid()
    os.seteuid(before or NOBODY)
    try:
        yield
    finally:
        os.seteuid(before)


def test_what_may_not_be_read_is_a_fault() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        put(folder, "graph.py", "node.py", "listed/x.py", "shut/x.py")
        (folder / "graph.py").chmod(0)
        (folder / "listed").chmod(0o444)
        (folder / "shut").chmod(0o111)

        with nobody_in_particular():
            faults = fault_paths(folder)

    assert faults == ["code/listed/x.py", "code/shut", "code/graph.py"]


def test_a_folder_as_large_as_a_configmap_goes_along_and_one_byte_more_does_not(tmp_path: Path) -> None:
    path = a_file(tmp_path)
    room = MAX_BYTES - (tmp_path / "graph.py").stat().st_size
    (tmp_path / "words.bin").write_bytes(b"\xff" * room)
    assert sum(map(len, mounted(code_of(bundled(path))).values())) == MAX_BYTES

    (tmp_path / "words.bin").write_bytes(b"\xff" * (room + 1))

    assert faults_of(path) == {
        "spec.workflow.source.path": "holds 1,048,577 bytes, more than the 1,048,576 of a ConfigMap; the largest: "
        f"words.bin {room + 1:,}, graph.py 25; leave out in .batchyardignore what is not needed, or build an image "
        "with the code and give --image"
    }


def test_the_largest_files_are_named_first_and_not_all_of_them(tmp_path: Path) -> None:
    for size in range(1, 9):
        (tmp_path / f"f{size}").write_bytes(bytes(size))

    fault = found(tmp_path, most_bytes=35).fault

    assert fault is not None
    assert (
        "holds 36 bytes, more than the 35 of a ConfigMap; the largest: f8 8, f7 7, f6 6, f5 5, f4 4, and 3 more"
        in (fault[0])
    )


def test_files_that_are_far_too_large_are_not_read(tmp_path: Path) -> None:
    put(tmp_path, "graph.py")
    with (tmp_path / "model.bin").open("wb") as file:
        file.truncate(2**40)

    fault = found(tmp_path).fault

    assert fault is not None
    assert "model.bin 1,099,511,627,776" in fault[0]


def test_so_many_files_that_their_names_are_too_much_are_refused(tmp_path: Path) -> None:
    path = a_file(tmp_path)
    (tmp_path / "deep").mkdir()
    for number in range(1300):
        (tmp_path / "deep" / f"{'n' * 100}{number}").touch()

    assert "their paths take" in faults_of(path)["spec.workflow.source.path"]


def test_so_many_names_beside_much_content_are_refused(tmp_path: Path) -> None:
    path = a_file(tmp_path)
    (tmp_path / "words.bin").write_bytes(bytes(1_000_000))
    for number in range(1300):
        (tmp_path / f"{'n' * 200}{number}").touch()

    assert "names of its 1,302 files" in faults_of(path)["spec.workflow.source.path"]


def test_a_folder_that_was_not_meant_is_not_walked_to_its_end(tmp_path: Path) -> None:
    put(tmp_path, *(f"{folder}/{file}" for folder in range(4) for file in range(4)))

    fault = read_code(tmp_path, ".", [], MAX_BYTES, most_entries=10).fault

    assert fault is not None
    assert "more than 10 files and folders" in fault[0]


def test_a_folder_of_which_nothing_goes_along_is_refused(tmp_path: Path) -> None:
    path = a_file(tmp_path)
    (tmp_path / ".batchyardignore").write_text("*\n")

    assert list(faults_of(path)) == ["spec.workflow.source.path"]


def test_of_very_many_faults_the_first_hundred_are_told(tmp_path: Path) -> None:
    for number in range(150):
        (tmp_path / f"away{number:03}").symlink_to("/")

    paths = fault_paths(tmp_path)

    assert (len(paths), paths[99], paths[100]) == (101, "code/away099", "code")
