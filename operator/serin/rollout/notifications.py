"""What is told to the receivers of spec.notifications: decided in the look's own write, and kept until it is taken.

The outbox is in the status: a leader that dies loses nothing, and the one that follows sends the rest. Who sends
(controller/notifier.py) does so outside of looks, and no look waits for it. An outbox is bounded: the oldest give way.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final

from serin.api.conditions import Reason
from serin.api.notifications import MOST_PENDING, Happening, Notification, Outbox, identified
from serin.api.times import human
from serin.rollout import summary
from serin.rollout.plan_builder import PlanBuilder

# Seconds for which a receiver that does not take a notification is tried.
GIVE_UP: Final = 3600.0
# A rollback has many reasons, and is none of these: the record of it says that there was one.
_HAPPENINGS: Final[Mapping[Reason, Happening]] = {
    Reason.ROLLOUT_STARTED: Happening.ROLLOUT_STARTED,
    Reason.WAITING_FOR_APPROVAL: Happening.WAITING_FOR_APPROVAL,
    Reason.PROMOTED: Happening.PROMOTED,
    Reason.ROLLBACK_FAILED: Happening.ROLLBACK_FAILED,
    Reason.KILL_SWITCH: Happening.KILL_SWITCH,
    Reason.RETRAINING_REQUESTED: Happening.RETRAINING_REQUESTED,
    Reason.RETRAINING_FAILED: Happening.RETRAINING_FAILED,
}


def notify(builder: PlanBuilder) -> None:
    """Put what this look tells into the outbox, and take out what has been taken. All other notes are made before."""
    before = builder.state.outbox
    new = tuple(_addressed(builder))
    kept = tuple(_left(builder, before))
    if kept and len(kept) + len(new) > MOST_PENDING:
        why = f"{MOST_PENDING} wait already: the oldest ({kept[0].event}) is given up"
        builder.add_event(Reason.NOTIFICATION_FAILED, why, warning=True)
    problem = builder.seen.deliveries.problem if kept else ""
    if problem and not before.problem:
        builder.add_event(Reason.NOTIFICATION_WAITS, f"a notification was not taken: {problem}", warning=True)
    builder.update(outbox=Outbox((*kept, *new)[-MOST_PENDING:], problem))


def _left(builder: PlanBuilder, before: Outbox) -> Iterator[Notification]:
    """Of what was to be told, what is not taken, and whose receivers are still named in the spec."""
    now, taken = builder.seen.now, builder.seen.deliveries.taken
    named = {one.webhook for one in builder.seen.deployment.spec.notifications}
    for one in before.pending:
        left = tuple(name for name in one.receivers if name in named and (one.id, name) not in taken)
        if left and now - one.at >= GIVE_UP:
            why = builder.seen.deliveries.problem or before.problem or "nobody has sent it"
            what = f"the notification {one.event} was not taken in {human(GIVE_UP)} by {' and '.join(left)}: {why}"
            builder.add_event(Reason.NOTIFICATION_FAILED, what, warning=True)
        elif left:
            builder.requeue_after(one.at + GIVE_UP - now)
            yield replace(one, receivers=left)


def _addressed(builder: PlanBuilder) -> Iterator[Notification]:
    """What this look tells, with those who want to hear it."""
    asked = builder.seen.deployment.spec.notifications
    for one in _happened(builder) if asked else ():
        receivers = tuple(each.webhook for each in asked if one.event in each.events)
        if receivers:
            yield identified(replace(one, receivers=receivers), builder.seen.deployment.uid)


def _happened(builder: PlanBuilder) -> Iterator[Notification]:
    now, state = builder.seen.now, builder.state
    about = state.candidate or state.stable or ""
    for note in builder.events:
        event = _HAPPENINGS.get(note.reason)
        if event is not None:
            yield Notification("", event, now, note.reason.value, note.message, about)
    last, before = state.last_rollback, builder.seen.state.last_rollback
    if last is None or (before is not None and before.at == last.at):
        return
    yield Notification(
        "",
        Happening.ROLLED_BACK,
        last.at,
        last.reason,
        f"{last.source} is rolled back, all traffic to {last.target}: {last.message}",
        last.source,
        target=last.target,
        changed=summary.changed(builder.seen, last.target, last.source),
        metric=last.metric,
        estimate=last.estimate,
        interval=last.interval,
        trouble=last.trouble,
    )
