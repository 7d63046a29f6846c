"""Find the function a BatchTest names as ``module:function``, call a factory, and say plainly what went wrong.

Not for judging what a factory returned: that is its state adapter's business.
"""

from __future__ import annotations

import importlib
import inspect
import sys
import traceback
from typing import TYPE_CHECKING, Any

from batchyard.model.errors import WorkflowInvalid
from batchyard.workflows.recorder import describe

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path


def load_callable(reference: str, path: Path | None) -> Callable[..., Any]:
    """Return the function that ``reference`` names; see ``load_named``. Raises ``WorkflowInvalid``."""
    found = load_named(reference, path)
    if not callable(found):
        raise WorkflowInvalid(
            f'"{reference}" is a {type(found).__name__}, not a function; name the function that makes it'
        )
    return found


def load_named(reference: str, path: Path | None) -> object:
    """Return what ``reference`` names, importing its module from ``path`` first.

    Args:
        reference: ``module:function``; the function may be a dotted attribute (``graphs:Search.build``).
        path: The source folder, put in front of the import path and left there, since workflows import late.

    Raises:
        WorkflowInvalid: With what is wrong, where it was looked for and what to do.
    """
    module_name, colon, attribute = reference.partition(":")
    if not (module_name and colon and attribute):
        raise WorkflowInvalid(f'"{reference}" names no function; write it as module:function, like my_flow.graph:build')
    if path is not None:
        _put_on_import_path(path)
    found = _import(module_name, path)
    for name in attribute.split("."):
        if not hasattr(found, name):
            raise WorkflowInvalid(_no_attribute(reference, found, name))
        found = getattr(found, name)
    return found


def call_factory(factory: Callable[..., object], name: str, variants: Mapping[str, str]) -> object:
    """Return what the factory makes for these variants; ``name`` is what to call it in an error.

    Raises:
        WorkflowInvalid: If it cannot be called with one argument, raises, or is asynchronous.
    """
    try:
        inspect.signature(factory).bind(variants)
    except TypeError as error:
        raise WorkflowInvalid(
            f'the factory "{name}" cannot be called with the variants: {error}; give it exactly one required '
            "parameter, the mapping from dimension to variant"
        ) from error
    except ValueError:
        pass  # a builtin without a signature; the call itself will tell
    try:
        made = factory(dict(variants))
    except (Exception, SystemExit) as error:  # the user's code may raise anything
        raise WorkflowInvalid(
            f'the factory "{name}" raised {describe(error)} ({_last_frame(error)}) for the variants {dict(variants)}; '
            "mend it or exclude the combination"
        ) from error
    if inspect.iscoroutine(made):
        made.close()
        raise WorkflowInvalid(f'the factory "{name}" is asynchronous; make it a plain function')
    return made


def _put_on_import_path(path: Path) -> None:
    if not path.is_dir():
        raise WorkflowInvalid(f"the source folder {path} is not there; correct workflow.source.path")
    folder = str(path.resolve())
    if folder not in sys.path:
        sys.path.insert(0, folder)
        importlib.invalidate_caches()


def _import(module_name: str, path: Path | None) -> object:
    where = f"in {path.resolve()}" if path is not None else "on the import path"
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if module_name == missing or module_name.startswith(f"{missing}."):
            raise WorkflowInvalid(
                f'there is no module "{missing}" {where}; correct the name before the colon, '
                "or point workflow.source.path at the folder that holds it"
            ) from error
        raise WorkflowInvalid(
            f'importing "{module_name}" failed: it needs the module "{missing}" ({_last_frame(error)}); '
            "install it where the trials run"
        ) from error
    except (Exception, SystemExit) as error:  # the user's code may raise anything while it is imported
        raise WorkflowInvalid(
            f'importing "{module_name}" failed with {type(error).__name__}: {error} ({_last_frame(error)}); '
            f'try: python -c "import {module_name}"'
        ) from error


def _last_frame(error: BaseException) -> str:
    """Return the place that raised, as the last line of a traceback tells it."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "importlib" not in frame.filename]
    if not frames:
        return "no line known"
    return f"{frames[-1].filename}:{frames[-1].lineno}: {frames[-1].line}"


def _no_attribute(reference: str, found: object, name: str) -> str:
    functions = sorted(key for key, value in vars(found).items() if callable(value) and not key.startswith("_"))[:10]
    known = f"; it has {', '.join(functions)}" if functions else ""
    owner = getattr(found, "__name__", type(found).__name__)
    place = getattr(found, "__file__", None)
    return f'"{reference}": {owner} has no "{name}"{f" ({place})" if place else ""}{known}'
