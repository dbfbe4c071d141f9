"""Requests to the API server: the official client's asynchronous transport, with dictionaries instead of models.

This module owns what every request has in common: a time-out, the error of an answer that is not success (errors.py),
and a count. It refuses to retry: the queue does that, knowing more.
"""

import json
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlencode

import aiohttp
from kubernetes.aio.client import ApiClient, Configuration

from serin import __version__
from serin.api.json import JsonObject
from serin.api.names import FIELD_MANAGER
from serin.cluster import kinds
from serin.cluster.errors import error_of
from serin.cluster.protocol import Gone, Kind, Retryable

# Called after every request: verb, kind, HTTP status (0: no answer), seconds.
RequestObserver = Callable[[str, str, int, float], None]

# No longer than the margin of a lease (see lease.py): a leader's last write ends within its term.
_TIMEOUT_SECONDS: Final = 5.0
# Objects in one answer of a list: as many as kubectl asks for.
_PAGE: Final = 500
# Anybody in a namespace may write large Events, so few of them are asked for at once.
_EVENTS: Final = 50
_PAGES_OF_EVENTS: Final = 20
_EXPIRED: Final = 410
_APPLY: Final = "application/apply-patch+yaml"
_JSON: Final = "application/json"
_JSON_PATCH: Final = "application/json-patch+json"
_MERGE_PATCH: Final = "application/merge-patch+json"
# What objects are called, and not what is in them.
_METADATA: Final = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
_METADATA_OF_ONE: Final = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
_SIGNING_KEYS: Final = Kind("", "JSONWebKeySet", "jwks", namespaced=False)
_SIGNING_KEYS_PATH: Final = "/openid/v1/jwks"
# The signing keys are JSON too, and are given under their own name alone.
_ACCEPT: Final = "application/json, application/jwk-set+json"


def unobserved(_verb: str, _kind: str, _status: int, _seconds: float) -> None:
    """Nobody counts the requests."""


class KubernetesCluster:
    """The `Cluster` protocol over a real API server. Close it when done.

    `timeout` bounds every request, connecting included, in seconds. `page`: at most so many objects in one answer.
    """

    def __init__(
        self,
        configuration: Configuration,
        *,
        observer: RequestObserver = unobserved,
        timeout: float = _TIMEOUT_SECONDS,
        page: int = _PAGE,
    ) -> None:
        self._api = ApiClient(configuration)
        self._api.user_agent = f"serin/{__version__}"
        self._observer = observer
        self._timeout, self._page = aiohttp.ClientTimeout(total=timeout), page

    async def close(self) -> None:
        """Close the connections."""
        await self._api.close()  # type: ignore[no-untyped-call]

    async def get(self, kind: Kind, namespace: str, name: str) -> JsonObject:
        """Read one object. Raises Gone when it does not exist."""
        return await self._request("get", kind, kinds.object_path(kind, namespace, name))

    async def list(self, kind: Kind, namespace: str | None = None, selector: str = "") -> Sequence[JsonObject]:
        """All objects of a kind (None: of every namespace) that match a label selector, page by page."""
        query = {"labelSelector": selector} if selector else {}
        try:
            items = await self._pages(kind, namespace, query | {"limit": str(self._page)})
        except Gone as gone:
            if gone.status != _EXPIRED:
                raise
            # The next page can be asked for during some minutes only. Afresh, and without pages that might expire.
            items = await self._pages(kind, namespace, query)
        return [{"apiVersion": kind.api_version, "kind": kind.name, **item} for item in items]

    async def _pages(self, kind: Kind, namespace: str | None, query: Mapping[str, str]) -> Sequence[JsonObject]:
        return [item async for items, _ in self._each_page(kind, namespace, query) for item in items]

    async def _each_page(
        self, kind: Kind, namespace: str | None, query: Mapping[str, str], accept: str = _ACCEPT
    ) -> AsyncIterator[tuple[Sequence[JsonObject], bool]]:
        """The items of each page, and whether there are more."""
        path, token = kinds.collection_path(kind, namespace), ""
        while True:
            page = {**query, "continue": token} if token else query
            answer = await self._request("list", kind, path, query=page, accept=accept)
            token = answer["metadata"].get("continue") or ""
            yield answer["items"] or (), bool(token)
            if not token:
                return

    async def apply(self, body: JsonObject, *, force: bool = True, uid: str | None = None) -> JsonObject:
        """Server-side apply with field manager `serin`; owns only what `body` sets. Returns the object as stored.

        Without `uid` it creates what does not exist; with it, Conflict when the object is another one by now, or gone.
        """
        return await self._apply(body, subresource="", force=force, uid=uid)

    async def patch_status(self, body: JsonObject) -> JsonObject:
        """Server-side apply of the status; with metadata.resourceVersion set, Conflict when the object has moved.

        There is no `uid` here: at the status of a custom resource the API server overlooks it. Raises Gone.
        """
        return await self._apply(body, subresource="status", force=True)

    async def restore_template(self, body: JsonObject, *, uid: str | None = None) -> JsonObject:
        """Make `spec.template` exactly what `body` has: an apply would leave what others have added.

        Raises Gone; with `uid`, Conflict when the object is another one by now.
        """
        kind, metadata = kinds.of(body), body["metadata"]
        path = kinds.object_path(kind, metadata["namespace"], metadata["name"])
        replace = [{"op": "replace", "path": "/spec/template", "value": body["spec"]["template"]}]
        if uid is not None:
            # Nobody can change a uid: this does nothing to the object of this uid, and any other refuses it.
            replace.insert(0, {"op": "replace", "path": "/metadata/uid", "value": uid})
        query = {"fieldManager": FIELD_MANAGER}
        return await self._request("patch", kind, path, query=query, body=replace, content_type=_JSON_PATCH)

    async def delete(
        self, kind: Kind, namespace: str, name: str, *, uid: str, resource_version: str | None = None
    ) -> None:
        """Delete with preconditions, dependents in the background. Raises Conflict when a precondition fails, Gone."""
        preconditions = {"uid": uid} | ({"resourceVersion": resource_version} if resource_version else {})
        options = {"propagationPolicy": "Background", "preconditions": preconditions}
        await self._request("delete", kind, kinds.object_path(kind, namespace, name), body=options)

    async def create(self, body: JsonObject) -> JsonObject:
        """Create an object. Raises Conflict when its name is taken: what a first come, first served needs."""
        kind = kinds.of(body)
        path = kinds.collection_path(kind, body["metadata"]["namespace"])
        return await self._request("create", kind, path, query={"fieldManager": FIELD_MANAGER}, body=body)

    async def list_metadata(self, kind: Kind, namespace: str | None, selector: str, most: int) -> Sequence[JsonObject]:
        """The first so many objects that match a label selector, of which nothing but the metadata is read."""
        path = kinds.collection_path(kind, namespace)
        query = {"labelSelector": selector, "limit": str(most)}
        answer = await self._request("list", kind, path, query=query, accept=_METADATA)
        return [_of_kind(kind, one) for one in answer["items"] or ()]

    async def pages_of_metadata(self, kind: Kind, namespace: str | None) -> AsyncIterator[Sequence[JsonObject]]:
        """The metadata of all objects of a kind, page by page."""
        query = {"limit": str(self._page)}
        async for items, _ in self._each_page(kind, namespace, query, _METADATA):
            yield [_of_kind(kind, one) for one in items]

    async def label(
        self, body: JsonObject, labels: Mapping[str, str | None], *, only_if_unchanged: bool = False
    ) -> JsonObject:
        """Set labels of an object; None removes one. With `only_if_unchanged` Conflict when it has moved. Raises Gone.

        Returns its metadata, with kind and version.
        """
        kind, metadata = kinds.of(body), body["metadata"]
        path = kinds.object_path(kind, metadata["namespace"], metadata["name"])
        version = {"resourceVersion": metadata["resourceVersion"]} if only_if_unchanged else {}
        patch: JsonObject = {"metadata": {"labels": dict(labels), **version}}
        query = {"fieldManager": FIELD_MANAGER}
        answer = await self._request(
            "patch", kind, path, query=query, body=patch, content_type=_MERGE_PATCH, accept=_METADATA_OF_ONE
        )
        return _of_kind(kind, answer)

    async def create_event(self, body: JsonObject) -> None:
        """Create or (same name) update an events.k8s.io/v1 Event."""
        await self._apply(body, subresource="", force=True)

    async def pod_warnings(self, namespace: str) -> AsyncIterator[tuple[Sequence[JsonObject], bool]]:
        """Pages of warnings about a namespace's pods (events.k8s.io/v1), and with each whether there are more.

        They have 1,000 Events at most, all together.
        """
        query = {"fieldSelector": kinds.POD_WARNINGS, "limit": str(_EVENTS)}
        left = _PAGES_OF_EVENTS
        async for page in self._each_page(kinds.EVENT, namespace, query):
            yield page
            left -= 1
            if not left:
                return

    async def signing_keys(self) -> JsonObject:
        """The public keys of ServiceAccounts' tokens, as a JWK set."""
        return await self._request("get", _SIGNING_KEYS, _SIGNING_KEYS_PATH)

    async def _apply(self, body: JsonObject, *, subresource: str, force: bool, uid: str | None = None) -> JsonObject:
        if uid is not None:
            body = {**body, "metadata": {**body["metadata"], "uid": uid}}
        kind, metadata = kinds.of(body), body["metadata"]
        path = kinds.object_path(kind, metadata["namespace"], metadata["name"], subresource)
        query = {"fieldManager": FIELD_MANAGER, "force": "true" if force else "false"}
        return await self._request("apply", kind, path, query=query, body=body, content_type=_APPLY)

    async def _request(
        self,
        verb: str,
        kind: Kind,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: JsonObject | Sequence[JsonObject] | None = None,
        content_type: str = _JSON,
        accept: str = _ACCEPT,
    ) -> JsonObject:
        """Send one request, count it, and return the answer's JSON or raise one of ClusterError's subclasses."""
        started, status = time.monotonic(), 0
        try:
            status, text = await self._send(_METHODS[verb], path, query or {}, body, content_type, accept)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            late = f"none came within {self._timeout.total:g} s" if isinstance(error, TimeoutError) else ""
            words = late or str(error) or type(error).__name__
            raise Retryable(f"no answer from the API server to {verb} {kind.name}: {words}") from error
        finally:
            self._observer(verb, kind.name, status, time.monotonic() - started)
        if status < 300:
            answer: JsonObject = json.loads(text)
            return answer
        raise error_of(status, text)

    async def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: JsonObject | Sequence[JsonObject] | None,
        content_type: str,
        accept: str,
    ) -> tuple[int, bytes]:
        headers = {"Accept": accept, "Content-Type": content_type}
        _, url, headers, *_ = await self._api.param_serialize(
            method, path, header_params=headers, auth_settings=["BearerToken"]
        )
        target = f"{url}?{urlencode(query)}" if query else url
        response: Any = await self._api.call_api(
            method, target, header_params=headers, body=body, _request_timeout=self._timeout
        )
        return response.status, await response.read()


def _of_kind(kind: Kind, item: JsonObject) -> JsonObject:
    return {**item, "apiVersion": kind.api_version, "kind": kind.name}


_METHODS: Final = {
    "get": "GET",
    "list": "GET",
    "apply": "PATCH",
    "patch": "PATCH",
    "delete": "DELETE",
    "create": "POST",
}
