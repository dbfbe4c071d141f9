"""The kill switch in the plan: a rollout ends without being rejected, and nothing starts until it is off.

The router obeys the annotation by itself and waits for no plan; this records what has happened, and why. A person's way
back to an earlier version goes on: it leads away from what serves, and has served everything before.
"""

from serin.api.conditions import Reason
from serin.rollout.model import Note
from serin.rollout.plan_builder import PlanBuilder
from serin.rollout.rollback import without_rollout
from serin.rollout.snapshots import is_rejected
from serin.rollout.summary import switched_off
from serin.rollout.watching import shares


def hold_on_stable(builder: PlanBuilder, wanted: str, stable: str) -> None:
    """All traffic to stable. The candidate is not rejected: its rollout begins anew when the switch is off."""
    ended = builder.state.rollout
    builder.state = without_rollout(builder.state, builder.seen.now)
    builder.update(split=shares(builder, stable, 0))
    waits = wanted != stable and not is_rejected(builder.seen.snapshots, builder.state, wanted)
    then = f"; {wanted} begins at its first step when that is off" if waits else ""
    note = Note(Reason.KILL_SWITCH, f"{switched_off(builder.seen, stable)}{then}", warning=True)
    builder.sum_up(note, event=ended is not None)


def record_kill_switch(builder: PlanBuilder) -> None:
    """Keep what holds now, and tell when it was switched."""
    killed, before = builder.seen.deployment.killed, builder.seen.state.kill_switch
    builder.update(kill_switch=killed.level)
    if killed.level is before:
        return
    if not killed:
        builder.add_event(Reason.KILL_SWITCH, f"the kill switch is off again (it was {before})")
    elif builder.why not in builder.events:
        builder.add_event(Reason.KILL_SWITCH, switched_off(builder.seen, builder.state.stable), warning=True)
