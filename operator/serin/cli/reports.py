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
from serin.explain.pods import Pods, ends_in, warnings_in
from serin.explain.report import Note, Rollback, notes_of, report, rollbacks, shield_of

# About one deployment Serin makes far fewer in the hour that they are kept; about pods there may be more.
_MOST_EVENTS: Final = 1_000


@dataclass(frozen=True, slots=True)
class Known:
    """The rollbacks of the deployment `name`, newest first, and what a report of one is made of."""

    name: str
    rollbacks: Sequence[Rollback]
    notes: Sequence[Note]
    shield: str
    pods: Pods

    def page(self, rollback: Rollback) -> Document:
        """The report of one of them."""
        return report(self.name, rollback, self.notes, self.shield, self.pods)


def read(connection: Connection, name: str) -> Known:
    """Read all of it; Events as far as the user may. Raises Stop."""
    namespace = connection.namespace
    try:
        body = connection.get(kinds.MODEL_DEPLOYMENT, namespace, name)
        bodies = connection.list(kinds.MODEL_SNAPSHOT, namespace, f"{names.LABEL_MODEL_DEPLOYMENT}={name}")
        notes = notes_of(_events(connection, f"regarding.uid={body['metadata']['uid']}").get("items") or ())
        pods = _pods(connection, name)
    except ClusterError as error:
        raise explained(error, f"ModelDeployment {name} in namespace {namespace}") from error
    found = rollbacks(read_state(body.get("status") or {}), {one.name: one for one in map(read_snapshot, bodies)})
    return Known(name, found, notes, shield_of(body), pods)


def _pods(connection: Connection, name: str) -> Pods:
    """What is said of the namespace's pods, and how containers of this deployment's have ended."""
    try:
        mine = connection.list(kinds.POD, connection.namespace, f"{names.LABEL_MODEL_DEPLOYMENT}={name}")
    except Refused:
        mine = ()
    events = _events(connection, kinds.POD_WARNINGS)
    cut = bool((events.get("metadata") or {}).get("continue"))
    return Pods([*warnings_in(events.get("items") or ()), *ends_in(mine)], str(events.get("message", "")), cut)


def _events(connection: Connection, selector: str) -> JsonObject:
    """Some Events of the namespace; why, as `message`, when the user may not read them: they only add to a report."""
    path = kinds.collection_path(kinds.EVENT, connection.namespace)
    try:
        return connection.read(path, {"fieldSelector": selector, "limit": str(_MOST_EVENTS)})
    except Refused as error:
        return {"message": error.message}
