"""The simulated API server: what each verb does to an object, in the order in which the real server does it.

Every method is one request, carried out at once and whole: it returns what is stored, or raises ApiError. Latency,
faults and the wire are the replica's (cluster.py, rest.py); what follows from a write later is deletion.py's; words and
checks are in the modules beside this one.
"""

import random
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from serin.api.json import JsonObject
from serin.cluster.protocol import Kind
from tests.simulation import clock
from tests.simulation.api import builtin, jsonpatch, ownership, resources, selectors, structural, validation
from tests.simulation.api.ownership import Owner, Owners, Write
from tests.simulation.api.resources import NAMESPACE, Resource
from tests.simulation.api.status import (
    ApiError,
    already_exists,
    bad_request,
    conflict,
    expired,
    forbidden,
    not_found,
)
from tests.simulation.api.store import Key, Record, Store, copied

Admission = Callable[[Kind, JsonObject, JsonObject | None], None]
"""Looks at an object before it is stored (what is stored already, None: nothing); may change it, or raise ApiError."""

_SYSTEM: Final = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation")
_CONTINUE_TOO_OLD: Final = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list without "
    "the continue parameter."
)


@dataclass(frozen=True, slots=True)
class Page:
    """A list, or a part of it. `token`: for the next page, empty after the last; `remaining`: how many come after."""

    items: tuple[JsonObject, ...]
    version: str
    token: str = ""
    remaining: int = 0


class ApiServer:
    """Objects, as Kubernetes keeps them. `seed` decides uids and addresses; `kinds`: what is served."""

    def __init__(self, seed: int = 0, kinds: Mapping[Kind, Resource] | None = None) -> None:
        self.random = random.Random(seed)
        self.actor = ""  # whose request is carried out; empty: that of the field manager's namesake
        self.kinds = dict(kinds if kinds is not None else resources.served())
        self.store = Store(clock.now)
        self.admission: list[Admission] = []
        self._pages: dict[str, tuple[int, tuple[JsonObject, ...]]] = {}
        for name in ("default", "kube-system"):
            self.create(NAMESPACE, "", {"metadata": {"name": name}}, manager="system")

    # Reading

    def get(self, kind: Kind, namespace: str, name: str) -> JsonObject:
        """One object."""
        return copied(self._found(kind, namespace, name).body)

    def page(
        self, kind: Kind, namespace: str | None = None, selector: str = "", limit: int = 0, token: str = ""
    ) -> Page:
        """Objects in order of namespace and name, `limit` at once; later pages show what the first one saw."""
        if token:
            version, rest = self._page(token)
        else:
            version, rest = self.store.version, tuple(self._selected(kind, namespace, selector))
        shown, left = (rest[:limit], rest[limit:]) if limit else (rest, ())
        following = f"{version}-{len(self._pages)}" if left else ""
        if left:
            self._pages[following] = (version, left)
        return Page(tuple(map(copied, shown)), str(version), following, len(left) if not selector else 0)

    def _page(self, token: str) -> tuple[int, tuple[JsonObject, ...]]:
        if token not in self._pages:
            raise bad_request("continue key is not valid")
        if self._pages[token][0] < self.store.compacted:
            raise expired(_CONTINUE_TOO_OLD)
        return self._pages[token]

    def _selected(self, kind: Kind, namespace: str | None, selector: str) -> list[JsonObject]:
        self.resource(kind)
        found = self.store.all(kind, namespace if kind.namespaced else None)
        if not selector:
            return found
        try:
            fits = selectors.matcher(selector)
        except ValueError as error:
            raise bad_request(str(error)) from error
        return [one for one in found if fits(one["metadata"].get("labels") or {})]

    def resource(self, kind: Kind) -> Resource:
        """What is served of a kind. 404 when its CRD is not there."""
        if kind not in self.kinds:
            raise ApiError(404, "NotFound", "the server could not find the requested resource")
        return self.kinds[kind]

    def _found(self, kind: Kind, namespace: str, name: str) -> Record:
        self.resource(kind)
        record = self.store.get(kind, self.key(kind, namespace, name))
        if record is None:
            raise not_found(kind, name)
        return record

    def key(self, kind: Kind, namespace: str, name: str) -> Key:
        """Where an object is stored."""
        return (namespace if kind.namespaced else ""), name

    # Writing

    def create(
        self,
        kind: Kind,
        namespace: str,
        body: JsonObject,
        *,
        manager: str,
        strict: bool = False,
        dry_run: bool = False,
    ) -> JsonObject:
        """POST. `strict`: refuse unknown fields, as kubectl asks for; `dry_run`: store nothing."""
        resource = self.resource(kind)
        new = self._decoded(resource, namespace, body, strict=strict)
        if new["metadata"].get("resourceVersion"):
            raise ApiError(500, "", "resourceVersion should not be set on objects to be created")
        name = str(new["metadata"].get("name") or "")
        self._check_namespace(kind, namespace, name)
        new["metadata"].pop("managedFields", None)
        self._drop_status(resource, new)
        for system in _SYSTEM:
            new["metadata"].pop(system, None)
        owners = self._updated(resource, self._empty(resource), new, {}, manager, "")
        return self._insert(resource, namespace, new, owners, manager, dry_run=dry_run)

    def replace(
        self, kind: Kind, namespace: str, name: str, body: JsonObject, *, manager: str, subresource: str = ""
    ) -> JsonObject:
        """PUT."""
        resource = self.resource(kind)
        live = self._found(kind, namespace, name)
        new = self._decoded(resource, namespace, body, strict=False)
        return self._update(resource, namespace, name, live, new, manager, subresource)

    def patch(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        patch: Any,
        *,
        manager: str,
        subresource: str = "",
        strict: bool = False,
    ) -> JsonObject:
        """PATCH: a merge patch (an object) or a JSON patch (a list of operations)."""
        resource = self.resource(kind)
        live = self._found(kind, namespace, name)
        before = copied(live.body)
        after = jsonpatch.apply(before, patch) if isinstance(patch, list) else jsonpatch.merge(before, patch)
        new = self._decoded(resource, namespace, after, strict=strict)
        return self._update(resource, namespace, name, live, new, manager, subresource)

    def apply(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        body: JsonObject,
        *,
        manager: str,
        force: bool,
        subresource: str = "",
    ) -> JsonObject:
        """PATCH with server-side apply; creates what is not there, except through a subresource."""
        resource = self.resource(kind)
        patch = {**body, "metadata": body.get("metadata") or {}}
        live = self.store.get(kind, self.key(kind, namespace, name))
        if live is None and subresource:
            raise not_found(kind, name)
        if live is None:
            self._check_namespace(kind, namespace, name)
        write = self._write(resource, "Apply", manager, subresource)
        before = live.body if live else self._empty(resource)
        applied, owners = ownership.apply(resource.type, before, patch, live.owners if live else {}, write, force=force)
        new = self._defaulted(resource, copied(applied), nulls=True)
        new["metadata"] |= {"name": name} | ({"namespace": namespace} if kind.namespaced else {})
        new["metadata"].pop("managedFields", None)
        if live is not None:
            return self._finish_update(resource, namespace, name, live, new, owners, manager, subresource)
        if new["metadata"].get("uid"):
            uid = new["metadata"]["uid"]
            words = f"uid mismatch: the provided object specified uid {uid}, and no existing object was found"
            raise conflict(kind, name, words)
        self._drop_status(resource, new)
        return self._insert(resource, namespace, new, owners, manager)

    def force(
        self, kind: Kind, namespace: str, name: str, change: Callable[[JsonObject], None], who: str
    ) -> JsonObject:
        """Change an object beside all rules but the version's, as the server itself does for a deletion."""
        live = self._found(kind, namespace, name)
        body = copied(live.body)
        change(body)
        if body == live.body:
            return body
        body["metadata"]["resourceVersion"] = self.store.next_version()
        self.store.put(kind, self.key(kind, namespace, name), Record(body, live.owners), who)
        return copied(body)

    # Steps of a write

    def _empty(self, resource: Resource) -> JsonObject:
        kind = resource.kind
        return {"apiVersion": kind.api_version, "kind": kind.name, "metadata": {}, **copied(resource.empty)}

    def _write(self, resource: Resource, operation: str, manager: str, subresource: str) -> Write:
        owner = Owner(operation, manager, resource.kind.api_version, subresource)
        return Write(owner, clock.timestamp(), resource.status_resets if subresource else resource.resets)

    def _updated(
        self, resource: Resource, live: JsonObject, new: JsonObject, owners: Owners, manager: str, subresource: str
    ) -> Owners:
        write = self._write(resource, "Update", manager, subresource)
        return ownership.update(resource.type, live, new, owners, write)

    def _decoded(self, resource: Resource, namespace: str, body: JsonObject, *, strict: bool) -> JsonObject:
        """A body as the server reads it: known fields only, with their defaults."""
        kind = resource.kind
        body = {"apiVersion": kind.api_version, "kind": kind.name, **body}
        unknown = self._unknown(resource, body) if strict else []
        if unknown:
            told = ", ".join(f'unknown field "{path}"' for path in unknown)
            raise bad_request(
                f'{kind.name} in version "{kind.api_version.rpartition("/")[2]}" cannot be handled as '
                f"a {kind.name}: strict decoding error: {told}"
            )
        decoded = self._defaulted(resource, copied(body), nulls=False)
        given = decoded["metadata"].get("namespace")
        if kind.namespaced and given not in (None, namespace):
            words = "the namespace of the provided object does not match the namespace sent on the request"
            raise bad_request(words)
        if kind.namespaced:
            decoded["metadata"]["namespace"] = namespace
        return decoded

    def _unknown(self, resource: Resource, body: JsonObject) -> list[str]:
        return structural.unknown(body, resource.crd) if resource.crd else []

    def _defaulted(self, resource: Resource, body: JsonObject, *, nulls: bool) -> JsonObject:
        """With defaults. `nulls`: a custom resource keeps them, as what is applied does."""
        body["metadata"] = {key: value for key, value in body["metadata"].items() if value is not None}
        if resource.crd is None:
            return builtin.read(resource.kind.name, body)
        if not nulls:
            return structural.decoded(body, resource.crd)
        structural.fill(body, resource.crd)
        return body

    def _drop_status(self, resource: Resource, new: JsonObject) -> None:
        if resource.crd is not None and resource.has_status:
            new.pop("status", None)

    def _check_namespace(self, kind: Kind, namespace: str, name: str) -> None:
        if not kind.namespaced:
            return
        found = self.store.get(NAMESPACE, ("", namespace))
        if found is None:
            raise not_found(NAMESPACE, namespace)
        if found.body["metadata"].get("deletionTimestamp"):
            why = f"unable to create new content in namespace {namespace} because it is being terminated"
            raise forbidden(kind, name, why)

    def _insert(
        self,
        resource: Resource,
        namespace: str,
        new: JsonObject,
        owners: Owners,
        manager: str,
        *,
        dry_run: bool = False,
    ) -> JsonObject:
        kind, name = resource.kind, str(new["metadata"].get("name") or "")
        if not name and new["metadata"].get("generateName"):
            name = new["metadata"]["name"] = new["metadata"]["generateName"] + self._suffix()
        for look in self.admission:
            look(kind, new, None)
        validation.check(resource, new, None, "")
        key = self.key(kind, namespace, name)
        if self.store.get(kind, key) is not None:
            raise already_exists(kind, name)
        new["metadata"] |= {
            "uid": str(uuid.UUID(int=self.random.getrandbits(128), version=4)),
            "creationTimestamp": clock.timestamp(),
            **({"namespace": namespace} if kind.namespaced else {}),
            **({"generation": 1} if resource.generation else {}),
        }
        builtin.allocate(kind.name, new, self.random)
        return new if dry_run else self._put(resource, key, new, owners, manager)

    def _suffix(self) -> str:
        return "".join(self.random.choice("bcdfghjklmnpqrstvwxz2456789") for _ in range(5))

    def _update(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        live: Record,
        new: JsonObject,
        manager: str,
        subresource: str,
    ) -> JsonObject:
        """The second half of a PUT or of a patch that is no apply."""
        given = new["metadata"].pop("managedFields", None)
        owners = {} if not subresource and given in ([], [{}]) else live.owners
        if owners:
            owners = self._updated(resource, live.body, new, owners, manager, subresource)
        return self._finish_update(resource, namespace, name, live, new, owners, manager, subresource)

    def _finish_update(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        live: Record,
        new: JsonObject,
        owners: Owners,
        manager: str,
        subresource: str,
    ) -> JsonObject:
        kind, old = resource.kind, live.body
        given = new["metadata"]
        if given.get("resourceVersion") not in (None, "", old["metadata"]["resourceVersion"]):
            raise conflict(kind, name)
        if given.get("uid") not in (None, "", old["metadata"]["uid"]):
            why = f"Precondition failed: UID in precondition: {given['uid']}, UID in object meta: "
            raise conflict(kind, name, why + str(old["metadata"]["uid"]))
        new = self._merged(resource, old, new, subresource)
        for look in self.admission:
            look(kind, new, old)
        validation.check(resource, new, old, subresource)
        key = self.key(kind, namespace, name)
        if _is_same(new, old) and _same_fields(owners, live.owners):
            return copied(old)
        if not new["metadata"].get("finalizers") and old["metadata"].get("deletionTimestamp") and not _grace(old):
            self.store.remove(kind, key, self.actor or manager)
            new["metadata"] |= {"resourceVersion": old["metadata"]["resourceVersion"]}
            new["metadata"] |= {"managedFields": ownership.encode(owners)} if owners else {}
            return copied(new)
        return self._put(resource, key, new, owners, manager)

    def _merged(self, resource: Resource, old: JsonObject, new: JsonObject, subresource: str) -> JsonObject:
        """What of a request counts: the status alone, or everything else; system fields never."""
        if subresource:
            merged = {name: one for name, one in old.items() if name != "status"}
            merged["metadata"] = {**old["metadata"]}
            return merged | ({"status": new["status"]} if "status" in new else {})
        merged = {name: one for name, one in new.items() if name != "status" or not resource.has_status}
        if resource.has_status and "status" in old:
            merged["status"] = old["status"]
        kept = {name: old["metadata"][name] for name in _SYSTEM if name in old["metadata"]}
        given = {name: one for name, one in new["metadata"].items() if name not in (*_SYSTEM, "resourceVersion")}
        merged["metadata"] = {**given, **kept}
        if resource.is_new_generation(merged, old):
            merged["metadata"]["generation"] = old["metadata"]["generation"] + 1
        return merged

    def _put(self, resource: Resource, key: Key, new: JsonObject, owners: Owners, who: str) -> JsonObject:
        new["metadata"]["resourceVersion"] = self.store.next_version()
        if owners:
            new["metadata"]["managedFields"] = ownership.encode(owners)
        self.store.put(resource.kind, key, Record(new, owners), self.actor or who)
        return copied(new)


def _grace(body: JsonObject) -> int:
    return int(body["metadata"].get("deletionGracePeriodSeconds") or 0)


def _is_same(new: JsonObject, old: JsonObject) -> bool:
    """Whether nothing but the bookkeeping of the write itself is different."""
    ignored = ("resourceVersion", "managedFields")
    one, other = ({k: v for k, v in body["metadata"].items() if k not in ignored} for body in (new, old))
    return one == other and all(new.get(name) == old.get(name) for name in (new.keys() | old.keys()) - {"metadata"})


def _same_fields(new: Owners, old: Owners) -> bool:
    return {one: owned.fields for one, owned in new.items()} == {one: owned.fields for one, owned in old.items()}
