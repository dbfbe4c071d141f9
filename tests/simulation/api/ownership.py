"""Who owns which field: server-side apply and the bookkeeping of every other write (metadata.managedFields).

A translation of structured-merge-diff's merge/update.go and apimachinery's managedfields, without versions: every kind
here is served in one. An owner is a manager with its operation and subresource. An applier's fields are what it applied
last; what it applies no longer goes, unless somebody else owns it too. An update takes what it changes.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from serin.api.json import JsonObject
from tests.simulation.api.status import ApiError, apply_conflict, bad_request, internal
from tests.simulation.api.typecheck import problems
from tests.simulation.api.typed import (
    MISSING,
    Fields,
    Path,
    compare,
    fields_of,
    merge,
    named,
    remove,
    shown,
    tree,
)
from tests.simulation.api.types import Type

_MOST_UPDATERS: Final = 10
_NOBODY: Final[Fields] = frozenset()
_UNOWNED: Final = frozenset(
    {
        ("f:apiVersion",),
        ("f:kind",),
        ("f:metadata",),
        *(
            ("f:metadata", f"f:{name}")
            for name in (
                *("name", "namespace", "creationTimestamp", "selfLink", "uid", "clusterName", "generation"),
                *("managedFields", "resourceVersion"),
            )
        ),
    }
)
"""Fields that nobody can own."""


@dataclass(frozen=True, slots=True, order=True)
class Owner:
    """A field manager in one of its roles. `operation`: Apply or Update."""

    operation: str
    manager: str
    api_version: str
    subresource: str = ""

    def __str__(self) -> str:
        """As in the message of a conflict."""
        text = json.dumps(self.manager) + (f' with subresource "{self.subresource}"' if self.subresource else "")
        return text if self.operation == "Apply" else f"{text} using {self.api_version}"


@dataclass(frozen=True, slots=True)
class Owned:
    """The fields of an owner, and when they last changed (empty: nothing of the object has changed by it)."""

    fields: Fields
    time: str


Owners = Mapping[Owner, Owned]


@dataclass(frozen=True, slots=True)
class Write:
    """Who writes when. `reset`: fields that this endpoint does not change, whatever is sent."""

    owner: Owner
    time: str
    reset: tuple[Path, ...] = ()

    def keep(self, fields: Fields) -> Fields:
        """The fields without those that are reset, and all below them."""
        return frozenset(one for one in fields if not any(one[: len(path)] == path for path in self.reset))


def apply(
    kind: Type, live: JsonObject, patch: JsonObject, owners: Owners, write: Write, *, force: bool
) -> tuple[JsonObject, Owners]:
    """Server-side apply: the new object (without managedFields), and who owns what then. Raises ApiError."""
    if patch["metadata"].get("managedFields") is not None:
        raise bad_request("metadata.managedFields must be nil")
    if wrong := list(problems(kind, patch)):
        words = wrong[0] if len(wrong) == 1 else "\n".join(["errors:", *(f"  {one}" for one in wrong)])
        raise _untyped(patch, words)
    mine = write.keep(fields_of(kind, patch))
    last = owners[write.owner].fields if write.owner in owners else _NOBODY
    merged = merge(kind, live, patch)
    applied = {**owners, write.owner: Owned(mine, write.time)}
    new = _prune(kind, merged, applied, last) if last else merged
    left, _ = _taken(kind, live, new, applied, write, force=force)
    stripped = mine - _UNOWNED
    after = {owner: owned for owner, owned in left.items() if owner != write.owner}
    if stripped:
        # Who only joins the owners of what is there already has no time.
        time = write.time if new != live else owners[write.owner].time if write.owner in owners else ""
        after[write.owner] = Owned(stripped, time)
    return new, after


def update(kind: Type, live: JsonObject, new: JsonObject, owners: Owners, write: Write) -> Owners:
    """Who owns what after any other write. An object that does not fit its type loses all owners."""
    try:
        return _update(kind, live, new, owners, write)
    except ValueError:
        return {}


def _update(kind: Type, live: JsonObject, new: JsonObject, owners: Owners, write: Write) -> Owners:
    left, comparison = _taken(kind, live, new, owners, write, force=True, everybody=True)
    taken = write.keep(frozenset(comparison.added | comparison.modified)) - _UNOWNED
    after = dict(left)
    if taken:
        had = after[write.owner].fields if write.owner in after else _NOBODY
        after[write.owner] = Owned(had | taken, write.time)
    return _capped(after)


def _untyped(patch: JsonObject, words: str) -> ApiError:
    metadata, (group, _, version) = patch["metadata"], patch["apiVersion"].rpartition("/")
    who = f"{metadata.get('namespace', '')}/{metadata.get('name', '')}"
    return internal(
        f"failed to create typed patch object ({who}; {group}/{version}, Kind={patch['kind']}): {words}", bare=True
    )


def _taken(
    kind: Type, live: JsonObject, new: JsonObject, owners: Owners, write: Write, *, force: bool, everybody: bool = False
) -> tuple[dict[Owner, Owned], Any]:
    """What others own after the change from `live` to `new`. Raises ApiError when they mind."""
    comparison = compare(kind, live, new)
    changed = write.keep(frozenset(comparison.added | comparison.modified))
    removed = write.keep(frozenset(comparison.removed))
    others = {owner: owned for owner, owned in owners.items() if everybody or owner != write.owner}
    conflicts = {owner: owned.fields & changed for owner, owned in others.items() if owned.fields & changed}
    if conflicts and not force:
        raise _conflict(conflicts)
    left = dict(owners)
    for owner, owned in others.items():
        fields = owned.fields - changed - removed
        if fields:
            left[owner] = Owned(fields, owned.time)
        else:
            del left[owner]
    return left, comparison


def _prune(kind: Type, merged: JsonObject, owners: Owners, last: Fields) -> JsonObject:
    """Take away what the applier owned and applies no longer, unless somebody owns it."""
    owned = frozenset[Path]().union(*(one.fields for one in owners.values()))
    if last <= owned:
        return merged
    mentioned, owned = named(kind, last), named(kind, owned)
    pruned = remove(kind, merged, mentioned) or {}
    everything = named(kind, fields_of(kind, merged))
    pruned = remove(kind, merged, everything - (named(kind, fields_of(kind, pruned)) | owned)) or {}
    gone = everything - named(kind, fields_of(kind, pruned))
    result: JsonObject = remove(kind, merged, gone & mentioned)
    return result


def _conflict(conflicts: Mapping[Owner, Fields]) -> ApiError:
    found = {owner: sorted(conflicts[owner], key=_order) for owner in sorted(conflicts, key=_identifier)}
    causes = [
        {"reason": "FieldManagerConflict", "message": f"conflict with {owner}", "field": shown(path)}
        for owner, paths in found.items()
        for path in paths
    ]
    if len(causes) == 1:
        [(owner, [path])] = found.items()
        return apply_conflict(f"Apply failed with 1 conflict: conflict with {owner}: {shown(path)}", causes)
    lines = [
        line
        for owner, paths in found.items()
        for line in (f"conflicts with {owner}:", *(f"- {shown(path)}" for path in paths))
    ]
    return apply_conflict(f"Apply failed with {len(causes)} conflicts: " + "\n".join(lines), causes)


def _identifier(owner: Owner) -> str:
    """By this text the server sorts owners."""
    parts = {"manager": owner.manager, "operation": owner.operation, "apiVersion": owner.api_version}
    return json.dumps(parts | ({"subresource": owner.subresource} if owner.subresource else {}))


def _order(path: Path) -> tuple[Any, ...]:
    """Members before what lies below others; field names before keys before values."""
    return tuple((index < len(path) - 1, "fkvi".index(one[0]), one) for index, one in enumerate(path))


def _capped(owners: dict[Owner, Owned]) -> Owners:
    """The oldest updaters become one when there are too many."""
    updaters = sorted((owned.time, owner) for owner, owned in owners.items() if owner.operation == "Update")
    if len(updaters) <= _MOST_UPDATERS:
        return owners
    oldest = [owner for _, owner in updaters[: len(updaters) - _MOST_UPDATERS + 1]]
    ancient = Owner("Update", "ancient-changes", oldest[0].api_version)
    fields = _NOBODY.union(*(owners[owner].fields for owner in oldest))
    kept = {owner: owned for owner, owned in owners.items() if owner not in oldest}
    return {**kept, ancient: Owned(fields, owners[oldest[-1]].time)}


# metadata.managedFields


def encode(owners: Owners) -> list[JsonObject]:
    """As it is shown."""
    entries = sorted(owners.items(), key=lambda one: (one[0].operation, one[1].time, one[0].manager, one[0]))
    return [
        {
            "manager": owner.manager,
            "operation": owner.operation,
            "apiVersion": owner.api_version,
            **({"time": owned.time} if owned.time else {}),
            "fieldsType": "FieldsV1",
            "fieldsV1": _encode(tree(owned.fields)),
            **({"subresource": owner.subresource} if owner.subresource else {}),
        }
        for owner, owned in entries
    ]


def _encode(node: Mapping[str, Any]) -> JsonObject:
    """A member without fields below it is empty; one with them says so with a dot."""
    if node.keys() <= {"."}:
        return {}
    return {one: {} if one == "." else _encode(inner) for one, inner in sorted(node.items())}


def decode(entries: list[JsonObject]) -> Owners:
    """From what `encode` wrote."""
    return {
        Owner(one["operation"], one["manager"], one["apiVersion"], one.get("subresource", "")): Owned(
            frozenset(_decode(one["fieldsV1"], ())), one.get("time", "")
        )
        for one in entries
    }


def _decode(node: JsonObject, path: Path) -> set[Path]:
    if not node:
        return {path}
    return {found for one, inner in node.items() for found in ({path} if one == "." else _decode(inner, (*path, one)))}


def without_managed_fields(body: JsonObject) -> JsonObject:
    """The object without metadata.managedFields."""
    return {**body, "metadata": {key: one for key, one in body["metadata"].items() if key != "managedFields"}}


__all__ = ["MISSING", "Owned", "Owner", "Owners", "Write", "apply", "decode", "encode", "update"]
