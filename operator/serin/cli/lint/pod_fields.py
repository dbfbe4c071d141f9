"""Fields and types of a pod's spec: the schema of a ModelDeployment takes the template as it is written.

So a misspelt field or a number where text belongs is found by nobody before the Deployment is made. What Kubernetes
knows is read from the types of the official client. A field that they do not have may be one of a newer Kubernetes, so
it is only noted.
"""

from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any, Final

from serin.cli.lint.schema import Problem

# Kubernetes' quantities: the client's types call them text, and the API server takes numbers too.
_QUANTITIES: Final = frozenset({"limits", "requests", "sizeLimit", "divisor", "overhead"})
_NAMES: Final = {"str": "text", "int": "a whole number", "bool": "true or false", "float": "a number"}


def check(spec: Any, path: str) -> tuple[list[Problem], list[Problem]]:
    """Values of the wrong type, and fields that are not known, in a pod's spec at `path`."""
    found = list(_walk(spec, "V1PodSpec", path))
    return [one for one, wrong in found if wrong], [one for one, wrong in found if not wrong]


def _walk(value: Any, kind: str, path: str) -> Iterator[tuple[Problem, bool]]:
    """Problems, and whether each is certain to be refused."""
    if value is None or kind in ("object", "datetime"):
        return
    if kind.startswith("List["):
        if not isinstance(value, list):
            yield Problem(path, "write a list"), True
            return
        for index, item in enumerate(value):
            yield from _walk(item, kind[5:-1], f"{path}[{index}]")
    elif kind.startswith("Dict["):
        if not isinstance(value, dict):
            yield Problem(path, "write a map"), True
            return
        for key, item in value.items():
            yield from _walk(item, kind[5:-1].split(",")[1].strip(), f"{path}.{key}")
    elif kind in _NAMES:
        yield from _plain(value, kind, path)
    else:
        yield from _object(value, kind, path)


def _object(value: Any, kind: str, path: str) -> Iterator[tuple[Problem, bool]]:
    from kubernetes.client import models  # half a second, which only lint takes

    if not isinstance(value, dict):
        yield Problem(path, "write a map"), True
        return
    of = getattr(models, kind)
    kinds = {camel: of.openapi_types[snake] for snake, camel in of.attribute_map.items()}
    for key, item in value.items():
        if key not in kinds:
            near = get_close_matches(key, kinds, n=1)
            fix = f"write {near[0]}" if near else f"there are: {', '.join(sorted(kinds))}"
            yield Problem(f"{path}.{key}", f"Kubernetes knows no such field of a pod here: {fix}"), False
        elif key not in _QUANTITIES:
            yield from _walk(item, kinds[key], f"{path}.{key}")


def _plain(value: Any, kind: str, path: str) -> Iterator[tuple[Problem, bool]]:
    wanted = {"str": str, "int": int, "bool": bool, "float": (int, float)}[kind]
    if isinstance(value, wanted) and (kind == "bool" or not isinstance(value, bool)):  # type: ignore[arg-type]
        return
    quote = ", so put it in quotes" if kind == "str" and not isinstance(value, dict | list) else ""
    yield Problem(path, f"{_NAMES[kind]} belongs here{quote}"), True
