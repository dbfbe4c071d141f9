"""Argo CD's view of a resource: its Lua, in a real interpreter that has no more than Argo CD gives it.

Argo CD runs health checks in gopher-lua, which is Lua 5.1, and opens of its libraries only base, table, package and a
small os; so there is no `string`, not even by the methods of a string.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from lupa import lua51

from tests.crds import ROOT

HEALTH = ROOT / "manifests" / "argocd" / "health.lua"
STATES = {"Healthy", "Progressing", "Suspended", "Degraded"}
_CLOSED = ("string", "math", "io", "os", "debug", "coroutine", "python", "dofile", "loadfile", "load", "require")


@dataclass(frozen=True, slots=True)
class Health:
    """What Argo CD shows."""

    status: str
    message: str


def health(body: dict[str, Any]) -> Health:
    """The health of a ModelDeployment as Argo CD would show it."""
    runtime, check, known = _runtime()
    variables = runtime.globals()
    variables["obj"] = runtime.table_from(_without_nulls(body), recursive=True)
    answer = check()
    assert set(variables) == {*known, "obj"}, "the script leaves something behind for the next: write local"
    found = Health(str(answer["status"]), str(answer["message"]))
    assert found.status in STATES
    assert set(answer) == {"status", "message"}
    return found


@cache
def _runtime() -> tuple[Any, Callable[[], Any], frozenset[str]]:
    """An interpreter as Argo CD's, the script in it, and what it may know. Argo CD makes one for each check: slow."""
    runtime = lua51.LuaRuntime(register_eval=False, register_builtins=False, unpack_returned_tuples=True)
    runtime.execute('getmetatable("").__index = nil')
    variables = runtime.globals()
    for name in _CLOSED:
        variables[name] = None
    return runtime, runtime.compile(HEALTH.read_text()), frozenset(variables)


def _without_nulls(value: Any) -> Any:
    """Lua's tables have no nulls, neither here nor there."""
    if isinstance(value, dict):
        return {key: _without_nulls(one) for key, one in value.items() if one is not None}
    return [_without_nulls(one) for one in value] if isinstance(value, list) else value
