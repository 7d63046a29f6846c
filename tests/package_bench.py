"""Packages of the tests' own, made without tools and without the network: wheels, a project that builds itself, and
modules that look installed.
"""

from __future__ import annotations

import sys
import sysconfig
import zipfile
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import pytest


def installed(name: str, code: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a module that lies where packages are installed, as far as Python tells."""
    module = ModuleType(name)
    module.__spec__ = ModuleSpec(name, None, origin=str(Path(sysconfig.get_path("purelib")) / name / "__init__.py"))
    exec(code, vars(module))  # noqa: S102
    monkeypatch.setitem(sys.modules, name, module)
    return module


def a_wheel(
    folder: Path, name: str = "motto", version: str = "1.0", *, needs: Iterable[str] = (), code: str | None = None
) -> Path:
    """Write a wheel whose one module has its version as ``TEXT``, or ``code``."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{version}-py3-none-any.whl"
    content = f"TEXT = {version!r}\n" if code is None else code
    _write_wheel(path, name, version, {f"{name}.py": content}, needs)
    return path


def _write_wheel(path: Path, name: str, version: str, files: Mapping[str, str], needs: Iterable[str]) -> None:
    about = f"{name}-{version}.dist-info"
    metadata = [f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}", *(f"Requires-Dist: {one}" for one in needs)]
    whole = {
        **files,
        f"{about}/METADATA": "\n".join([*metadata, ""]),
        f"{about}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    whole[f"{about}/RECORD"] = "".join(f"{one},,\n" for one in (*whole, f"{about}/RECORD"))
    with zipfile.ZipFile(path, "w") as archive:
        for file, content in whole.items():
            archive.writestr(file, content)


_BACKEND = """
import os, pathlib, time
from package_bench import _write_wheel

def build_wheel(folder, config_settings=None, metadata_directory=None):
    with open({log!r}, "a") as log:
        log.write(f"{{os.getpid()}}\\n")
    while pathlib.Path({hold!r}).exists():
        time.sleep(0.02)
    name = "lantern-1.0-py3-none-any.whl"
    _write_wheel(pathlib.Path(folder, name), "lantern", "1.0", {{"lantern.py": "TEXT = 'lit'\\n"}}, ())
    return name
"""


class Project:
    """A folder with a project that notes each time it is built, and is not done before it may be."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "lantern"
        self.folder.mkdir(parents=True)
        self._log, self._hold = folder / "builds.log", folder / "hold"
        here = str(Path(__file__).parent)
        backend = f"import sys\nsys.path.append({here!r})\n" + _BACKEND.format(log=str(self._log), hold=str(self._hold))
        (self.folder / "backend.py").write_text(backend)
        (self.folder / "pyproject.toml").write_text(
            '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
            '[project]\nname = "lantern"\nversion = "1.0"\n'
        )

    def hold(self) -> None:
        self._hold.touch()

    def let_go(self) -> None:
        self._hold.unlink()

    @property
    def builds(self) -> list[int]:
        """The process of each build that began."""
        return [int(line) for line in self._log.read_text().split()] if self._log.exists() else []
