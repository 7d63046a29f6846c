"""Whatever is done with a workspace, in whatever order: going back and forking restore what was there."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from workspace_files import Bench

PATHS = ("a", "b", "d/a", "d/b", "d/e/f", "a/x")
"""``a`` is a file at times, and a folder at others."""


def in_the_way(one: str, other: str) -> bool:
    return one.startswith(f"{other}/") or other.startswith(f"{one}/")


class Files(RuleBasedStateMachine):
    """A workspace, and beside it a model: what is in each file, now and at each boundary."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.bench = Bench(self.folder)
        self.now: dict[str, str] = {}
        self.boundaries: list[tuple[str, dict[str, str]]] = []
        self.forks = 0

    def teardown(self) -> None:
        shutil.rmtree(self.folder)

    @rule(path=st.sampled_from(PATHS), text=st.text("xy", max_size=3))
    def write(self, path: str, text: str) -> None:
        for other in [other for other in self.now if in_the_way(path, other)]:
            self.delete(other)
        target = self.bench.folder / path
        if target.is_dir():
            shutil.rmtree(target)
        for parent in target.relative_to(self.bench.folder).parents:
            if (self.bench.folder / parent).is_file():
                (self.bench.folder / parent).unlink()
        self.bench.write(**{path: text})
        self.now[path] = text

    @precondition(lambda self: self.now)
    @rule(data=st.data())
    def delete_one(self, data: st.DataObject) -> None:
        self.delete(data.draw(st.sampled_from(sorted(self.now))))

    @precondition(lambda self: self.now)
    @rule(data=st.data())
    def rename_over(self, data: st.DataObject) -> None:
        source = data.draw(st.sampled_from(sorted(self.now)))
        target = data.draw(st.sampled_from(sorted(self.now)))
        (self.bench.folder / source).rename(self.bench.folder / target)
        self.now[target] = self.now.pop(source)

    @rule()
    def reach_a_boundary(self) -> None:
        self.boundaries.append((self.bench.boundary(), dict(self.now)))

    @precondition(lambda self: self.boundaries)
    @rule(data=st.data(), remove_later=st.booleans())
    def go_back(self, data: st.DataObject, remove_later: bool) -> None:
        snapshot, then = data.draw(st.sampled_from(self.boundaries))
        later = {path for path in self.now if path not in then}
        gives_way = {path for path in later if any(in_the_way(path, kept) for kept in then)}

        restored = self.bench.back_to(snapshot, remove_later=remove_later)

        left = set() if remove_later else later - gives_way
        assert set(restored.later) == left
        self.now = {**{path: self.now[path] for path in left}, **then}

    @precondition(lambda self: self.boundaries)
    @rule(data=st.data())
    def fork(self, data: st.DataObject) -> None:
        snapshot, then = data.draw(st.sampled_from(self.boundaries))
        self.forks += 1
        folder = self.folder / f"fork-{self.forks}"
        folder.mkdir()
        self.bench.files.watch("fork", folder)

        self.bench.files.restore("fork", snapshot)

        found = {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}
        assert found == then

    @invariant()
    def has_what_it_should(self) -> None:
        assert self.bench.content() == self.now

    def delete(self, path: str) -> None:
        (self.bench.folder / path).unlink()
        del self.now[path]


TestFiles = Files.TestCase
TestFiles.settings = settings(max_examples=40, stateful_step_count=20)
