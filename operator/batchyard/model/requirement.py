"""A requirement of a variant as it stands in the file: which package it names, and which local file or folder.

Pure; not for whether it can be had, which only an installer finds out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

OWN_NAME = "batchyard"
REQUIREMENT_START = r"^(\.{1,2}/|/|[A-Za-z0-9])"
"""How every requirement begins; an option of an installer, such as ``--index-url``, does not."""

_NAMED = re.compile(r"^([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)\s*(\[[A-Za-z0-9._,\s-]*\])?\s*(.*)$")
_VERSION = re.compile(r"^\(?\s*(===|==|<=|>=|!=|~=|<|>)\s*[^\s=<>~!]")
# What stands last before the @ is the secret, be it a password or a lone token; a variable is none.
_WITH_PASSWORD = re.compile(r"://(?!(?:[^:/@\s]+:)?\$\{\w+\}@)[^/@\s]+@")
_ENDINGS = (".whl", ".tar.gz", ".zip")
_LOCAL = ("./", "../", "/")


@dataclass(frozen=True, slots=True)
class Requirement:
    """One requirement. ``name`` is normalised, "" if only the folder itself knows; ``path`` is "" for an index's."""

    text: str
    name: str = ""
    path: str = ""

    def in_folder(self, folder: PurePosixPath) -> Requirement:
        """Return the requirement with its path absolute, taken from ``folder``."""
        path = str(folder / self.path)
        return replace(self, text=self.text.replace(self.path, path), path=path) if self.path else self


def required(text: str) -> Requirement:
    """Return what the text requires. Raises ``ValueError`` with what is wrong with it."""
    found = parse_requirement(text)
    if isinstance(found, Requirement):
        return found
    raise ValueError(f"{text!r} {found[0]}; {found[1]}")


def parse_requirement(text: str) -> Requirement | tuple[str, str]:
    """Return what the text requires, or what is wrong with it and what to do."""
    wrong = _fault_of(text)
    if wrong is not None:
        return wrong
    if text.startswith(_LOCAL):
        return Requirement(text, _name_of_file(text), text)
    found = _NAMED.match(text)
    name, rest = (_normalised(found[1]), found[3]) if found else ("", "")
    if name == OWN_NAME:
        return "is what runs the trials, and is one version for all of them", "remove it"
    if rest.startswith("@"):
        target = rest[1:].strip()
        if target.startswith(_LOCAL):
            return Requirement(text, name, target)
        return Requirement(text, name)
    if not name or (rest and not rest.startswith(";") and not _VERSION.match(rest)):
        return "is no requirement", "write it like package==1.2, package>=1,<2 or ./wheels/package-1.2-py3-none-any.whl"
    return Requirement(text, name)


def _fault_of(text: str) -> tuple[str, str] | None:
    if text != text.strip() or not text.isprintable():
        return "has space around it, or lines in it", "write one requirement an entry"
    if not re.match(REQUIREMENT_START, text):
        remedy = "options of uv are variables: name an index with UV_INDEX in env, or in a Secret of envFrom"
        return "is no requirement", remedy
    if _WITH_PASSWORD.search(text) and not text.partition("://")[0].endswith("ssh"):
        remedy = "take it from a variable: https://${NAME}@..., or name the index with UV_INDEX in a Secret of envFrom"
        return "has a password in it, which everybody who reads this file would know", remedy
    return None


def _name_of_file(path: str) -> str:
    """Return the package that a wheel or source archive is named after, "" for a folder."""
    file = PurePosixPath(path).name
    if not file.endswith(_ENDINGS):
        return ""
    return _normalised(file.partition("-")[0] if file.endswith(".whl") else file.rpartition("-")[0])


def _normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
