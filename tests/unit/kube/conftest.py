"""Fixtures of the operator's unit tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kube_world import Stage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kube_world import World


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Where worlds are set."""
    made = Stage(tmp_path_factory.mktemp("stage"))
    yield made
    made.close()


@pytest.fixture
def world(stage: Stage) -> World:
    """A world of its own."""
    return stage.world()
