"""A Ray that does not start says what its processes said, for its folder goes with it. Ray itself is a fake here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from batchyard.config import RayConfig
from batchyard.environments import ray as environments_ray
from batchyard.environments.ray import connected
from batchyard.model.errors import EnvironmentUnavailable


class FakeRay:
    """Fails to start, and leaves logs as Ray does."""

    def __init__(self, logs: dict[str, str]) -> None:
        self._logs = logs

    def is_initialized(self) -> bool:
        return False

    def init(self, *, _temp_dir: str, **_: Any) -> None:
        folder = Path(_temp_dir) / "session_2026-01-01" / "logs"
        folder.mkdir(parents=True)
        for name, text in self._logs.items():
            (folder / name).write_text(text)
        raise RuntimeError("Timed out waiting for file gcs_server_port")

    def shutdown(self) -> None:
        """Nothing is there to end."""


def failure(monkeypatch: pytest.MonkeyPatch, logs: dict[str, str]) -> str:
    monkeypatch.setattr(environments_ray, "_ray", lambda: FakeRay(logs))
    with pytest.raises(EnvironmentUnavailable) as caught, connected(RayConfig(), 1):
        pass
    return str(caught.value)


def test_the_last_line_of_each_process_is_in_the_error(monkeypatch: pytest.MonkeyPatch) -> None:
    logs = {"gcs_server.out": "begun\nno such token\n\n", "raylet.err": "", "dashboard.log": "not asked for"}

    said = failure(monkeypatch, logs)

    assert "Timed out waiting for file gcs_server_port (gcs_server.out: no such token); see that" in said
    assert "--runner threads" in said


def test_without_logs_the_error_is_rays_own(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "gcs_server_port; see that" in failure(monkeypatch, {})
