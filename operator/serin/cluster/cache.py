"""What the watches have shown: every object that reconcile reads, without a request.

Objects arrive from two sides: watch events, and the answers to Serin's own writes, so that the next look sees the last
write. An older version never replaces a newer one. A deletion that happened while no watch was open is reported by
nobody; a list that follows the gap tells it (see relist.py): what was here before the list began, and is not in it, is
gone.

The cache refuses to ask the API server anything, and to copy: objects are shared, so nobody may change them.
"""

import asyncio
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from serin.api.json import JsonObject
from serin.api.names import LABEL_MODEL_DEPLOYMENT
from serin.cluster import kinds
from serin.cluster.protocol import Kind

# Called with the kind, the object before (None: new) and after (None: deleted).
Listener = Callable[[Kind, JsonObject | None, JsonObject | None], None]

_TOMBSTONES: Final = 10_000
_LAST_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"
# What is read of a pod's spec. The rest is the pod template again, and the largest part of the cache.
_POD_SPEC: Final = ("nodeName", "readinessGates")


def trim(kind: Kind, body: JsonObject) -> JsonObject:
    """The object without what nobody reads: who manages which field, kubectl's copy of it, and a pod's own spec."""
    metadata = {key: value for key, value in body["metadata"].items() if key != "managedFields"}
    annotations = metadata.get("annotations", {})
    if _LAST_APPLIED in annotations:
        metadata["annotations"] = {key: value for key, value in annotations.items() if key != _LAST_APPLIED}
    trimmed = {**body, "apiVersion": kind.api_version, "kind": kind.name, "metadata": metadata}
    if kind == kinds.POD:
        spec = body.get("spec", {})
        trimmed["spec"] = {key: spec[key] for key in _POD_SPEC if key in spec}
    return trimmed


@dataclass(frozen=True, slots=True)
class Listing:
    """A list under way: `known` are the uids that the cache held in its scope when the list began."""

    kind: Kind
    namespace: str | None
    known: frozenset[str]


@dataclass(slots=True)
class _Index:
    """All objects of one kind, and where to find them."""

    by_name: dict[tuple[str, str], JsonObject] = field(default_factory=dict)
    by_uid: dict[str, tuple[str, str]] = field(default_factory=dict)
    by_deployment: dict[tuple[str, str], dict[str, JsonObject]] = field(default_factory=lambda: defaultdict(dict))


class ObjectCache:
    """Objects by kind, name and owning model deployment.

    `expected`: what must be listed, (kind, namespace or None for all), before the cache counts as synced.
    """

    def __init__(self, expected: Iterable[tuple[Kind, str | None]] = ()) -> None:
        self._indexes: dict[Kind, _Index] = defaultdict(_Index)
        # The version at which each uid went away: a late event of an older version is a ghost, a newer one is back
        # (its labels match the watch again).
        self._gone: OrderedDict[str, str] = OrderedDict()
        self._unlisted: set[tuple[Kind, str | None]] = set(expected)
        self._outstanding: dict[tuple[Kind, str | None], set[str]] = {}
        self._complete = False
        self._listeners: list[Listener] = []
        self._changed_sync = asyncio.Event()

    # Reading

    def get(self, kind: Kind, namespace: str, name: str) -> JsonObject | None:
        """One object, None when there is none."""
        return self._indexes[kind].by_name.get((namespace, name))

    def of_deployment(self, kind: Kind, namespace: str, deployment: str) -> tuple[JsonObject, ...]:
        """Every object of a kind that carries the label of this model deployment."""
        return tuple(self._indexes[kind].by_deployment.get((namespace, deployment), {}).values())

    def all(self, kind: Kind) -> tuple[JsonObject, ...]:
        """Every object of a kind."""
        return tuple(self._indexes[kind].by_name.values())

    def count(self, kind: Kind) -> int:
        """How many objects of a kind there are."""
        return len(self._indexes[kind].by_name)

    def listen(self, listener: Listener) -> None:
        """Call `listener` after every change from now on. It must return at once and not raise."""
        self._listeners.append(listener)

    # Writing

    def put(self, kind: Kind, body: JsonObject) -> None:
        """Take in an object as read, or as answered to a write. Ignores what is older than what is held."""
        uid, key = _uid(body), _key(body)
        self._resolve(uid)
        shelf = self._indexes[kind]
        before = shelf.by_name.get(key)
        ghost = uid in self._gone and not _newer(_version(body), self._gone[uid])
        if ghost or (before is not None and not _supersedes(body, before)):
            return
        self._remove(shelf, before)
        after = trim(kind, body)
        shelf.by_name[key], shelf.by_uid[uid] = after, key
        if deployment := _deployment(after):
            shelf.by_deployment[key[0], deployment][uid] = after
        self._tell(kind, before, after)

    def drop(self, kind: Kind, body: JsonObject) -> None:
        """Forget an object that was deleted; a later object of the same name stays."""
        self._forget(kind, _uid(body), _version(body))

    # Lists

    def begin_listing(self, kind: Kind, namespace: str | None) -> Listing:
        """A list of everything is about to be asked for."""
        known = (uid for uid, key in self._indexes[kind].by_uid.items() if namespace in (None, key[0]))
        return Listing(kind, namespace, frozenset(known))

    def finish_listing(self, listing: Listing, uids: Iterable[str], version: str) -> int:
        """Take in the uids that the list held at `version`; what was known before and is not in it is gone.

        Returns how many those are.
        """
        listed = set(uids)
        missed = listing.known - listed
        for uid in missed:
            self._forget(listing.kind, uid, version)
        scope = (listing.kind, listing.namespace)
        self._outstanding[scope] = listed
        self._unlisted.discard(scope)
        self._changed_sync.set()
        return len(missed)

    def synced(self) -> bool:
        """Whether every expected list has arrived once, and every object in it. Stays so: later lists only refresh."""
        self._complete = self._complete or not (self._unlisted or any(self._outstanding.values()))
        return self._complete

    async def wait_until_synced(self) -> None:
        """Return once `synced`."""
        while not self.synced():
            self._changed_sync.clear()
            await self._changed_sync.wait()

    def missing(self) -> str:
        """What the cache still waits for, in words; empty when synced."""
        if self.synced():
            return ""
        unlisted = sorted(f"{kind.plural} not listed" for kind, _ in self._unlisted)
        outstanding = sorted(
            f"{len(uids)} {kind.plural} not seen" for (kind, _), uids in self._outstanding.items() if uids
        )
        return ", ".join([*unlisted, *outstanding])

    # Inside

    def _resolve(self, uid: str) -> None:
        for uids in self._outstanding.values():
            if uid in uids:
                uids.discard(uid)
                self._changed_sync.set()

    def _forget(self, kind: Kind, uid: str, version: str) -> None:
        self._resolve(uid)
        self._gone[uid] = version
        while len(self._gone) > _TOMBSTONES:
            self._gone.popitem(last=False)
        shelf = self._indexes[kind]
        key = shelf.by_uid.get(uid)
        before = shelf.by_name.get(key) if key else None
        if key is None or before is None:
            return
        self._remove(shelf, before)
        del shelf.by_name[key]
        self._tell(kind, before, None)

    def _remove(self, shelf: _Index, before: JsonObject | None) -> None:
        """Take an object out of the indexes."""
        if before is None:
            return
        uid = _uid(before)
        shelf.by_uid.pop(uid, None)
        if deployment := _deployment(before):
            owner = (_key(before)[0], deployment)
            shelf.by_deployment[owner].pop(uid, None)
            if not shelf.by_deployment[owner]:
                del shelf.by_deployment[owner]

    def _tell(self, kind: Kind, before: JsonObject | None, after: JsonObject | None) -> None:
        for listener in self._listeners:
            listener(kind, before, after)


def _uid(body: JsonObject) -> str:
    return str(body["metadata"]["uid"])


def _key(body: JsonObject) -> tuple[str, str]:
    return body["metadata"].get("namespace", ""), body["metadata"]["name"]


def _deployment(body: JsonObject) -> str:
    return str(body["metadata"].get("labels", {}).get(LABEL_MODEL_DEPLOYMENT, ""))


def _version(body: JsonObject) -> str:
    return str(body["metadata"].get("resourceVersion", ""))


def _supersedes(new: JsonObject, held: JsonObject) -> bool:
    """Whether `new` is not the older one of two objects with the same name."""
    if _uid(new) != _uid(held):
        return str(new["metadata"].get("creationTimestamp", "")) >= str(held["metadata"].get("creationTimestamp", ""))
    return not _newer(_version(held), _version(new))


def _newer(version: str, than: str) -> bool:
    """Compare two resource versions of one kind: as numbers, which Kubernetes promises since 1.35."""
    return version.isdecimal() and than.isdecimal() and int(version) > int(than)
