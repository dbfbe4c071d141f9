"""What is read at one moment must not contradict itself: conditions, the printed reason, explain and Argo CD."""

from serin.api.conditions import ROUTINE, Reason
from serin.api.json import JsonObject
from serin.explain.facts import Condition, gather
from serin.explain.sentences import explain
from tests.argocd import health

# What each condition may not say of itself while it is as it is: the reason would mean the opposite.
FINE = {*ROUTINE, Reason.ROUTED, Reason.WAITING, Reason.PROMOTING, Reason.PROMOTED, Reason.STEP_STARTED}


def contradicts_nothing(body: JsonObject, now: float) -> None:
    """Every reader of this ModelDeployment is told the same at `now`. Raises AssertionError with what was told."""
    status = body["status"]
    told = {str(one["type"]): one for one in status["conditions"]}
    shown = Condition(None, str(status["reason"]), str(status["message"]))
    ready, stalled, routed = (_read(told[kind]) for kind in ("Ready", "Stalled", "Routed"))
    everything = f"{shown}\n{told}"
    facts = gather(body, now)
    explained, argo = " ".join(explain(facts)), health(body)
    going_back = facts.state.manual_rollback is not None
    if stalled.holds and facts.observed:
        assert stalled.reason not in FINE, everything
        cause = facts.state.last_rollback
        words = cause.message if cause and facts.rejected and cause.source == facts.wanted else stalled.message
        assert words in explained or stalled.message in explained, f"{everything}\n{explained}"
        assert argo.status == "Degraded", everything
        assert argo.message == f"{stalled.reason}: {stalled.message}", everything
    if ready.holds is False:
        waits_for = (ready.reason, *((Reason.ROLLING_BACK, stalled.reason) if going_back else ()))
        assert shown.reason in waits_for, everything
        words = shown.message if shown.reason == ready.reason else ready.message
        assert words in explained or going_back, f"{everything}\n{explained}"
    elif stalled.holds:
        assert (shown.reason, shown.message) == (stalled.reason, stalled.message), everything
    if shown.reason == Reason.SERVING:
        assert ready.holds, everything
        assert not stalled.holds, everything
        assert argo.status == "Healthy" or not facts.observed, everything
    if shown.reason == Reason.ROUTE_NOT_TAKEN:
        assert routed.holds is False, everything
    for kind, one in told.items():
        lost = one["status"] == "False" and kind in ("Ready", "Routed")
        assert not (lost and one["reason"] in FINE - {Reason.INITIALIZING}), everything


def _read(condition: dict[str, object]) -> Condition:
    holds = {"True": True, "False": False}.get(str(condition["status"]))
    return Condition(holds, str(condition["reason"]), str(condition["message"]))
