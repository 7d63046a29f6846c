"""The page that a worker and its runner share: a reader never sees half a change."""

from __future__ import annotations

import mmap
import os
import struct
import threading
from typing import TYPE_CHECKING

import pytest

from batchyard.runners.slot import SLOT_BYTES, Slot

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def ends() -> Iterator[tuple[Slot, Slot]]:
    """The worker's and the runner's view of one page."""
    fd = Slot.create()
    worker, runner = Slot(fd), Slot(fd)
    os.close(fd)
    yield worker, runner
    worker.close()
    runner.close()


def test_no_node_runs_and_no_stop_is_asked_at_first(ends: tuple[Slot, Slot]) -> None:
    worker, runner = ends

    assert runner.node() is None
    assert not worker.stop_asked


def test_the_runner_sees_which_node_runs_since_when(ends: tuple[Slot, Slot]) -> None:
    worker, runner = ends

    worker.set_node("retrieve", 12_500_000_000)

    assert runner.node() == ("retrieve", 12.5)


def test_no_node_runs_after_the_last_one_ended(ends: tuple[Slot, Slot]) -> None:
    worker, runner = ends
    worker.set_node("retrieve", 1)

    worker.set_node("", 0)

    assert runner.node() is None


def test_the_worker_sees_a_stop_and_that_it_was_taken_back(ends: tuple[Slot, Slot]) -> None:
    worker, runner = ends

    runner.ask_to_stop(True)
    asked = worker.stop_asked
    runner.ask_to_stop(False)

    assert asked
    assert not worker.stop_asked


@pytest.mark.parametrize("name", ["a" * 5000, "knoten-größe" * 40, "🙂" * 100, "\ud800"])
def test_any_name_fits_and_can_be_read(ends: tuple[Slot, Slot], name: str) -> None:
    worker, runner = ends

    worker.set_node(name, 7)

    seen = runner.node()
    assert seen is not None
    assert seen[1] == 7e-9
    assert seen[0][:6] in (name[:6], "\\ud800")


def test_a_page_left_in_the_middle_of_a_change_reads_as_no_node_at_once() -> None:
    fd = Slot.create()
    runner = Slot(fd)
    page = mmap.mmap(fd, SLOT_BYTES)
    os.close(fd)

    struct.pack_into("=I", page, 4, 7)  # an odd version: being written, for ever
    struct.pack_into("=QH", page, 8, 5, 3)

    assert runner.node() is None
    page.close()
    runner.close()


def test_a_reader_never_sees_one_nodes_name_with_anothers_beginning(ends: tuple[Slot, Slot]) -> None:
    worker, runner = ends
    done = threading.Event()

    def write() -> None:
        for number in range(1, 20_000):
            worker.set_node(f"{number}-" * 8, number)
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    torn = []
    while not done.is_set():
        seen = runner.node()
        if seen is not None and seen[0] != f"{round(seen[1] * 1e9)}-" * 8:
            torn.append(seen)
    writer.join()

    assert torn == []
