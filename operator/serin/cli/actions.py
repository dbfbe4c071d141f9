"""The actions of a person that leave the spec alone: approve, pause, resume, promote, abort, retry, rollback.

Each is an annotation with a new value, which the operator acts on once. An action that fits nothing is not requested:
the operator would take it and do nothing, so the user hears at once what is the case instead. After the request the
operator's answer is waited for, because "annotated" is not yet "done".
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from serin.api import names
from serin.api.conditions import Reason
from serin.api.json import JsonObject
from serin.api.kill_switch import KillSwitch
from serin.api.names import ANNOTATION_PAUSE
from serin.api.snapshots import Snapshot, read_snapshot
from serin.api.state import Phase
from serin.api.text import known_again
from serin.api.times import rfc3339
from serin.cli.connection import Connection, explained
from serin.cli.exit_codes import Exit, Stop
from serin.cluster import kinds
from serin.cluster.protocol import ClusterError
from serin.explain.facts import Facts, gather
from serin.explain.sentences import headline, waiting
from serin.rollout.snapshots import PREVIOUS, CannotGoBack, choose

ANSWER_SECONDS: Final = 15.0
_POLL_SECONDS: Final = 0.5


@dataclass(frozen=True, slots=True)
class Action:
    """One verb. `refuse`: why it fits nothing now, or None; `done`: whether the operator has acted on the value.

    `named`: the value says who asks, as the cluster may require.
    """

    verb: str
    annotation: str
    help: str
    refuse: Callable[[Facts], str | None]
    removes: bool = False
    named: bool = False

    def done(self, facts: Facts, value: str | None) -> bool:
        """Whether the operator has taken the request up."""
        if self.annotation != ANNOTATION_PAUSE:
            return facts.state.handled.get(self.annotation) == (value and known_again(value))
        # What keeps clients from being served is told in place of the pause; the phase shows it all the same.
        pauses_itself = facts.reason in (Reason.WAITING_FOR_APPROVAL, Reason.WAITING)
        held = facts.reason == Reason.PAUSED_BY_USER or (facts.state.phase is Phase.PAUSED and not pauses_itself)
        return facts.rollout is None or held is not self.removes


def _no_candidate(facts: Facts) -> str | None:
    return None if facts.rollout else "no version is under evaluation"


def _nothing_under_way(facts: Facts) -> str | None:
    return None if facts.state.manual_rollback else _no_candidate(facts)


def _no_approval(facts: Facts) -> str | None:
    if facts.rollout and not facts.stage.approval:
        return "the rollout does not stand in a pause step"
    return _no_candidate(facts)


def _not_rejected(facts: Facts) -> str | None:
    if facts.state.manual_rollback:
        return "it is on its way back to an earlier version"
    if facts.partly_rolled_back:
        return "a combination serves in its place: remove spec.rollback first"
    if facts.rejected or not facts.observed:  # of a spec that was just applied, only the operator can tell
        return None
    return "the version that the spec describes was not rejected"


def _paused_already(facts: Facts) -> str | None:
    return "it is paused already" if facts.paused else None


def _not_paused(facts: Facts) -> str | None:
    return None if facts.paused else "it is not paused"


ACTIONS: Final = (
    Action(
        "approve",
        names.ANNOTATION_APPROVE,
        "let a rollout that stands in a pause step go on",
        _no_approval,
        named=True,
    ),
    Action(
        "pause", ANNOTATION_PAUSE, "hold the rollout at its weight; a bad verdict still rolls back", _paused_already
    ),
    Action("resume", ANNOTATION_PAUSE, "let a paused rollout go on", _not_paused, removes=True),
    Action(
        "promote",
        names.ANNOTATION_PROMOTE,
        "make the candidate stable without waiting for steps and evidence",
        _no_candidate,
        named=True,
    ),
    Action(
        "abort",
        names.ANNOTATION_ABORT,
        "all requests back to stable at once; the version is rejected",
        _nothing_under_way,
    ),
    Action("retry", names.ANNOTATION_RETRY, "try a rejected version again", _not_rejected),
)


def read(connection: Connection, name: str) -> Facts:
    """Read a deployment for what is decided about it. Raises Stop when it cannot be read."""
    try:
        body = connection.get(kinds.MODEL_DEPLOYMENT, connection.namespace, name)
    except ClusterError as error:
        raise explained(error, f"ModelDeployment {name} in namespace {connection.namespace}") from error
    return gather(body, connection.now())


def _who(connection: Connection) -> str:
    """The user's name, "" where the API server does not say it: an approval without one is an approval all the same."""
    try:
        return connection.who_am_i()
    except ClusterError:
        return ""


def _approved_thing(facts: Facts) -> str:
    """What waits for approval: another version, or another step, that waits when this arrives is not approved by it."""
    rollout = facts.rollout
    return f"{names.APPROVAL_FOR}{rollout.candidate}/{rollout.stage.index + 1}" if rollout else ""


def request(connection: Connection, name: str, what: Action, *, wait: bool) -> str:
    """Request an action, wait for the operator's answer unless told not to, and return what to tell. Raises Stop."""
    facts = read(connection, name)
    if why := what.refuse(facts):
        raise Stop(Exit.NO, f"nothing to {what.verb}: {why} ({headline(facts)})")
    value = None if what.removes else rfc3339(connection.now())
    if value and what.annotation == names.ANNOTATION_APPROVE:
        value += _approved_thing(facts)
    if value and what.named and (who := _who(connection)):
        value += f"{names.APPROVED_BY}{who}"
    return _request(connection, name, what.verb, {what.annotation: value}, lambda now: what.done(now, value), wait=wait)


def request_rollback(connection: Connection, name: str, to: str | None, *, wait: bool) -> str:
    """Request a rollback to the snapshot `to`, or to the version before; as `request` otherwise. Raises Stop."""
    facts, asked = read(connection, name), to or PREVIOUS
    if why := refuse_rollback(facts, snapshots(connection, name), asked):
        raise Stop(Exit.NO, f"cannot roll back: {why}")
    annotations: dict[str, str | None] = {names.ANNOTATION_ROLLBACK_TO: f"{asked}@{rfc3339(connection.now())}"}

    def taken(now: Facts) -> bool:
        return annotations.items() <= now.state.handled.items()

    return _request(connection, name, "roll back", annotations, taken, wait=wait)


def refuse_rollback(facts: Facts, found: Mapping[str, Snapshot], asked: str = PREVIOUS) -> str | None:
    """Why one cannot go back to what is asked for, None when one can. `found`: what is remembered of the versions."""
    wanted, stable = facts.wanted, facts.state.stable
    if wanted is None:
        return f"the spec cannot work and has to be corrected first: {facts.invalid}"
    if stable is None:
        return "nothing serves yet"
    try:
        choose(asked, wanted, stable, found, facts.state, facts.spec.metrics if facts.spec else ())
    except CannotGoBack as no:
        return f"{no} ({headline(facts)})"
    return None


def request_kill_switch(connection: Connection, name: str, level: KillSwitch, *, wait: bool) -> str:
    """Set the kill switch by annotation (Off: remove that); as `request` otherwise. Raises Stop.

    It is written whatever the state is: who needs it does not wait for a read.
    """
    off = level is KillSwitch.OFF
    annotations: dict[str, str | None] = {names.ANNOTATION_KILL_SWITCH: None if off else level.value}

    def taken(now: Facts) -> bool:
        return now.state.kill_switch is now.killed.level

    told = _request(connection, name, f"set the kill switch to {level}", annotations, taken, wait=wait)
    left = read(connection, name).killed if off else None
    return f"{told}\nIt is still on by {left.by}: change the spec too" if left else told


def snapshots(connection: Connection, name: str) -> dict[str, Snapshot]:
    """What is remembered of a deployment's versions. Raises Stop when it cannot be read."""
    try:
        found = connection.list(kinds.MODEL_SNAPSHOT, connection.namespace, f"{names.LABEL_MODEL_DEPLOYMENT}={name}")
    except ClusterError as error:
        raise explained(error, "ModelSnapshot") from error
    return {one["metadata"]["name"]: read_snapshot(one) for one in found}


def _request(
    connection: Connection,
    name: str,
    verb: str,
    annotations: dict[str, str | None],
    done: Callable[[Facts], bool],
    *,
    wait: bool,
) -> str:
    body = _annotate(connection, name, annotations)
    if not wait:
        return f"{name}: asked to {verb}"
    end = time.monotonic() + ANSWER_SECONDS
    facts = gather(body, connection.now())
    while not done(facts):
        if time.monotonic() > end:
            raise Stop(
                Exit.TIMED_OUT,
                f"{name}: asked to {verb}, but the operator has not answered in {ANSWER_SECONDS:.0f}s. "
                "The request stays; look whether the operator runs: kubectl -n serin-system get pods",
            )
        time.sleep(_POLL_SECONDS)
        facts = read(connection, name)
    return "\n".join(filter(None, (headline(facts), waiting(facts))))


def _annotate(connection: Connection, name: str, annotations: dict[str, str | None]) -> JsonObject:
    try:
        return connection.annotate(connection.namespace, name, annotations)
    except ClusterError as error:
        raise explained(error, f"ModelDeployment {name} in namespace {connection.namespace}") from error
