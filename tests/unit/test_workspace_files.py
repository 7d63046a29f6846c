"""Tracked files are kept at boundaries and put back, and nothing outside the workspace is ever touched."""

from __future__ import annotations

import hashlib
import itertools
import os
import socket
import threading
from contextlib import closing, suppress
from functools import partial
from typing import TYPE_CHECKING

import pytest

from batchyard.model.execution import ExecutionError, FilesLost, Restored
from batchyard.model.file_patterns import FilePatterns
from batchyard.testing.fake_clock import FakeClock
from batchyard.workflows.files import FilesNotKept
from batchyard.workflows.folder_walk import open_seen, opened, walk
from batchyard.workflows.snapshots import read_snapshot
from workspace_files import Bench, rules

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


# -- snapshots -------------------------------------------------------------------------------------------------------


def test_a_boundary_keeps_path_content_size_and_mode_of_each_tracked_file(tmp_path: Path) -> None:
    bench = Bench(tmp_path, rules("out/", "*.md"))
    bench.write(out__a="one", **{"notes.md": "two", "other": "three"})
    (bench.folder / "out/a").chmod(0o750)

    kept = read_snapshot(bench.blobs, bench.boundary())

    assert [(file.path, bench.blobs.read(file.digest), file.size) for file in kept] == [
        ("notes.md", b"two", 3), ("out/a", b"one", 3)
    ]  # fmt: skip
    assert kept[1].mode == 0o750


def test_a_boundary_without_a_change_adds_nothing(bench: Bench) -> None:
    bench.write(a="one", b="two")
    first = bench.boundary()
    stored = sorted(bench.blobs.folder.rglob("*"))

    second = bench.boundary()

    assert second == first
    assert sorted(bench.blobs.folder.rglob("*")) == stored


def test_a_change_of_the_same_length_at_once_is_seen(bench: Bench) -> None:
    snapshots = []

    for text in ("aaa", "bbb", "ccc"):
        bench.write(a=text)
        snapshots.append(bench.boundary())

    assert len(set(snapshots)) == 3


def test_a_file_that_was_left_alone_is_not_read_again(tmp_path: Path) -> None:
    bench = Bench(tmp_path, clock=much_later())
    bench.write(a="one")
    before = bench.boundary()
    bench.blobs.place(read_snapshot(bench.blobs, before)[0].digest).unlink()

    after = bench.boundary()

    assert after == before
    with pytest.raises(FilesLost):
        bench.files.verify(after)


def much_later() -> FakeClock:
    """Return a clock that says that any file was left alone for long."""
    clock = FakeClock()
    clock.advance(100 * 365 * 24 * 3600)
    return clock


def test_a_file_set_back_to_its_old_times_is_still_seen_to_have_changed(tmp_path: Path) -> None:
    bench = Bench(tmp_path, clock=much_later())
    bench.write(a="one")
    times = (bench.folder / "a").stat()
    before = bench.boundary()

    bench.write(a="two")
    os.utime(bench.folder / "a", ns=(times.st_atime_ns, times.st_mtime_ns))

    assert bench.boundary() != before


def test_without_a_workspace_there_is_no_snapshot(bench: Bench) -> None:
    bench.files.unwatch("e")

    with bench.files.boundary("e") as snapshot:
        assert snapshot is None


def test_a_workspace_that_is_not_there_is_refused(bench: Bench) -> None:
    with pytest.raises(ExecutionError, match="no folder for files"):
        bench.files.watch("f", bench.folder / "missing")


# -- limits ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"out__big": "x" * 1001}, "out/big is more than 1,000 bytes; raise spec.checkpoints.files.maxFileBytes"),
        ({f"f{n}": "x" * 900 for n in range(12)}, "more than 10,000 bytes together; raise .*maxTotalBytes"),
        ({f"f{n}": "" for n in range(101)}, "more than 100 tracked files; raise .*maxFiles"),
    ],
)
def test_what_is_over_a_limit_is_refused_and_says_what_to_do(bench: Bench, files: dict[str, str], told: str) -> None:
    bench.write(**files)

    with pytest.raises(FilesNotKept, match=told):
        bench.boundary()


def test_folders_without_end_are_refused(bench: Bench) -> None:
    (bench.folder / "/".join("d" * 70)).mkdir(parents=True)

    with pytest.raises(FilesNotKept, match="more than 64 deep"):
        bench.boundary()


# -- what is no plain file -------------------------------------------------------------------------------------------


def _link_to_a_file(path: Path) -> None:
    path.symlink_to("/etc/hostname")


def _link_to_a_folder(path: Path) -> None:
    path.symlink_to("/etc")


def _socket(path: Path) -> None:
    with closing(socket.socket(socket.AF_UNIX)) as made:
        made.bind(os.path.relpath(path))


@pytest.mark.parametrize("make", [_link_to_a_file, _link_to_a_folder, os.mkfifo, _socket])
def test_what_is_no_plain_file_is_refused_and_never_opened(bench: Bench, make: Callable[[Path], None]) -> None:
    make(bench.folder / "it")

    with pytest.raises(FilesNotKept, match=r"^it is a .*name it in spec\.checkpoints\.files\.ignore"):
        bench.boundary()


def test_a_link_that_is_ignored_is_passed_over(tmp_path: Path) -> None:
    bench = Bench(tmp_path, rules(ignore=("latest",)))
    bench.write(a="one")
    (bench.folder / "latest").symlink_to("/etc")

    assert [file.path for file in read_snapshot(bench.blobs, bench.boundary())] == ["a"]


def test_a_file_that_gives_way_to_a_link_once_it_was_seen_is_not_read(bench: Bench) -> None:
    bench.write(a="one")

    with opened(bench.folder) as folder:
        for seen in walk(folder, FilePatterns(["**"])):
            (bench.folder / "a").unlink()
            (bench.folder / "a").symlink_to("/etc/hostname")

            assert open_seen(seen) is None


def test_a_folder_that_gives_way_to_a_link_again_and_again_never_leads_outside(bench: Bench, tmp_path: Path) -> None:
    bench.write(out__a="inside")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "a").write_text("outside")
    snapshot, over = bench.boundary(), threading.Event()

    def swap() -> None:
        out = bench.folder / "out"
        for turn in itertools.count():
            away = tmp_path / f"away-{turn}"
            for act in (
                partial(out.rename, away),
                partial(out.symlink_to, outside),
                out.unlink,
                partial(away.rename, out),
            ):
                with suppress(OSError):
                    act()
            if over.is_set():
                return

    swapping = threading.Thread(target=swap)
    swapping.start()
    try:
        for turn in range(200):
            with suppress(FilesNotKept, FilesLost):
                bench.files.restore("e", snapshot) if turn % 2 else bench.boundary()
    finally:
        over.set()
        swapping.join()

    assert hashlib.sha256(b"outside").hexdigest() not in set(bench.blobs.digests())
    assert [(path.name, path.read_text()) for path in outside.iterdir()] == [("a", "outside")]


def test_a_workspace_that_was_replaced_is_neither_read_nor_written(bench: Bench, tmp_path: Path) -> None:
    bench.write(a="one")
    snapshot = bench.boundary()
    bench.folder.rename(tmp_path / "moved")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    bench.folder.symlink_to(elsewhere)

    with pytest.raises(FilesNotKept, match="removed or replaced"):
        bench.boundary()
    with pytest.raises(FilesLost, match="removed or replaced"):
        bench.files.restore("e", snapshot)

    assert not list(elsewhere.iterdir())


# -- putting back ----------------------------------------------------------------------------------------------------


def test_going_back_restores_what_was_changed_and_deleted(bench: Bench) -> None:
    bench.write(a="one", out__b="two", out__c="three")
    (bench.folder / "a").chmod(0o640)
    snapshot = bench.boundary()
    bench.write(a="changed")
    (bench.folder / "a").chmod(0o600)
    (bench.folder / "out/b").unlink()

    restored = bench.back_to(snapshot)

    assert bench.content() == {"a": "one", "out/b": "two", "out/c": "three"}
    assert (bench.folder / "a").stat().st_mode & 0o777 == 0o640
    assert restored == Restored(written=("a", "out/b"))


def test_files_that_came_later_stay_unless_asked_otherwise(bench: Bench) -> None:
    bench.write(a="one")
    snapshot = bench.boundary()
    bench.write(out__later="two")

    restored = bench.back_to(snapshot)

    assert bench.content() == {"a": "one", "out/later": "two"}
    assert restored == Restored(later=("out/later",))


def test_a_later_file_whose_content_was_collected_is_kept_anew_at_the_next_boundary(tmp_path: Path) -> None:
    bench = Bench(tmp_path, clock=much_later())
    bench.write(a="one")
    first = bench.boundary()
    bench.write(later="two")
    bench.boundary()
    bench.back_to(first)
    needed = {first, *(file.digest for file in read_snapshot(bench.blobs, first))}
    gone = bench.blobs.collect(lambda: needed)

    after = bench.boundary()

    assert len(gone) == 2
    bench.files.verify(after)
    assert [file.path for file in read_snapshot(bench.blobs, after)] == ["a", "later"]


def test_files_that_came_later_are_moved_away_if_asked(bench: Bench) -> None:
    bench.write(a="one")
    snapshot = bench.boundary()
    bench.write(out__later="two")

    restored = bench.back_to(snapshot, remove_later=True)

    assert bench.content() == {"a": "one"}
    assert restored == Restored(moved=(".batchyard/removed-1/out/later",))
    assert (bench.folder / restored.moved[0]).read_text() == "two"


def test_what_was_moved_away_is_neither_tracked_nor_overwritten(bench: Bench) -> None:
    snapshot = bench.boundary()
    for text in ("first", "second"):
        bench.write(later=text)
        bench.back_to(snapshot, remove_later=True)

    moved = [(bench.folder / f".batchyard/removed-{n}/later").read_text() for n in (1, 2)]

    assert moved == ["first", "second"]
    assert bench.boundary() == snapshot


def test_files_that_are_not_tracked_stay_as_they_are(tmp_path: Path) -> None:
    bench = Bench(tmp_path, rules("out/"))
    bench.write(other="one", out__a="one")
    snapshot = bench.boundary()
    bench.write(other="two", out__a="two")

    bench.back_to(snapshot, remove_later=True)

    assert bench.content() == {"other": "two", "out/a": "one"}


def test_a_folder_in_the_place_of_a_file_gives_way_with_all_that_is_in_it(bench: Bench) -> None:
    bench.write(a="one", out__b="two")
    snapshot = bench.boundary()
    (bench.folder / "a").unlink()
    bench.write(a__inner="three")
    bench.folder.joinpath("out/b").unlink()
    bench.folder.joinpath("out").rmdir()
    bench.write(out="four")

    restored = bench.back_to(snapshot)

    assert bench.content() == {"a": "one", "out/b": "two"}
    assert sorted(restored.moved) == [".batchyard/removed-1/a", ".batchyard/removed-1/out"]
    assert restored.later == ()


def test_going_back_never_writes_through_a_link(bench: Bench, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "b").write_text("not yours")
    bench.write(a="one", out__b="two")
    snapshot = bench.boundary()
    (bench.folder / "a").unlink()
    (bench.folder / "a").symlink_to(outside / "b")
    (bench.folder / "out").rename(bench.folder / "gone")
    (bench.folder / "out").symlink_to(outside)

    bench.back_to(snapshot)

    assert (outside / "b").read_text() == "not yours"
    assert [path.name for path in outside.iterdir()] == ["b"]
    assert (bench.folder / "a").read_text() == "one"
    assert not (bench.folder / "out").is_symlink()


def test_an_own_folder_that_is_a_link_leads_nowhere(bench: Bench, tmp_path: Path) -> None:
    bench.write(a="one")
    snapshot = bench.boundary()
    bench.write(a="two")
    outside = tmp_path / "outside"
    outside.mkdir()
    (bench.folder / ".batchyard").symlink_to(outside)

    with pytest.raises(FilesLost, match="could be put back"):
        bench.files.restore("e", snapshot)

    assert not list(outside.iterdir())


def test_a_damaged_content_is_found_before_anything_is_changed(bench: Bench) -> None:
    bench.write(a="one", b="two")
    snapshot = bench.boundary()
    place = bench.blobs.place(read_snapshot(bench.blobs, snapshot)[1].digest)
    place.chmod(0o600)
    place.write_text("2wo")
    bench.write(a="later", b="later")

    with pytest.raises(FilesLost, match=r"damaged.*nothing was changed"):
        bench.back_to(snapshot)

    assert bench.content() == {"a": "later", "b": "later"}
