"""What the watches have shown: every object that reconcile reads, without a request.

Objects arrive from two sides: watch events, and the answers to Serin's own writes, so that the next look sees the last
write. An older version never replaces a newer one, and the version that is held already is no news. A deletion that
happened while no watch was open is reported by nobody; a list that follows the gap tells it (see relist.py): what was
here before the list began, and is on none of its pages, is gone.

One object that somebody wrote badly stops nothing: an index's key function or a listener that raises is logged, and the
object is held and told to the others all the same.

Versions only grow, unless etcd is restored from a backup: then everything that the API server says is older than what
is held. A list that was asked for after a version was seen and is itself older than that version shows it. What such a
list has replaces what is held, whatever the versions.

The cache refuses to ask the API server anything, and to copy what it gives: objects are shared, so nobody may change
them.
"""

import asyncio
import sys
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

import structlog

from serin.api.json import JsonObject
from serin.api.names import LABEL_MODEL_DEPLOYMENT
from serin.cluster import kinds
from serin.cluster.protocol import Kind, is_newer

log: Final = structlog.get_logger("serin.cache")

# Called with the kind, the object before (None: new) and after (None: deleted).
Listener = Callable[[Kind, JsonObject | None, JsonObject | None], None]
# Called with the namespace and name of an object, and the object itself (None: deleted).
Follower = Callable[[tuple[str, str], JsonObject | None], None]
# The key of an object in a secondary index, None when it does not belong there.
KeyFunction = Callable[[JsonObject], Hashable | None]

_TOMBSTONES: Final = 10_000
_LAST_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"
# What is read of a pod's spec. The rest is the pod template again, and the largest part of the cache.
_POD_SPEC: Final = ("nodeName", "readinessGates")
# Characters of a text that several objects may have: a name, an image, a moment, a state.
_SHORT: Final = 64


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
    try:
        shared: JsonObject = _shared(trimmed)
    except RecursionError:
        return trimmed
    return shared


def _shared(value: Any) -> Any:
    """The same JSON, whose field names and short texts are held once for all objects: half of the cache's memory."""
    if isinstance(value, dict):
        return {sys.intern(key): _shared(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_shared(one) for one in value]
    return sys.intern(value) if isinstance(value, str) and len(value) <= _SHORT else value


@dataclass(slots=True)
class Listing:
    """A list under way: `known` are the uids that the cache held in its scope when it began; `listed`, of its pages.

    `newest`: the highest version that was held then.
    """

    kind: Kind
    namespace: str | None
    known: frozenset[str]
    newest: int = 0
    listed: set[str] = field(default_factory=set)


class _SecondaryIndex:
    """Objects of one kind by a key that several of them may share."""

    def __init__(self, key: KeyFunction) -> None:
        self._key = key
        self._key_of: dict[str, Hashable] = {}
        self._by_key: dict[Hashable, dict[str, JsonObject]] = defaultdict(dict)

    def find(self, key: Hashable) -> tuple[JsonObject, ...]:
        """The objects of one key."""
        return tuple(self._by_key.get(key, {}).values())

    def add(self, uid: str, body: JsonObject) -> None:
        """Take in an object; a key function that raises leaves it out of this index alone."""
        try:
            key = self._key(body)
        except Exception:
            log.exception("index.key-failed", kind=body["kind"], object=_key(body))
            return
        if key is not None:
            self._key_of[uid] = key
            self._by_key[key][uid] = body

    def remove(self, uid: str) -> None:
        """Take an object out, by the key that it had when it came."""
        key = self._key_of.pop(uid, None)
        if key is None:
            return
        del self._by_key[key][uid]
        if not self._by_key[key]:
            del self._by_key[key]


@dataclass(slots=True)
class _Index:
    """All objects of one kind, and where to find them. `secondary`: by the name given to `add_index`."""

    by_name: dict[tuple[str, str], JsonObject] = field(default_factory=dict)
    by_uid: dict[str, tuple[str, str]] = field(default_factory=dict)
    by_deployment: _SecondaryIndex = field(default_factory=lambda: _SecondaryIndex(_deployment))
    secondary: dict[str, _SecondaryIndex] = field(default_factory=dict)

    def add(self, body: JsonObject) -> None:
        """Take in an object; there is none of this name."""
        uid, key = _uid(body), _key(body)
        self.by_name[key], self.by_uid[uid] = body, key
        for one in (self.by_deployment, *self.secondary.values()):
            one.add(uid, body)

    def remove(self, body: JsonObject) -> None:
        """Take out an object that was added."""
        uid = _uid(body)
        del self.by_name[_key(body)], self.by_uid[uid]
        for one in (self.by_deployment, *self.secondary.values()):
            one.remove(uid)


class ObjectCache:
    """Objects by kind, name and owning model deployment.

    `expected`: what must be listed, (kind, namespace or None for all), before the cache counts as synced.
    """

    def __init__(self, expected: Iterable[tuple[Kind, str | None]] = ()) -> None:
        self._indexes: dict[Kind, _Index] = defaultdict(_Index)
        self._kind_of_index: dict[str, Kind] = {}
        # The version at which each uid went away: a late event of an older version says nothing, with a newer one the
        # object is back (its labels match the watch again).
        self._gone: OrderedDict[str, str] = OrderedDict()
        # Of a list after a restore: what comes of these uids next is taken, although its version is older.
        self._restored: set[str] = set()
        self._unlisted: set[tuple[Kind, str | None]] = set(expected)
        self._outstanding: dict[tuple[Kind, str | None], set[str]] = {}
        self._complete = False
        self._listeners: dict[object, Listener] = {}
        self._changed_sync = asyncio.Event()

    # Reading

    def get(self, kind: Kind, namespace: str, name: str) -> JsonObject | None:
        """One object, None when there is none."""
        return self._indexes[kind].by_name.get((namespace, name))

    def of_deployment(self, kind: Kind, namespace: str, deployment: str) -> tuple[JsonObject, ...]:
        """Every object of a kind that carries the label of this model deployment."""
        return self._indexes[kind].by_deployment.find((namespace, deployment))

    def by_index(self, name: str, key: Hashable) -> tuple[JsonObject, ...]:
        """Every object that has this key in an index made by `add_index`; KeyError when there is no such index."""
        return self._indexes[self._kind_of_index[name]].secondary[name].find(key)

    def all(self, kind: Kind) -> tuple[JsonObject, ...]:
        """Every object of a kind."""
        return tuple(self._indexes[kind].by_name.values())

    def count(self, kind: Kind) -> int:
        """How many objects of a kind there are."""
        return len(self._indexes[kind].by_name)

    # Following

    def add_index(self, name: str, kind: Kind, key: KeyFunction) -> None:
        """Find objects of a kind by `key` from now on, those that are here already included.

        `key` is a function of the object alone, as objects are shared and never change. An index of the same name is
        replaced.
        """
        if name in self._kind_of_index:
            del self._indexes[self._kind_of_index[name]].secondary[name]
        index = self._indexes[kind]
        made = index.secondary[name] = _SecondaryIndex(key)
        self._kind_of_index[name] = kind
        for body in index.by_name.values():
            made.add(_uid(body), body)

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` after every change from now on, until the function that is returned is called.

        It must return at once.
        """
        token = object()
        self._listeners[token] = listener

        def remove() -> None:
            self._listeners.pop(token, None)

        return remove

    def follow(self, kind: Kind, follower: Follower) -> Callable[[], None]:
        """Call `follower` for every object of a kind that is here, and after every change of one from now on.

        Until the function that is returned is called. It must return at once.
        """

        def hear(one: Kind, before: JsonObject | None, after: JsonObject | None) -> None:
            told = after if after is not None else before
            if one == kind and told is not None:
                follower(_key(told), after)

        for body in self.all(kind):
            _call(hear, kind, None, body)
        return self.listen(hear)

    # Writing

    def put(self, kind: Kind, body: JsonObject) -> None:
        """Take in an object as read, or as answered to a write. Ignores what is not newer than what is held."""
        uid = _uid(body)
        self._resolve(uid)
        index = self._indexes[kind]
        before = index.by_name.get(_key(body))
        late = uid in self._gone and not is_newer(_version(body), self._gone[uid])
        if not self._is_restored(uid) and (late or (before is not None and not _supersedes(body, before))):
            return
        if before is not None:
            index.remove(before)
        after = trim(kind, body)
        index.add(after)
        self._tell(kind, before, after)

    def drop(self, kind: Kind, body: JsonObject) -> None:
        """Forget an object that was deleted; a later object of the same name stays."""
        self._forget(kind, _uid(body), _version(body))

    # Lists

    def begin_listing(self, kind: Kind, namespace: str | None) -> Listing:
        """A list of everything is about to be asked for."""
        index = self._indexes[kind]
        known = {uid: index.by_name[key] for uid, key in index.by_uid.items() if namespace in (None, key[0])}
        newest = max((_number(_version(body)) for body in known.values()), default=0)
        return Listing(kind, namespace, frozenset(known), newest)

    def add_page(self, listing: Listing, uids: Iterable[str], version: str = "") -> None:
        """A page of the list has arrived, with these uids; its objects follow by `put`. `version`: of the list."""
        page = set(uids)
        if version.isdecimal() and int(version) < listing.newest:
            if not listing.listed:
                log.warning("versions.went-back", kind=listing.kind.name, held=listing.newest, listed=version)
            self._restored |= page
            for uid in page:
                self._gone.pop(uid, None)
        listing.listed |= page
        self._outstanding.setdefault((listing.kind, listing.namespace), set()).update(page)

    def finish_listing(self, listing: Listing, version: str) -> int:
        """The last page has arrived, the list is as of `version`: what was known before and is on no page is gone.

        Returns how many those are.
        """
        missed = listing.known - listing.listed
        for uid in missed:
            self._forget(listing.kind, uid, version)
        scope = (listing.kind, listing.namespace)
        # Of a list that was begun afresh, the first attempt may have shown what is gone by now.
        self._outstanding.get(scope, set()).intersection_update(listing.listed)
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

    def _is_restored(self, uid: str) -> bool:
        """Whether this is what a list after a restore has of it; once."""
        restored = uid in self._restored
        self._restored.discard(uid)
        return restored

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
        index = self._indexes[kind]
        key = index.by_uid.get(uid)
        if key is None:
            return
        before = index.by_name[key]
        index.remove(before)
        self._tell(kind, before, None)

    def _tell(self, kind: Kind, before: JsonObject | None, after: JsonObject | None) -> None:
        for listener in tuple(self._listeners.values()):
            _call(listener, kind, before, after)


def _call(listener: Listener, kind: Kind, before: JsonObject | None, after: JsonObject | None) -> None:
    try:
        listener(kind, before, after)
    except Exception:
        log.exception("listener.failed", kind=kind.name, object=_key(after or before or {}))


def _uid(body: JsonObject) -> str:
    return str(body["metadata"]["uid"])


def _key(body: JsonObject) -> tuple[str, str]:
    return body["metadata"].get("namespace", ""), body["metadata"]["name"]


def _deployment(body: JsonObject) -> tuple[str, str] | None:
    name = (body["metadata"].get("labels") or {}).get(LABEL_MODEL_DEPLOYMENT)
    return (_key(body)[0], name) if name else None


def _version(body: JsonObject) -> str:
    return str(body["metadata"].get("resourceVersion", ""))


def _supersedes(new: JsonObject, held: JsonObject) -> bool:
    """Whether `new` is news about the object of this name that is held: a later version of it, or its successor."""
    versions = _version(new), _version(held)
    if all(version.isdecimal() for version in versions):
        return is_newer(*versions)
    return versions[0] != versions[1]


def _number(version: str) -> int:
    return int(version) if version.isdecimal() else 0
