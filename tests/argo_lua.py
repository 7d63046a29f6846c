"""Argo CD's way with a script of health: a real Lua 5.1 with no more of its libraries than Argo CD opens."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lupa import lua51  # type: ignore[import-untyped]

from gitops_cases import Told

if TYPE_CHECKING:
    from gitops_cases import Object

ARGOCD = Path(__file__).parents[1] / "deploy" / "gitops" / "argocd"
HEALTH = (ARGOCD / "health.lua").read_text(encoding="utf-8")
APPLICATION_HEALTH = (ARGOCD / "application-health.lua").read_text(encoding="utf-8")

_STATES = {"Healthy", "Progressing", "Degraded", "Suspended", "Missing", "Unknown"}
# Without `useOpenLibs` there are only package, base, table, and an os that can tell nothing but the time.
_NOT_OPENED = ("string", "math", "io", "debug", "coroutine", "os", "python")


def health(body: Object, script: str = HEALTH) -> Told:
    """Return what Argo CD makes of an object."""
    # It asks no script about what is being deleted.
    if body["metadata"].get("deletionTimestamp"):
        return Told("Progressing", "Pending deletion")
    lua = lua51.LuaRuntime(register_eval=False, register_builtins=False)
    for name in _NOT_OPENED:
        lua.globals()[name] = None
    lua.globals().obj = _in_lua(lua, body)
    answer = dict(lua.execute(script))
    assert set(answer) <= {"status", "message"}
    assert answer["status"] in _STATES
    assert isinstance(answer.get("message", ""), str)
    return Told(answer["status"], answer.get("message", ""))


def _in_lua(lua: Any, value: Any) -> Any:
    """Return a value as Argo CD's decoder hands it over: null is nil, so it is not there."""
    match value:
        case dict():
            return lua.table_from({key: _in_lua(lua, inner) for key, inner in value.items() if inner is not None})
        case list() | tuple():
            return lua.table_from([_in_lua(lua, inner) for inner in value])
        case bool() | str():
            return value
        case int():
            return float(value)
        case _:
            return value
