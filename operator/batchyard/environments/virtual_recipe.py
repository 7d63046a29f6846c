"""What a virtual environment is made of, as one key: two variants with the same recipe share it, on this day and later.

Not for making it (``virtual_build``).
"""

from __future__ import annotations

import functools
import hashlib
import json
import platform
import re
import site
import sys
import sysconfig
import tomllib
from dataclasses import asdict, dataclass
from importlib.metadata import distributions
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import batchyard
from batchyard.model.errors import EnvironmentUnavailable
from batchyard.model.requirement import required

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_FORMAT = 1
"""Raised when environments are made in another way, so that none of an older way is used."""

_SETTING = "UV_"
_NOT_CODE = re.compile(r"^(\..*|__pycache__|build|dist|.*\.egg-info)$")
_MOST_FILES = 50_000


class CannotBeInstalled(EnvironmentUnavailable):
    """The packages cannot be had, or not together: another place would not help."""


@dataclass(frozen=True, slots=True)
class Base:
    """The installation that every environment stands on: this process's own."""

    python: str
    version: str
    platform: str
    sites: tuple[str, ...]
    installed: tuple[tuple[str, str], ...]

    @property
    def names(self) -> frozenset[str]:
        """Return the names of what is installed."""
        return frozenset(name for name, _ in self.installed)


@dataclass(frozen=True, slots=True)
class Recipe:
    """What to install, each requirement as uv takes it. ``folders`` are the names of what is a folder on disk."""

    packages: tuple[str, ...]
    names: frozenset[str]
    folders: frozenset[str]
    key: str


@functools.cache
def base() -> Base:
    """Return what this process runs on."""
    sites = [folder for folder in site.getsitepackages() if Path(folder).is_dir()]
    if site.ENABLE_USER_SITE and site.USER_SITE and Path(site.USER_SITE).is_dir():
        sites.insert(0, site.USER_SITE)
    # Not of the whole import path, which another process on this installation need not share.
    found = {(_name(one.name), one.version) for one in distributions(path=sites)}
    return Base(
        python=sys.executable,
        version=f"{platform.python_implementation()} {platform.python_version()}",
        platform=f"{sysconfig.get_platform()} {'-'.join(platform.libc_ver())}",
        sites=tuple(sites),
        installed=tuple(sorted(found)),
    )


def recipe_of(packages: Sequence[str], env: Mapping[str, str]) -> Recipe:
    """Return the recipe for these requirements; ``env`` may have settings of uv.

    Raises ``CannotBeInstalled`` if a local file or folder is not there or has no name.
    """
    settings = {name: value for name, value in sorted(env.items()) if name.startswith(_SETTING)}
    found = sorted(map(_ingredient, packages))
    made_of = [_FORMAT, batchyard.__version__, asdict(base()), settings, found]
    key = hashlib.sha256(json.dumps(made_of).encode()).hexdigest()[:32]
    folders = frozenset(one.name for one in found if one.is_folder)
    return Recipe(tuple(one.text for one in found), frozenset(one.name for one in found), folders, key)


class _Ingredient(NamedTuple):
    """A requirement as uv takes it, and the digest of what of it is on disk, "" if nothing."""

    name: str
    text: str
    digest: str = ""
    is_folder: bool = False


def _ingredient(text: str) -> _Ingredient:
    from packaging.requirements import InvalidRequirement
    from packaging.requirements import Requirement as Installable

    requirement = required(text)
    if not requirement.path:
        try:
            Installable(text)
        except InvalidRequirement as err:
            raise CannotBeInstalled(f"{text!r} is no requirement: {' '.join(str(err).split())}") from err
        return _Ingredient(requirement.name, text)
    path = Path(requirement.path)
    if not path.exists():
        raise CannotBeInstalled(f"{text!r}: there is no {path}; paths are relative to the workflow's source")
    name = requirement.name or project_name(path)
    return _Ingredient(name, f"{_head_of(text, name)} @ {path.resolve().as_uri()}", _digest(path), path.is_dir())


def _head_of(text: str, name: str) -> str:
    """Return what stands before the ``@``: the name with its extras, if it was written."""
    return text.partition("@")[0].strip() if "@" in text and not text.startswith((".", "/")) else name


def project_name(folder: Path) -> str:
    """Return what the project in a folder calls itself. Raises ``CannotBeInstalled`` if it does not say."""
    try:
        project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]["name"]
    except (OSError, KeyError, TypeError, ValueError) as err:
        raise CannotBeInstalled(
            f"{folder}: what it is called is not known, since it has no pyproject.toml with project.name; "
            f"write it like name @ {folder}"
        ) from err
    return _name(str(project))


def _digest(path: Path) -> str:
    files = [path] if path.is_file() else sorted(_code_below(path))
    if len(files) > _MOST_FILES:
        raise CannotBeInstalled(f"{path} has more than {_MOST_FILES:,} files; make a wheel of it and name that")
    digest = hashlib.sha256()
    try:
        for file in files:
            content = file.read_bytes()
            digest.update(f"{file.relative_to(path)}\0{len(content)}\0".encode())
            digest.update(content)
    except OSError as err:
        raise CannotBeInstalled(f"{err.filename} cannot be read: {err.strerror}") from err
    return digest.hexdigest()


def _code_below(folder: Path) -> Iterator[Path]:
    for entry in folder.iterdir():
        if _NOT_CODE.match(entry.name):
            continue
        if entry.is_dir() and not entry.is_symlink():
            yield from _code_below(entry)
        elif entry.is_file():
            yield entry


def _name(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
