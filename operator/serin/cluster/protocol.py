"""What the operator needs of a Kubernetes API server, and nothing more.

Bodies are dictionaries: typed models cost seven times the CPU and freeze at one API version. The error hierarchy is cut
by what the caller does about it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from serin.api.json import JsonObject


class ClusterError(Exception):
    """Any answer that is not success. `status`: the HTTP code (0: no answer); `message`: the API server's words."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.message = message
        self.status = status


class Retryable(ClusterError):
    """Try again later: connection lost, no answer in time, 401, 429, 5xx. A write may have been carried out."""


class Conflict(ClusterError):
    """409: what was read is out of date, or is another object by now, or another field manager owns a field.

    Read again, plan again.
    """


class Gone(ClusterError):
    """404 or 410: it is not there (any more)."""


class Refused(ClusterError):
    """400, 403, 422: the API server will never accept this. Its message is for the user."""


@dataclass(frozen=True, slots=True)
class Kind:
    """How a kind is addressed: `api_version` as in manifests, `plural` as in paths."""

    api_version: str
    name: str
    plural: str
    namespaced: bool = True


def is_newer(version: str, than: str) -> bool:
    """Compare two resource versions of one kind: as numbers of any length, which Kubernetes promises since 1.35."""
    return version.isdecimal() and than.isdecimal() and (len(version), version) > (len(than), than)


class Cluster(Protocol):
    """Live requests to the API server. Every call is one request (of `list`: one a page) and raises ClusterErrors.

    `uid`, where a write takes one: Conflict, and nothing is written, unless the object is still the one of this uid.
    """

    async def get(self, kind: Kind, namespace: str, name: str) -> JsonObject:
        """Read one object. Raises Gone when it does not exist."""

    async def list(self, kind: Kind, namespace: str | None = None, selector: str = "") -> Sequence[JsonObject]:
        """All objects of a kind (None: of every namespace) that match a label selector."""

    async def apply(self, body: JsonObject, *, force: bool = True, uid: str | None = None) -> JsonObject:
        """Server-side apply with field manager `serin`; owns only what `body` sets. Without `uid` it may create."""

    async def create(self, body: JsonObject) -> JsonObject:
        """Create an object. Raises Conflict when its name is taken."""

    async def patch_status(self, body: JsonObject) -> JsonObject:
        """Server-side apply of the status; with metadata.resourceVersion set, Conflict when the object has moved."""

    async def restore_template(self, body: JsonObject, *, uid: str | None = None) -> JsonObject:
        """Make `spec.template` exactly what `body` has, fields that others added included. Returns the object."""

    async def delete(
        self, kind: Kind, namespace: str, name: str, *, uid: str, resource_version: str | None = None
    ) -> None:
        """Delete with preconditions, dependents in the background. Raises Conflict when a precondition fails, Gone."""

    async def create_event(self, body: JsonObject) -> None:
        """Create or (same name) update an events.k8s.io/v1 Event."""
