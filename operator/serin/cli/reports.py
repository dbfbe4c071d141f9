"""What there is to read about a deployment's rollbacks, for `serin report` and the web page."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from serin.api import names
from serin.api.json import JsonObject
from serin.api.snapshots import read_snapshot
from serin.api.status import read_state
from serin.cli.connection import Connection, explained
from serin.cluster import kinds
from serin.cluster.protocol import ClusterError, Refused
from serin.explain.document import Document
from serin.explain.report import Note, Rollback, notes_of, report, rollbacks, shield_of

# Of one deployment Serin makes far fewer in the hour that they are kept.
_MOST_EVENTS: Final = 1_000


@dataclass(frozen=True, slots=True)
class Known:
    """The rollbacks of the deployment `name`, newest first, and what a report of one is made of."""

    name: str
    rollbacks: Sequence[Rollback]
    notes: Sequence[Note]
    shield: str

    def page(self, rollback: Rollback) -> Document:
        """The report of one of them."""
        return report(self.name, rollback, self.notes, self.shield)


def read(connection: Connection, name: str) -> Known:
    """Read all of it; Events as far as the user may. Raises Stop."""
    namespace = connection.namespace
    try:
        body = connection.get(kinds.MODEL_DEPLOYMENT, namespace, name)
        bodies = connection.list(kinds.MODEL_SNAPSHOT, namespace, f"{names.LABEL_MODEL_DEPLOYMENT}={name}")
        events = _events(connection, body["metadata"]["uid"])
    except ClusterError as error:
        raise explained(error, f"ModelDeployment {name} in namespace {namespace}") from error
    found = rollbacks(read_state(body.get("status") or {}), {one.name: one for one in map(read_snapshot, bodies)})
    return Known(name, found, notes_of(events), shield_of(body))


def _events(connection: Connection, uid: str) -> Sequence[JsonObject]:
    """Events about the deployment; none when the user may not read them, as they only add to a report."""
    path = kinds.collection_path(kinds.EVENT, connection.namespace)
    query = {"fieldSelector": f"regarding.uid={uid}", "limit": str(_MOST_EVENTS)}
    try:
        return list(connection.read(path, query).get("items") or ())
    except Refused:
        return ()
