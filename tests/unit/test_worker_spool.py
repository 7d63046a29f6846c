"""Segments on disk that wait to be sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from batchyard.model.errors import EnvironmentUnavailable, StoreError
from batchyard.worker.spool import Spool

if TYPE_CHECKING:
    from pathlib import Path


def test_what_is_put_in_can_be_read_until_it_is_dropped(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "some" / "folder")
    spool.put(1, b"one")
    spool.put(2, b"two!")

    assert (spool.get(1), spool.get(2), spool.get(3)) == (b"one", b"two!", None)
    assert spool.size == 7

    spool.drop(1)
    spool.drop(1)

    assert (spool.get(1), spool.get(2)) == (None, b"two!")
    assert spool.size == 4


def test_what_an_earlier_process_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    Spool(tmp_path).put(7, b"old")
    (tmp_path / "00000008.json.new").write_bytes(b"half")
    (tmp_path / "notes.txt").write_bytes(b"another's")

    spool = Spool(tmp_path)

    assert spool.size == 0
    assert spool.get(7) is None
    assert [entry.name for entry in tmp_path.iterdir()] == ["notes.txt"]


def test_a_segment_that_cannot_be_kept_leaves_nothing_and_can_be_put_again(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    in_the_way = tmp_path / "00000001.json"
    in_the_way.mkdir()

    with pytest.raises(StoreError, match="give the pod more ephemeral storage"):
        spool.put(1, b"one")

    assert spool.size == 0
    assert [*tmp_path.iterdir()] == [in_the_way]
    in_the_way.rmdir()
    spool.put(1, b"one")
    assert spool.get(1) == b"one"


def test_a_spool_where_there_can_be_none_says_where(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")

    with pytest.raises(EnvironmentUnavailable, match=f"no spool can be made at {tmp_path}/file"):
        Spool(tmp_path / "file" / "segments")
