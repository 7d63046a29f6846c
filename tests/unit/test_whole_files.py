"""What becomes of the files that users name: written whole, in the place of files, into what is none."""

from __future__ import annotations

import os
import stat
import threading
from functools import partial
from typing import TYPE_CHECKING

import pytest

from batchyard.cli.whole_files import can_be_written, write_whole
from batchyard.model.errors import NotWritten

if TYPE_CHECKING:
    from pathlib import Path


def says(text: str, path: Path) -> None:
    """Write a text."""
    path.write_text(text, encoding="utf-8")


def test_a_pipe_gets_the_content_and_stays_a_pipe(tmp_path: Path) -> None:
    pipe, read = tmp_path / "pipe", list[str]()
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_text("utf-8")), daemon=True)
    reader.start()

    write_whole({pipe: partial(says, "all of it")})

    reader.join(60)
    assert read == ["all of it"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert list(tmp_path.iterdir()) == [pipe]


def test_a_link_stays_and_what_it_leads_to_is_replaced(tmp_path: Path) -> None:
    link, behind = tmp_path / "link", tmp_path / "folder" / "file"
    behind.parent.mkdir()
    behind.write_text("old", encoding="utf-8")
    link.symlink_to(behind)

    write_whole({link: partial(says, "new")})

    assert link.is_symlink()
    assert behind.read_text("utf-8") == "new"
    assert list(behind.parent.iterdir()) == [behind]


def test_a_link_to_nothing_makes_what_it_leads_to(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to("file")

    write_whole({link: partial(says, "new")})

    assert link.is_symlink()
    assert (tmp_path / "file").read_text("utf-8") == "new"


def test_one_that_fails_leaves_all_as_they_were_and_is_named(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_text("old", encoding="utf-8")

    def fails(path: Path) -> None:
        raise OSError(28, "No space left on device", str(path))

    with pytest.raises(NotWritten, match=f"^{second}: cannot be written: No space left on device; name another"):
        write_whole({first: partial(says, "new"), second: fails})

    assert first.read_text("utf-8") == "old"
    assert list(tmp_path.iterdir()) == [first]


@pytest.mark.parametrize("name", ["new", "not/there/yet", "pipe", "link"])
def test_asking_whether_a_file_can_be_written_leaves_no_trace(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("nothing")
    before = sorted(tmp_path.rglob("*"))

    can_be_written(tmp_path / name)

    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", ["folder", "file/new", "n" * 300])
def test_where_no_file_can_be_one_is_told_before_it_is_written(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()

    with pytest.raises(NotWritten, match=f"^{tmp_path / name}: cannot be written: "):
        can_be_written(tmp_path / name)
