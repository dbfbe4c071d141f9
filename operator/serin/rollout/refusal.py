"""What becomes of a spec that cannot work in a way that only the parser sees.

There is no plan for it, because there is nothing to plan with. What serves goes on serving; a candidate that the user
has just replaced by something unreadable loses its traffic, because nobody would be weighing it.
"""

from dataclasses import replace

from serin.api.conditions import ConditionType, Reason, condition, merge
from serin.api.json import JsonObject
from serin.api.split import all_to
from serin.api.status import Phase, StepState, read, write
from serin.api.times import rfc3339_whole


def refuse(status: JsonObject, message: str, *, generation: int, now: float) -> JsonObject:
    """The status that says so (`message` is the parser's sentence); equal to `status` when it says so already."""
    before = status.get("conditions") or []
    said = {"observedGeneration": generation, "reason": Reason.INVALID_SPEC.value, "message": message}
    if said.items() <= status.items():
        return status
    state = read(status)
    if state.candidate and state.stable:
        draining = {**state.draining, state.candidate: now}
        split = all_to(state.stable)
        state = replace(state, phase=Phase.HEALTHY, candidate=None, step=StepState(), split=split, draining=draining)
    result = write(state) | {key: status[key] for key in ("replicas", "selector") if key in status}
    if state.stable:
        result["stable"] = status["stable"]
    told = [
        condition(kind, is_so, Reason.INVALID_SPEC, message, generation=generation, now=rfc3339_whole(now))
        for kind, is_so in ((ConditionType.STALLED, True), (ConditionType.RECONCILING, False))
    ]
    others = [one for one in before if one["type"] not in {one["type"] for one in told}]
    return {**result, **said, "conditions": merge(before, [*others, *told])}
