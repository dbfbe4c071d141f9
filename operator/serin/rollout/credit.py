"""How much time one look may credit: what has passed since the last one, whatever a clock says.

A bake, a drain or `maxDuration` lasts from a moment that some leader wrote by its clock. When a clock is set, or the
next leader has another, the time since then is not what has passed. So the moment of the last look is kept while
anything is waited for. When more than LIMIT seconds lie between two, only as much counts as there usually is; a clock
that goes back takes nothing away. All moments at which waits began are moved by the rest. So time in which nobody
looked, because no replica ran, does not count either.
"""

from dataclasses import replace
from typing import Final

from serin.api.state import Rollout, State
from serin.rollout.strategies.base import Strategy

# Seconds between two looks at most, while anything is waited for; each of them is a write.
EVERY: Final = 15.0
# Longer than a busy operator or a change of leader takes.
LIMIT: Final = 60.0
# Clocks differ by so much, and what is written is rounded.
_SLACK: Final = 1.0


def credited(state: State, now: float) -> State:
    """What was decided so far, with what has passed since the last look. `now`: unix seconds."""
    if state.looked is None or _is_usual(now - state.looked):
        return state
    passed = now - state.looked
    return _moved(state, passed - EVERY if passed > 0 else passed)


def is_waiting(state: State, strategy: Strategy) -> bool:
    """Whether time alone can change what is decided."""
    rollout = state.rollout
    timed = rollout is not None and (
        strategy.max_duration is not None or not strategy.waits_for_approval(rollout.stage)
    )
    return timed or bool(state.manual_rollback or state.draining or state.kept or state.watch)


def looked(before: State, now: float) -> float:
    """The moment of this look, or the one that is kept while that is not old enough for a write."""
    kept = before.looked
    return kept if kept is not None and -_SLACK <= now - kept < EVERY else now


def _is_usual(passed: float) -> bool:
    return -_SLACK <= passed <= LIMIT


def _moved(state: State, by: float) -> State:
    """All moments at which a wait began, later by so many seconds."""
    asked, unrouted, watch = state.manual_rollback, state.unrouted_since, state.watch
    if asked is not None:
        moved = None if asked.moved is None else asked.moved + by
        asked = replace(asked, since=asked.since + by, moved=moved)
    return replace(
        state,
        rollout=_moved_rollout(state.rollout, by) if state.rollout else None,
        manual_rollback=asked,
        draining={name: at + by for name, at in state.draining.items()},
        kept={name: at + by for name, at in state.kept.items()},
        watch=replace(watch, since=watch.since + by) if watch else None,
        unrouted_since=None if unrouted is None else unrouted + by,
    )


def _moved_rollout(rollout: Rollout, by: float) -> Rollout:
    stage = rollout.stage
    since = None if stage.since is None else stage.since + by
    stage = replace(stage, entered=stage.entered + by, since=since)
    # Requests that came while nobody looked count. When a clock goes back, so does what it said.
    counted = (rollout.since if rollout.counted_since is None else rollout.counted_since) + min(by, 0.0)
    return replace(rollout, since=rollout.since + by, stage=stage, counted_since=counted)
