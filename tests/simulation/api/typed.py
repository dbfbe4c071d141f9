"""Values with types: merge, compare, remove, and the set of fields in them.

A line for line translation of what sigs.k8s.io/structured-merge-diff does (typed/*.go), because every surprise of
server-side apply lives there: an empty list is a leaf, null keeps a map, an item of a list is owned apart from its
fields. A path is a tuple of steps as in fieldsV1: `f:name`, `k:{"name":"a"}`, `v:"x"`; a set of fields is a frozenset
of paths. What an owner is, and what happens when two want a field, is ownership.py's; whether a value fits its type is
typecheck.py's.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

from tests.simulation.api.types import ListType, MapType, Type

Path = tuple[str, ...]
Fields = frozenset[Path]


class _Missing(Enum):
    MISSING = 0


MISSING: Final = _Missing.MISSING

SCALARS: Final = (str, int, float, bool)
MAP, LIST, SCALAR = "map", "list", "scalar"


def shape_of(kind: Type, value: Any) -> str:
    """Which of its shapes a value has; for null, or what fits none, the first that the type knows."""
    if isinstance(value, dict) and kind.map is not None:
        return MAP
    if isinstance(value, list) and kind.list is not None:
        return LIST
    if isinstance(value, SCALARS) and kind.scalar is not None:
        return SCALAR
    return MAP if kind.map is not None else SCALAR if kind.scalar is not None else LIST


def step(kind: ListType, item: Any) -> str:
    """The step to an item of an associative list. Raises ValueError in the server's words."""
    if not kind.keys:
        if isinstance(item, dict):
            raise ValueError("associative list without keys has an element that's a map type")
        if isinstance(item, list):
            raise ValueError("not supported: associative list with lists as elements")
        if item is None:
            raise ValueError("associative list without keys has an element that's an explicit null")
        return "v:" + _json(item)
    if item is None:
        raise ValueError("associative list with keys may not have a null element")
    if not isinstance(item, dict):
        raise ValueError("associative list with keys may not have non-map elements")
    defaults = kind.element.map.defaults if kind.element.map is not None else {}
    found = {key: item.get(key, defaults.get(key)) for key in kind.keys if key in item or key in defaults}
    if not found:
        quoted = " ".join(_json(key) for key in kind.keys)
        raise ValueError(
            f"associative list with keys has an element that omits all key fields [{quoted}] "
            "(and doesn't have default values for any key fields)"
        )
    return "k:" + _json(dict(sorted(found.items())))


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def shown(path: Path) -> str:
    """A path as the server's messages write it."""
    return "".join(shown_step(one) for one in path)


def shown_step(one: str) -> str:
    if one.startswith("f:"):
        return "." + one[2:]
    value = json.loads(one[2:])
    if one.startswith("k:"):
        return "[" + ",".join(f"{key}={_json(item)}" for key, item in value.items()) + "]"
    return f"[={_json(value)}]"


# Merge


def merge(kind: Type, left: Any, right: Any) -> Any:
    """`left` with what `right` says; MISSING where neither says anything."""
    shape = shape_of(kind, left) if right is MISSING else shape_of(kind, right)
    if shape == SCALAR:
        return left if right is MISSING else right
    empty: Any = {} if shape == MAP else []
    before, after = (one if isinstance(one, type(empty)) else empty for one in (left, right))
    atomic = (kind.map if shape == MAP else kind.list).atomic  # type: ignore[union-attr]
    if atomic or (not before and not after):
        return left if right is MISSING else right
    if shape == LIST and kind.list is not None:
        return _merge_lists(kind.list, before, after)
    assert kind.map is not None
    return _merge_maps(kind.map, before, after)


def _merge_maps(kind: MapType, left: dict[str, Any], right: dict[str, Any]) -> Any:
    out = {}
    for name in [*left, *(name for name in right if name not in left)]:
        inner = kind.of(name)
        if inner is None:
            raise ValueError(f".{name}: field not declared in schema")
        merged = merge(inner, left.get(name, MISSING), right.get(name, MISSING))
        if merged is not MISSING:
            out[name] = merged
    return out or MISSING


def _merge_lists(kind: ListType, left: list[Any], right: list[Any]) -> Any:
    """Items in the order of `right`, and what only `left` has where it stands among those that both have."""
    lefts, rights = [step(kind, one) for one in left], [step(kind, one) for one in right]
    by_left = {one: MISSING if lefts.count(one) > 1 else item for one, item in zip(lefts, left, strict=True)}
    by_right = dict(zip(rights, right, strict=True))
    shared = [one for one in rights if one in by_left]
    out: list[Any] = []
    merged: set[str] = set()

    def take(before: Any, after: Any) -> None:
        item = merge(kind.element, before, after)
        if item is not MISSING:
            out.append(item)

    lefts_at = rights_at = 0
    while lefts_at < len(lefts) or rights_at < len(rights):
        if lefts_at < len(lefts):
            here = lefts[lefts_at]
            if rights_at < len(rights):
                if here == rights[rights_at]:
                    merged.add(here)
                    take(by_left[here], by_right[here])
                    lefts_at, rights_at, shared = lefts_at + 1, rights_at + 1, shared[1:]
                    continue
                if here in by_right and shared and shared[0] != here:
                    lefts_at += 1
                    continue
            if here not in by_right:
                take(left[lefts_at], MISSING)
                lefts_at += 1
                continue
            if here in merged:
                lefts_at += 1
        if rights_at < len(rights):
            here = rights[rights_at]
            merged.add(here)
            take(by_left.get(here, MISSING), by_right[here])
            rights_at += 1
            if shared and shared[0] == here:
                shared = shared[1:]
    return out or MISSING


# Compare


@dataclass(slots=True)
class Comparison:
    """Fields that came, went, and have another value."""

    added: set[Path] = field(default_factory=set)
    removed: set[Path] = field(default_factory=set)
    modified: set[Path] = field(default_factory=set)


def compare(kind: Type, left: Any, right: Any) -> Comparison:
    """What is different in `right`."""
    found = Comparison()
    _compare(kind, left, right, (), found)
    return found


def _compare(kind: Type, left: Any, right: Any, path: Path, found: Comparison) -> None:
    if left is right:
        return
    shape = shape_of(kind, left) if right is MISSING else shape_of(kind, right)
    leaf = shape == SCALAR
    before: Any = None
    after: Any = None
    if not leaf:
        empty: Any = {} if shape == MAP else []
        before, after = (one if isinstance(one, type(empty)) else empty for one in (left, right))
        atomic = (kind.map if shape == MAP else kind.list).atomic  # type: ignore[union-attr]
        leaf = atomic or (not before and not after)
    if not leaf and shape == LIST and kind.list is not None:
        _compare_lists(kind.list, before, after, path, found)
    elif not leaf and kind.map is not None:
        for name in before.keys() | after.keys():
            inner = kind.map.of(name)
            if inner is not None:
                _compare(inner, before.get(name, MISSING), after.get(name, MISSING), (*path, f"f:{name}"), found)
    if left is MISSING:
        found.added.add(path)
    elif right is MISSING:
        found.removed.add(path)
    elif leaf and left != right:
        found.modified.add(path)


def _compare_lists(kind: ListType, left: list[Any], right: list[Any], path: Path, found: Comparison) -> None:
    lefts, rights = _by_step(kind, left), _by_step(kind, right)
    for here in lefts.keys() | rights.keys():
        before, after, at = lefts.get(here, []), rights.get(here, []), (*path, here)
        if len(before) <= 1 and len(after) <= 1:
            _compare(kind.element, before[0] if before else MISSING, after[0] if after else MISSING, at, found)
        elif len(before) > 1 and len(after) > 1:
            if before != after:
                found.modified.add(at)
        elif len(before) > 1:
            if after:
                _compare(kind.element, MISSING, after[0], at, found)
            found.removed.add(at)
        else:
            if before:
                _compare(kind.element, before[0], MISSING, at, found)
            found.added.add(at)


def _by_step(kind: ListType, items: list[Any]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for item in items:
        found.setdefault(step(kind, item), []).append(item)
    return found


# Fields


def fields_of(kind: Type, value: Any) -> Fields:
    """Every leaf and every item that a value mentions."""
    found: set[Path] = set()
    _fields(kind, value, (), found)
    return frozenset(found - {()})


def _fields(kind: Type, value: Any, path: Path, found: set[Path]) -> None:
    shape = shape_of(kind, value)
    if shape == SCALAR:
        found.add(path)
    elif shape == LIST and kind.list is not None:
        if kind.list.atomic:
            found.add(path)
        elif isinstance(value, list):
            for here, items in _by_step(kind.list, value).items():
                if len(items) == 1:
                    _fields(kind.list.element, items[0], (*path, here), found)
                found.add((*path, here))
    elif kind.map is not None:
        if kind.map.atomic:
            found.add(path)
        elif isinstance(value, dict):
            for name, item in value.items():
                inner, below = kind.map.of(name), (*path, f"f:{name}")
                if inner is not None:
                    _fields(inner, item, below, found)
                if item is None or item == {} or name not in kind.map.fields:
                    found.add(below)


def named(kind: Type, fields: Fields) -> Fields:
    """The same fields, and every declared field of a struct on the way to them."""
    found = set(fields)
    _named(kind, (), tree(fields), found)
    return frozenset(found)


Tree = dict[str, "Tree"]


def tree(fields: Fields) -> Tree:
    """Fields by their steps; the key `.` marks one that is itself in the set."""
    root: Tree = {}
    for path in fields:
        here = root
        for one in path:
            here = here.setdefault(one, {})
        here["."] = {}
    return root


def _named(kind: Type | None, path: Path, node: Tree, found: set[Path]) -> None:
    for one, inner in node.items():
        if one == "." or not inner.keys() - {"."}:
            continue
        here: Path = (*path, one)
        below: Type | None = None
        if one.startswith("f:") and kind is not None and kind.map is not None:
            if one[2:] in kind.map.fields:
                found.add(here)
            below = kind.map.of(one[2:])
        elif one.startswith("k:") and kind is not None and kind.list is not None:
            below = kind.list.element
        _named(below, here, inner, found)


# Remove


def remove(kind: Type, value: Any, fields: Fields) -> Any:
    """The value without these fields. What becomes empty becomes null, as in the server."""
    return _remove(kind, value, tree(fields))


def _remove(kind: Type, value: Any, node: Mapping[str, Tree]) -> Any:
    shape = shape_of(kind, value)
    if shape == SCALAR:
        return value
    if shape == LIST and kind.list is not None:
        if not isinstance(value, list) or kind.list.atomic:
            return None
        kept = []
        for item in value:
            inner = node.get(step(kind.list, item), {})
            if "." not in inner:
                kept.append(_remove(kind.list.element, item, inner) if inner else item)
        return kept or None
    if not isinstance(value, dict) or kind.map is None or kind.map.atomic:
        return None
    left = {}
    for name, item in value.items():
        inner, below = node.get(f"f:{name}", {}), kind.map.of(name)
        if "." not in inner:
            left[name] = _remove(below, item, inner) if inner and below is not None else item
    return left or None
