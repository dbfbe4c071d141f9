"""The API server's wire: paths and queries as they are sent, answered with a status code and JSON.

It is what the conformance tests send to both servers, and all that a replica can reach.
"""

import json
import math
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from serin.api.json import JsonObject
from serin.cluster.protocol import Kind
from tests.simulation.api.deletion import Deletion
from tests.simulation.api.resources import custom
from tests.simulation.api.server import ApiServer
from tests.simulation.api.status import ApiError, bad_request
from tests.simulation.api.watches import Watches

APPLY: Final = "application/apply-patch+yaml"
MERGE: Final = "application/merge-patch+json"
JSON_PATCH: Final = "application/json-patch+json"
JSON: Final = "application/json"

_PATH: Final = re.compile(
    r"^/(?:api|apis/(?P<group>[^/]+))/(?P<version>[^/]+)(?:/namespaces/(?P<namespace>[^/]+)(?=/[^/]+))?"
    r"/(?P<plural>[^/]+)(?:/(?P<name>[^/]+)(?:/(?P<subresource>[^/]+))?)?$"
)


@dataclass(frozen=True, slots=True)
class Target:
    """What a path names."""

    kind: Kind
    namespace: str | None
    name: str
    subresource: str


class Rest:
    """The whole control plane: the server, its watches, its deletions."""

    def __init__(self, seed: int = 0, *, deletion_delay: float = 0.5) -> None:
        self.server = ApiServer(seed)
        self.watches = Watches(self.server)
        self.deletion = Deletion(self.server, delay=deletion_delay)
        self.is_up = True

    def stop(self) -> None:
        """Be away: no request is answered and no watch goes on, until `start`. What is stored stays."""
        self.is_up = False
        self.watches.close()

    def start(self) -> None:
        """Be there again."""
        self.is_up = True

    def install(self, crd: JsonObject) -> Kind:
        """Serve the kind of a CRD, or serve it by this one from now on; what is stored stays as it is."""
        spec = crd["spec"]
        names, version = spec["names"], spec["versions"][0]["name"]
        kind = Kind(f"{spec['group']}/{version}", names["kind"], names["plural"])
        self.server.kinds[kind] = custom(kind, crd)
        return kind

    def target(self, path: str) -> Target:
        """Take a path apart. 404 for what is not served."""
        found = _PATH.match(path)
        if found is None:
            raise ApiError(404, "NotFound", "the server could not find the requested resource")
        api_version = f"{found['group']}/{found['version']}" if found["group"] else found["version"]
        for kind in self.server.kinds:
            if (kind.api_version, kind.plural) == (api_version, found["plural"]):
                return Target(kind, found["namespace"], found["name"] or "", found["subresource"] or "")
        raise ApiError(404, "NotFound", "the server could not find the requested resource")

    def request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        content_type: str = JSON,
        *,
        who: str = "unknown",
    ) -> tuple[int, JsonObject]:
        """Carry out one request; the status code and the answer."""
        self.server.actor = who
        try:
            return self._request(
                method, self.target(path), query or {}, json.loads(json.dumps(body)), content_type, who
            )
        except ApiError as error:
            return error.status, error.body()
        finally:
            self.server.actor = ""

    def _request(
        self, method: str, at: Target, query: Mapping[str, str], body: Any, content_type: str, who: str
    ) -> tuple[int, JsonObject]:
        manager, namespace = query.get("fieldManager", who), at.namespace or ""
        if method == "GET" and at.name:
            return 200, self.server.get(at.kind, namespace, at.name)
        if method == "GET":
            return 200, self._list(at, query)
        if method == "DELETE":
            return 200, self._delete(at, body or {}, who)
        strict = query.get("fieldValidation") == "Strict"
        if method == "POST":
            dry_run = query.get("dryRun") == "All"
            return 201, self.server.create(at.kind, namespace, body, manager=manager, strict=strict, dry_run=dry_run)
        if method == "PUT":
            return 200, self.server.replace(
                at.kind, namespace, at.name, body, manager=manager, subresource=at.subresource
            )
        if content_type == APPLY:
            return self._apply(at, query, body, manager)
        return 200, self.server.patch(
            at.kind, namespace, at.name, body, manager=manager, subresource=at.subresource, strict=strict
        )

    def _apply(self, at: Target, query: Mapping[str, str], body: JsonObject, manager: str) -> tuple[int, JsonObject]:
        if "fieldManager" not in query:
            raise bad_request(
                'PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for apply patch'
            )
        namespace = at.namespace or ""
        known = self.server.store.get(at.kind, self.server.key(at.kind, namespace, at.name)) is not None
        force = query.get("force") == "true"
        answer = self.server.apply(
            at.kind, namespace, at.name, body, manager=manager, force=force, subresource=at.subresource
        )
        return (200 if known else 201), answer

    def _list(self, at: Target, query: Mapping[str, str]) -> JsonObject:
        limit, token = int(query.get("limit", "0")), query.get("continue", "")
        page = self.server.page(at.kind, at.namespace, query.get("labelSelector", ""), limit, token)
        metadata: JsonObject = {"resourceVersion": page.version}
        custom = self.server.kinds[at.kind].crd is not None
        if page.token or custom:
            metadata["continue"] = page.token
        if page.remaining:
            metadata["remainingItemCount"] = page.remaining
        items = list(page.items)
        if not custom:  # those of built-in kinds do not say what they are
            items = [{key: one for key, one in item.items() if key not in ("apiVersion", "kind")} for item in items]
        return {"kind": f"{at.kind.name}List", "apiVersion": at.kind.api_version, "metadata": metadata, "items": items}

    def _delete(self, at: Target, options: JsonObject, who: str) -> JsonObject:
        preconditions = options.get("preconditions") or {}
        return self.deletion.delete(
            at.kind,
            at.namespace or "",
            at.name,
            who=who,
            uid=preconditions.get("uid"),
            version=preconditions.get("resourceVersion"),
            propagation=options.get("propagationPolicy", "Background"),
            grace=options.get("gracePeriodSeconds"),
        )

    def watch(self, path: str, query: Mapping[str, str], *, who: str = "unknown") -> AsyncIterator[JsonObject]:
        """Open a watch; see Watches.watch."""
        at = self.target(path)
        return self.watches.watch(
            who,
            at.kind,
            query.get("resourceVersion", str(self.server.store.version)),
            namespace=at.namespace,
            selector=query.get("labelSelector", ""),
            bookmarks=query.get("allowWatchBookmarks") == "true",
            seconds=float(query.get("timeoutSeconds", math.inf)),
        )
