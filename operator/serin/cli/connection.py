"""The cluster as the user reaches it: kubeconfig, context, namespace, and a handful of requests.

Synchronous, on the official client's transport, so that a verb starts in half the time that its asynchronous part and
the operator's caches need. It writes two things only, annotations of ModelDeployments and the label of ReviewItems by
which people say what an answer is, by merge patches of its own field manager: `serin` is the operator's, and sharing it
would make one take away what the other has set.
"""

import copy
import json
import os
import time
from collections.abc import Mapping, Sequence
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

from serin import __version__
from serin.api import names
from serin.api.json import JsonObject
from serin.cli.exit_codes import Exit, Stop
from serin.cluster import kinds
from serin.cluster.errors import error_of
from serin.cluster.protocol import ClusterError, Gone, Kind, Retryable

FIELD_MANAGER: Final = "serin-cli"
TIMEOUT_SECONDS: Final = 10.0
_MERGE: Final = "application/merge-patch+json"
_REVIEWS: Final = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
_ACCESS_REVIEWS: Final = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


class Connection:
    """Requests to one API server as one user. `namespace`: where names are looked up unless said otherwise."""

    def __init__(self, client: Any, namespace: str, server: str) -> None:
        self._client = client
        self.namespace = namespace
        self._server = server
        self._ahead = 0.0  # seconds that the server's clock is ahead of ours

    def within(self, namespace: str) -> "Connection":
        """The same for names of another namespace."""
        other = copy.copy(self)
        other.namespace = namespace
        return other

    def now(self) -> float:
        """Unix seconds by the API server's clock, which wrote the times that are shown beside it."""
        return time.time() + self._ahead

    def get(self, kind: Kind, namespace: str, name: str) -> JsonObject:
        """Read one object. Raises ClusterError's subclasses."""
        return self._request("GET", kinds.object_path(kind, namespace, name))

    def list(self, kind: Kind, namespace: str | None, selector: str = "") -> Sequence[JsonObject]:
        """All objects of a kind (None: of every namespace) that match a label selector."""
        query = {"labelSelector": selector} if selector else {}
        answer = self._request("GET", kinds.collection_path(kind, namespace), query)
        return [{"apiVersion": kind.api_version, "kind": kind.name, **item} for item in answer["items"]]

    def read(self, path: str, query: Mapping[str, str]) -> JsonObject:
        """Read something that is no object, such as what a Service answers through the API server's proxy."""
        return self._request("GET", path, query)

    def who_am_i(self) -> str:
        """The name by which the API server knows the user. Raises ClusterErrors."""
        body: JsonObject = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        found = self._request("POST", _REVIEWS, None, body)
        return str(((found.get("status") or {}).get("userInfo") or {}).get("username", ""))

    def may(self, verb: str, kind: Kind, namespace: str | None) -> bool:
        """Whether the user has a verb on a kind, in a namespace or (None) in all. Raises ClusterErrors."""
        group = kind.api_version.rpartition("/")[0]
        asked = {"verb": verb, "group": group, "resource": kind.plural} | (
            {"namespace": namespace} if namespace else {}
        )
        body: JsonObject = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview"}
        found = self._request("POST", _ACCESS_REVIEWS, None, body | {"spec": {"resourceAttributes": asked}})
        return bool((found.get("status") or {}).get("allowed"))

    def annotate(self, namespace: str, name: str, annotations: Mapping[str, str | None]) -> JsonObject:
        """Set annotations of a ModelDeployment; None removes one."""
        path = kinds.object_path(kinds.MODEL_DEPLOYMENT, namespace, name)
        body: JsonObject = {"metadata": {"annotations": dict(annotations)}}
        return self._request("PATCH", path, {"fieldManager": FIELD_MANAGER}, body)

    def say(self, item: JsonObject, verdict: str) -> JsonObject:
        """Label a ReviewItem. Raises Conflict when somebody has changed it meanwhile."""
        metadata = item["metadata"]
        path = kinds.object_path(kinds.REVIEW_ITEM, metadata["namespace"], metadata["name"])
        said = {"labels": {names.LABEL_REVIEWED: verdict}, "resourceVersion": metadata["resourceVersion"]}
        return self._request("PATCH", path, {"fieldManager": FIELD_MANAGER}, {"metadata": said})

    def _request(
        self, method: str, path: str, query: Mapping[str, str] | None = None, body: JsonObject | None = None
    ) -> JsonObject:
        from urllib3.exceptions import HTTPError

        target = f"{path}?{urlencode(query)}" if query else path
        headers = {"Accept": "application/json", "Content-Type": _MERGE if method == "PATCH" else "application/json"}
        try:
            status, text, date = self._send(method, target, headers, body)
        except (HTTPError, OSError) as error:
            raise Retryable(f"no answer from {self._server}: {_plain(error)}") from error
        self._read_clock(date)
        if status < 300:
            found: JsonObject = json.loads(text)
            return found
        raise self._error(status, text)

    def _error(self, status: int, text: bytes) -> Exception:
        """What an answer that is no success raises."""
        return error_of(status, text)

    def _send(
        self, method: str, target: str, headers: dict[str, str], body: JsonObject | None
    ) -> tuple[int, bytes, str | None]:
        """Status, text and Date of the answer. Raises urllib3's HTTPError and OSError when there is none."""
        _, url, headers, *_ = self._client.param_serialize(
            method, target, header_params=headers, auth_settings=["BearerToken"]
        )
        answer = self._client.call_api(method, url, header_params=headers, body=body, _request_timeout=TIMEOUT_SECONDS)
        return answer.status, answer.read(), answer.getheader("Date")

    def _read_clock(self, date: str | None) -> None:
        """The header has whole seconds: a difference under two is none."""
        if not date:
            return
        ahead = parsedate_to_datetime(date).timestamp() - time.time()
        self._ahead = ahead if abs(ahead) >= 2.0 else 0.0


def connect(kubeconfig: Path | None, context: str | None, namespace: str | None) -> Connection:
    """Log in as kubectl would. Raises Stop with what to set when there is no usable kubeconfig."""
    # Half a second of imports: only for verbs that speak to a cluster.
    import urllib3
    from kubernetes import client, config
    from kubernetes.config.config_exception import ConfigException

    file = str(kubeconfig) if kubeconfig else None
    where = file or os.environ.get("KUBECONFIG") or str(Path.home() / ".kube" / "config")
    if not any(Path(one).is_file() for one in where.split(os.pathsep)):
        raise Stop(Exit.NO_ACCESS, f"no kubeconfig at {where}: set --kubeconfig or KUBECONFIG to the file of a cluster")
    settings = client.Configuration()
    try:
        contexts, current = config.list_kube_config_contexts(config_file=file)  # type: ignore[no-untyped-call]
        chosen = _context(contexts, current, context)
        config.load_kube_config(  # type: ignore[no-untyped-call]
            config_file=file, context=chosen["name"], client_configuration=settings, persist_config=False
        )
    except (ConfigException, OSError, KeyError, TypeError, ValueError) as error:
        raise Stop(Exit.NO_ACCESS, f"cannot use the kubeconfig {where}: {_plain(error)}") from error
    # Whoever wrote insecure-skip-tls-verify knows; kubectl says nothing either.
    urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
    settings.retries = False
    api = client.ApiClient(settings)
    api.user_agent = f"serin-cli/{__version__}"
    return Connection(api, namespace or chosen["context"].get("namespace") or "default", settings.host)


def _context(contexts: Sequence[JsonObject], current: JsonObject, name: str | None) -> JsonObject:
    if name is None:
        return current
    for one in contexts:
        if one["name"] == name:
            return one
    known = ", ".join(str(one["name"]) for one in contexts)
    raise Stop(Exit.NO_ACCESS, f"the kubeconfig has no context {name}: write one of {known}")


def explained(error: ClusterError, what: str) -> Stop:
    """The Stop for a request that did not succeed; `what` was asked for, as in "ModelDeployment fraud in shop"."""
    match error:
        case Gone() if "could not find the requested resource" in error.message:
            return Stop(Exit.NO_ACCESS, f"this cluster does not know {names.GROUP}: install Serin's CRDs first")
        case Gone():
            return Stop(Exit.NOT_FOUND, f"there is no {what}")
        case Retryable() if error.status == 401:
            return Stop(Exit.NO_ACCESS, "the API server does not know you (401): log in again, or choose --context")
        case _:
            return Stop(Exit.NO_ACCESS, error.message)


def _plain(error: BaseException) -> str:
    """The innermost cause, without the client's own wrapping."""
    reason = getattr(error, "reason", None) or error
    text = str(reason)
    return text.rsplit(">: ", 1)[-1].rsplit(": ", 1)[-1] if "object at 0x" in text else text or type(reason).__name__
