"""The goal of an experiment: which metric says whether the new version is better, and how its samples are counted."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from serin.analysis import goal as analysis
from serin.analysis.evidence import Kind, Unreadable, Unusable
from serin.analysis.goal import Goal, GoalTick, GoalVerdict, Outcome, State
from serin.analysis.types import Judgement, MeanTick, MetricVerdict, Moments, NoData, RatioTick, Tick
from serin.api.conditions import Reason
from serin.api.json import JsonObject
from serin.api.verdicts import Severity, Verdict
from serin.evaluation.samples import Sample

_SAID: Final[Mapping[Outcome, tuple[Verdict, Reason]]] = {
    Outcome.BETTER: (Verdict.PASS, Reason.BETTER_THAN_STABLE),
    Outcome.WORSE: (Verdict.FAIL_MINOR, Reason.WORSE_THAN_STABLE),
    Outcome.NO_DIFFERENCE: (Verdict.PASS, Reason.NO_DIFFERENCE),
    Outcome.UNDECIDED: (Verdict.INCONCLUSIVE, Reason.GATHERING_EVIDENCE),
}


@dataclass(frozen=True, slots=True)
class AskedGoal:
    """`metric`: its name in the spec. `label_delay`: seconds until what happened to a request is known."""

    metric: str
    goal: Goal
    label_delay: float = 0.0


def judge_goal(
    asked: AskedGoal, evidence: JsonObject | None, sample: Sample | None, settled_at: float | None
) -> Judgement:
    """Count a sample, and say what is known. `settled_at`: since when users are where they stay (unix seconds).

    What is counted before the first labels of such users can have come belongs to others, and is left out.
    """
    state = _read(evidence)
    missing: NoData | None = None
    if sample is not None:
        if isinstance(sample.tick, NoData):
            missing = sample.tick
        elif settled_at is None or sample.since < settled_at + asked.label_delay:
            state = replace(state or State(), at=sample.tick.at)
        else:
            state, missing = _folded(state, sample.tick)
    verdict = _verdict(asked, analysis.judge(asked.goal, state), state)
    if missing is not None:
        verdict = replace(verdict, verdict=Verdict.NO_DATA, reason=missing.reason, message=missing.message)
    return Judgement({} if state is None else analysis.write(state), verdict)


def moments(tick: Tick) -> tuple[float, Moments, Moments] | None:
    """Time, and what a tick counted of the candidate and of stable; None for what has no mean."""
    if isinstance(tick, RatioTick):
        candidate, stable = (Moments(one.requests, one.bad) for one in (tick.candidate, tick.stable))
        return tick.at, candidate, stable
    return (tick.at, tick.candidate, tick.stable) if isinstance(tick, MeanTick) else None


def _folded(state: State | None, tick: Tick) -> tuple[State | None, NoData | None]:
    found = moments(tick)
    if found is None:
        return state, NoData(Reason.QUERY_FAILED, "a goal is a ratio or a mean: write one of them")
    try:
        return analysis.fold(state, GoalTick(*found)), None
    except Unusable as problem:
        return state, NoData(problem.reason, str(problem))


def _verdict(asked: AskedGoal, found: GoalVerdict, state: State | None) -> MetricVerdict:
    verdict, reason = _SAID[found.outcome]
    return MetricVerdict(
        metric=asked.metric,
        severity=Severity.GOAL,
        verdict=verdict,
        reason=reason,
        message=found.message,
        log_e=max(found.better, found.worse),
        estimate=found.estimate,
        low=found.low,
        high=found.high,
        requests=found.requests,
        needed=found.needed,
        at=state.at if state else None,
        fails_at=(1.0,),
    )


def _read(evidence: JsonObject | None) -> State | None:
    if evidence is None or evidence.get("kind") != Kind.GOAL:
        return None
    try:
        return analysis.read(evidence)
    except Unreadable:
        return None
