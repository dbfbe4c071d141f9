"""What Serin itself reads and adds to in a pod template has the shape that it has in a Deployment.

The CRD types the spec's own template, but it sees no variant's overlay. A template of another shape would end the
rendering of its pods, after the looks that only lower traffic, and nobody would be told. All else in a template is the
API server's to refuse.
"""

from collections.abc import Iterator
from typing import Any, Final

from serin.api.fields import InvalidSpec
from serin.api.json import JsonObject

_HOOK: Final = ("lifecycle", "preStop", "exec")  # each in the one before
_LISTS: Final = ("env", "volumeMounts")


def check_shape(template: JsonObject, path: str = "spec.template") -> None:
    """Raise InvalidSpec for the first field that has another shape than in a Deployment. `path`: where it stands."""
    for where, value, kind in _shapes(template):
        if value is not None and not isinstance(value, kind):
            what = "a list" if kind is list else "a map"
            raise InvalidSpec(f"{path}: {where}: write {what} as in a Deployment, not {value!r:.80}")
    if not (template.get("spec") or {}).get("containers"):
        raise InvalidSpec(f"{path}: spec.containers: write at least one container, the model server first")


def _shapes(template: JsonObject) -> Iterator[tuple[str, Any, type]]:
    """Every field with its value and the shape that it has. Each is checked before what is inside is read."""
    metadata, pod = template.get("metadata"), template.get("spec")
    yield "metadata", metadata, dict
    yield "spec", pod, dict
    for name in ("labels", "annotations"):
        yield f"metadata.{name}", (metadata or {}).get(name), dict
    for name in ("containers", "initContainers", "volumes"):
        path = f"spec.{name}"
        yield from _maps(path, (pod or {}).get(name))
        for index, one in enumerate((pod or {}).get(name) or () if name != "volumes" else ()):
            yield from _of_container(f"{path}[{index}]", one)


def _of_container(path: str, container: JsonObject) -> Iterator[tuple[str, Any, type]]:
    for name in _LISTS:
        yield from _maps(f"{path}.{name}", container.get(name))
    found: Any = container
    for name in _HOOK:
        path, found = f"{path}.{name}", found.get(name) or {}
        yield path, found, dict


def _maps(path: str, value: Any) -> Iterator[tuple[str, Any, type]]:
    """A list of maps, none of which is null."""
    yield path, value, list
    for index, one in enumerate(value or ()):
        yield f"{path}[{index}]", "null" if one is None else one, dict
