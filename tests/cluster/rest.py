"""Requests to a cluster's API server over a connection that stays: for what tests do often.

A kubectl costs a fifth of a second of a core each time, and the tests' machines have two. What kubectl itself does to
an object (a client-side apply, an annotation, a wait) stays with kubectl.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import requests
from kubernetes.config import new_client_from_config
from requests.adapters import HTTPAdapter

from tests.cluster.errors import ClusterError

MERGE = "application/merge-patch+json"
APPLY = "application/apply-patch+yaml"

Json = dict[str, Any]


class Refused(ClusterError):
    """The API server answered with an error; `status` is its number."""

    def __init__(self, words: str, status: int) -> None:
        self.status = status
        super().__init__(words)


class Rest:
    """The API server, as the kubeconfig's user. Kinds are named as kubectl takes them: pods, deploy, md, msnap."""

    def __init__(self, kubeconfig: Path) -> None:
        settings = new_client_from_config(str(kubeconfig)).configuration
        self._server: str = settings.host
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.verify = settings.ssl_ca_cert if settings.verify_ssl else False
        if settings.cert_file:
            self._session.cert = (settings.cert_file, settings.key_file)
        token = settings.get_api_key_with_prefix("authorization")
        if token:
            self._session.headers["Authorization"] = token
        # A connection that a restart of the API server has cut is made anew.
        self._session.mount("https://", HTTPAdapter(max_retries=3))
        self._kinds: dict[str, tuple[str, bool]] = {}

    def request(self, method: str, path: str, body: Json | None = None, content: str = "application/json") -> Any:
        """Send one request; returns the answer's JSON.

        Raises:
            Refused: with the API server's words.
        """
        data = None if body is None else json.dumps(body)
        answer = self._session.request(
            method, self._server + path, data=data, headers={"Content-Type": content}, timeout=60
        )
        if not answer.ok:
            raise Refused(f"{method} {path}: status {answer.status_code}: {answer.text.strip()}", answer.status_code)
        return answer.json()

    def path(self, kind: str, namespace: str, name: str = "") -> str:
        """Path of a kind's objects in a namespace, or of one of them."""
        if kind not in self._kinds:
            self._kinds = dict(self._discover())
        if kind not in self._kinds:
            raise ClusterError(f"the API server knows no {kind}")
        collection, namespaced = self._kinds[kind]
        base, _, plural = collection.rpartition("/")
        place = f"{base}/namespaces/{namespace}/{plural}" if namespaced else collection
        return f"{place}/{name}" if name else place

    def get(self, kind: str, namespace: str, name: str = "", selector: str = "", *, managed: bool = False) -> Json:
        """One object, or the list of those that a label selector chooses: `deploy,svc` are two lists in one.

        As kubectl shows them: without managed fields unless they are asked for, every item with its kind.
        """
        query = f"?labelSelector={quote(selector)}" if selector else ""
        found: list[Json] = [self.request("GET", self.path(one, namespace, name) + query) for one in kind.split(",")]
        if name:
            return _shown(found[0], managed)
        items = [_shown({**_about(listed), **one}, managed) for listed in found for one in listed["items"]]
        return found[0] | {"items": items}

    def _discover(self) -> Iterable[tuple[str, tuple[str, bool]]]:
        """Every word for a kind; of equal words the first group's counts, as in kubectl."""
        groups = [one["preferredVersion"]["groupVersion"] for one in self.request("GET", "/apis")["groups"]]
        served = ["/api/v1", *(f"/apis/{version}" for version in groups)]
        found: dict[str, tuple[str, bool]] = {}
        for place in served:
            listed = self.request("GET", place)
            group = listed["groupVersion"].rpartition("/")[0]
            for one in listed["resources"]:
                if "/" in one["name"]:
                    continue
                words = [one["name"], one["singularName"], *one.get("shortNames", ()), one["kind"].lower(), one["kind"]]
                for word in [*words, f"{one['name']}.{group}"]:
                    found.setdefault(word, (f"{place}/{one['name']}", one["namespaced"]))
        return found.items()


def _about(listed: Json) -> Json:
    """What a list's items leave out."""
    return {"apiVersion": listed["apiVersion"], "kind": listed["kind"].removesuffix("List")}


def _shown(one: Json, managed: bool) -> Json:
    if not managed:
        one["metadata"].pop("managedFields", None)
    return one
