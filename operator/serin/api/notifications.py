"""`spec.notifications` and `status.notifications`: who is told what happens to a deployment, and what is not told yet.

What is to be told is decided in the write that it tells of, and kept in the status until its receivers have taken it.
So nothing that has happened goes untold, and what was planned and never written is not told. As with the rest of a
status, what does not parse is left out.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final

from serin.api.fields import Field, InvalidSpec
from serin.api.json import JsonObject
from serin.api.text import shortened
from serin.api.times import moment, rfc3339

# Bounds of the schema (crds/modeldeployments.yaml); a test compares them.
LONGEST_TEXT: Final = 1024
MOST_PENDING: Final = 20
# All that a spec may name, and all that the chart may have set up for everybody.
MOST_RECEIVERS: Final = 55


class Happening(StrEnum):
    """What can be told."""

    ROLLOUT_STARTED = "RolloutStarted"
    WAITING_FOR_APPROVAL = "WaitingForApproval"
    PROMOTED = "Promoted"
    ROLLED_BACK = "RolledBack"
    ROLLBACK_FAILED = "RollbackFailed"
    KILL_SWITCH = "KillSwitch"
    RETRAINING_REQUESTED = "RetrainingRequested"
    RETRAINING_FAILED = "RetrainingFailed"


@dataclass(frozen=True, slots=True)
class Receiver:
    """One entry of `spec.notifications`. `webhook`: its name."""

    webhook: str
    events: frozenset[Happening]


@dataclass(frozen=True, slots=True)
class Notification:
    """Something to tell.

    `id`: the same whenever it is sent again. `at`: when it happened (unix seconds). `snapshot`: the version that it is
    about. `target`: of a rollback, where everything went. `changed`: dimensions in which the two differ. `metric`,
    `estimate`, `interval`, `trouble`: of a rollback by a metric, as shown. `receivers`: webhooks that have not taken
    it.
    """

    id: str
    event: Happening
    at: float
    reason: str
    message: str
    snapshot: str = ""
    target: str = ""
    changed: tuple[str, ...] = ()
    metric: str = ""
    estimate: str = ""
    interval: str = ""
    trouble: str = ""
    receivers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Outbox:
    """What is still to be told, oldest first. `problem`: why it was not so far, "" when nobody has refused it."""

    pending: tuple[Notification, ...] = ()
    problem: str = ""


NOTHING_TO_TELL: Final = Outbox()


@dataclass(frozen=True, slots=True)
class Deliveries:
    """What has come of an outbox. `taken`: pairs of a notification's id and a webhook. `problem`: why no others."""

    taken: frozenset[tuple[str, str]] = frozenset()
    problem: str = ""


def identified(one: Notification, uid: str) -> Notification:
    """With its id. `uid`: the deployment's."""
    words = json.dumps([uid, one.event, rfc3339(one.at), one.reason, one.message])
    return replace(one, id=hashlib.sha256(words.encode()).hexdigest()[:20])


# ── The spec ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def read_notifications(field: Field | None) -> tuple[Receiver, ...]:
    """From the settings. Raises InvalidSpec."""
    if field is None:
        return ()
    found = tuple(Receiver(one["webhook"]["name"].value, _events(one.get("events"))) for one in field.items())
    names = [one.webhook for one in found]
    if twice := next((name for name in names if names.count(name) > 1), ""):
        raise InvalidSpec(f"{field.path}: the webhook {twice} is there twice: write it once, with all of its events")
    return found


def _events(field: Field | None) -> frozenset[Happening]:
    return frozenset(Happening) if field is None else frozenset(one.one_of(Happening) for one in field.items())


# ── The status ────────────────────────────────────────────────────────────────────────────────────────────────────────


def outbox_of(row: JsonObject) -> Outbox:
    """From the JSON of `status.notifications`."""
    rows = row.get("pending")
    found = (_read(one) for one in rows if isinstance(one, dict)) if isinstance(rows, list) else ()
    return Outbox(tuple(one for one in found if one is not None), _text(row, "problem"))


def write_outbox(outbox: Outbox) -> JsonObject:
    """As JSON, within the bounds of the schema; empty when there is nothing to tell."""
    if not outbox.pending:
        return {}
    row: dict[str, Any] = {"pending": [_write(one) for one in outbox.pending[-MOST_PENDING:]]}
    return row | ({"problem": shortened(outbox.problem, LONGEST_TEXT)} if outbox.problem else {})


def smallest_outbox(outbox: Outbox) -> Outbox:
    """Without texts: what has happened is told, whatever else a status has no room for."""
    return Outbox(tuple(replace(one, message="", estimate="", interval="", metric="") for one in outbox.pending))


def _read(row: JsonObject) -> Notification | None:
    at, event = moment(row.get("at")), _text(row, "event")
    if at is None or event not in Happening.__members__.values() or not _text(row, "id"):
        return None
    texts = {key: _text(row, key) for key in _TEXTS}
    changed, receivers = _texts(row.get("changed")), _texts(row.get("receivers"))
    return Notification(event=Happening(event), at=at, changed=changed, receivers=receivers, **texts)


def _write(one: Notification) -> JsonObject:
    row: dict[str, Any] = {key: shortened(getattr(one, key), LONGEST_TEXT) for key in _TEXTS if getattr(one, key)}
    row |= {"event": one.event.value, "at": rfc3339(one.at), "receivers": list(one.receivers[:MOST_RECEIVERS])}
    return row | ({"changed": list(one.changed)} if one.changed else {})


_TEXTS: Final = ("id", "reason", "message", "snapshot", "target", "metric", "estimate", "interval", "trouble")


def _text(row: JsonObject, key: str) -> str:
    value = row.get(key)
    return value if isinstance(value, str) else ""


def _texts(value: Any) -> tuple[str, ...]:
    rows: Iterable[Any] = value if isinstance(value, list) else ()
    return tuple(one for one in rows if isinstance(one, str))
