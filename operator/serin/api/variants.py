"""Variants of an experiment: overlays on the spec, each of which is a version of its own.

A variant says only what is different. Its content is that of the spec with the overlay laid over it: maps are merged,
lists whose entries all have a name (containers, their environment) are merged by name, everything else is replaced.
So every declared version is content that the spec allows, and which of them serves can change without the spec.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from serin.api.json import JsonObject

# What of the spec a variant may lay something over.
OVERLAYS: Final = ("model", "template", "config", "features")


def variants_of(spec: JsonObject) -> Mapping[str, JsonObject]:
    """The variants that `spec` declares, by name and in order: each one's spec, with its overlay."""
    strategies = [one for one in (spec.get("strategy") or {}).values() if isinstance(one, dict)]
    declared = [one for strategy in strategies for one in strategy.get("variants") or ()]
    return {one["name"]: overlaid(spec, one) for one in declared}


def overlaid(spec: JsonObject, variant: JsonObject) -> JsonObject:
    """The spec with a variant's overlay."""
    return {**spec, **{key: _merged(spec.get(key), variant[key]) for key in OVERLAYS if variant.get(key)}}


def _merged(below: Any, above: Any) -> Any:
    if isinstance(below, dict) and isinstance(above, dict):
        return {**below, **{key: _merged(below.get(key), value) for key, value in above.items()}}
    if _named(below) and _named(above):
        return _merged_by_name(below, above)
    return above


def _named(value: Any) -> bool:
    """Whether it is a list of maps that all have a name. A variant's template may have any shape (pod_shape.py)."""
    return isinstance(value, list) and all(isinstance(one, dict) and isinstance(one.get("name"), str) for one in value)


def _merged_by_name(below: Sequence[JsonObject], above: Sequence[JsonObject]) -> list[JsonObject]:
    """The entries below in their order, each with what is laid over it, and then the new ones."""
    new = {one["name"]: one for one in above}
    kept = [_merged(one, new.pop(one["name"])) if one["name"] in new else one for one in below]
    return [*kept, *new.values()]
