"""What is read from the process environment."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

import batchyard
from batchyard.config import RayConfig, default_store, environments_folder, mounted_secrets, ray_config
from batchyard.model.errors import EnvironmentUnavailable, StoreError


def test_every_file_of_the_secrets_folder_is_a_secret_and_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = tmp_path / "keys" / "..2026_01_01"
    version.mkdir(parents=True)
    (version / "API_KEY").write_text("sk-1234567\n")
    (version / "binary").write_bytes(b"\xff\xfe-secret")
    (version / "empty").write_text("\n")
    (tmp_path / "keys" / "..data").symlink_to(version.name)
    (tmp_path / "keys" / "API_KEY").symlink_to("..data/API_KEY")
    monkeypatch.setenv("BATCHYARD_SECRET_FILES", str(tmp_path))

    assert sorted(mounted_secrets()) == ["sk-1234567", "\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}-secret"]


def test_without_a_secrets_folder_there_are_no_mounted_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BATCHYARD_SECRET_FILES", raising=False)
    unset = mounted_secrets()
    monkeypatch.setenv("BATCHYARD_SECRET_FILES", str(tmp_path / "missing"))

    assert (unset, mounted_secrets()) == ((), ())


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing says where this user's files go, as in a container whose user has no line in /etc/passwd."""
    for name in ("HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME", "BATCHYARD_HOME", "BATCHYARD_STORE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("BATCHYARD_ENVIRONMENTS", raising=False)
    monkeypatch.setitem(sys.modules, "pwd", None)


@pytest.mark.usefixtures("homeless")
def test_a_user_without_a_home_is_told_to_name_a_store() -> None:
    with pytest.raises(StoreError, match=r"name a store with --store, or set BATCHYARD_HOME"):
        default_store()


@pytest.mark.usefixtures("homeless")
def test_a_user_without_a_home_is_told_to_name_a_folder_for_environments() -> None:
    with pytest.raises(EnvironmentUnavailable, match="set BATCHYARD_ENVIRONMENTS"):
        environments_folder()


@pytest.mark.proves("p1-ray-config")
def test_which_ray_to_use_is_defined_once_and_read_from_the_environment_once() -> None:
    sources = Path(batchyard.__file__).parent
    texts = {file.relative_to(sources).as_posix(): file.read_text("utf-8") for file in sources.rglob("*.py")}

    found = [
        [name for name, text in texts.items() if re.search(what, text)]
        for what in (r"\bclass \w*RayConfig\b", r"environ\b.*RAY_ADDRESS")
    ]

    assert found == [["config.py"], ["config.py"]]


@pytest.mark.proves("p1-ray-config")
def test_an_address_that_is_given_comes_before_the_environments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")

    assert ray_config("10.0.0.2:6379") == RayConfig("10.0.0.2:6379")
    assert ray_config() == RayConfig("10.0.0.1:6379")


@pytest.mark.proves("p1-ray-config")
def test_without_an_address_ray_is_one_of_our_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)

    assert ray_config() == RayConfig("")
