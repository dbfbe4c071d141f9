"""What becomes of a spec that cannot work in a way that only the parser sees.

There is no plan for it, because there is nothing to plan with. What serves goes on serving; a candidate that the user
has just replaced by something unreadable loses its traffic, because nobody would be judging it.
"""

from dataclasses import replace
from typing import Final

from serin.api.conditions import ConditionType, Reason, condition, merge
from serin.api.json import JsonObject
from serin.api.kill_switch import OFF, Killed, KillSwitch
from serin.api.state import Phase
from serin.api.status import cut, read_status, write_status
from serin.api.times import rfc3339_whole
from serin.rollout.rollback import without_rollout

# What these say is about a rollout, and there is none.
_OF_A_ROLLOUT: Final = {ConditionType.EVIDENCE_AVAILABLE.value, ConditionType.POLICY_FEASIBLE.value}


def refuse(status: JsonObject, message: str, *, generation: int, now: float, killed: Killed = OFF) -> JsonObject:
    """The status that says so (`message` is the parser's sentence); equal to `status` when it says so already.

    `killed`: the kill switch, which the router obeys whatever the spec is.
    """
    known = read_status(status)
    message = cut(f"{message}; the kill switch is {killed.level} ({killed.by})" if killed else message)
    reason, state = Reason.INVALID_SPEC, known.state
    if (known.observed_generation, known.reason, known.message) == (generation, reason.value, message):
        return status
    found: list[tuple[ConditionType, bool | None, Reason]] = [
        (ConditionType.STALLED, True, reason),
        (ConditionType.RECONCILING, False, reason),
    ]
    if killed.level is KillSwitch.ALL:
        found.append((ConditionType.READY, False, Reason.KILL_SWITCH))
    elif state.kill_switch is KillSwitch.ALL:
        found.append((ConditionType.READY, None, reason))
    told = [
        condition(kind, is_so, why, message, generation=generation, now=rfc3339_whole(now))
        for kind, is_so, why in found
    ]
    gone = {one["type"] for one in told} | _OF_A_ROLLOUT
    others = [one for one in known.conditions if one["type"] not in gone]
    state = replace(state, kill_switch=killed.level)
    if state.rollout:
        state = replace(without_rollout(state, now), phase=Phase.HEALTHY)
    said = replace(
        known,
        state=state,
        observed_generation=generation,
        reason=reason.value,
        message=message,
        verdict="",
        metrics=(),
        observed={},
        trouble="",
        conditions=tuple(merge(known.conditions, [*others, *told])),
    )
    return write_status(said)
