"""Imports the official client without what nobody here uses of it."""

from __future__ import annotations

import importlib.util
import sys
import types


def keep_bare(package: str) -> None:
    """Have ``package`` imported without its ``__init__``, which imports every part of it; parts are found as before.

    That of ``kubernetes`` takes a second and 17 MiB (requests, google-auth, oauthlib, websocket) for parts that neither
    Kopf nor we use. Nothing happens if it was imported already, or is not installed.
    """
    if package in sys.modules:
        return
    found = importlib.util.find_spec(package)
    if found is None or found.submodule_search_locations is None:
        return
    bare = types.ModuleType(package)
    bare.__path__ = list(found.submodule_search_locations)
    bare.__spec__ = found
    sys.modules[package] = bare
    parent, _, name = package.rpartition(".")
    if parent:
        setattr(sys.modules[parent], name, bare)
