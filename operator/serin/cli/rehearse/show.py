"""A rehearsal for people: one table, and the sentences that matter."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from rich.console import Group, RenderableType
from rich.text import Text

from serin.analysis.bandit import requests_needed
from serin.analysis.feasibility import assess
from serin.analysis.goal import candidate_needed
from serin.analysis.rehearsal import Passing, Rehearsal, Sight, increase
from serin.analysis.slo import requests_to_catch
from serin.analysis.text import number, percent
from serin.analysis.traffic import Stage, Traffic
from serin.api.conditions import Reason
from serin.api.json import JsonObject
from serin.api.text import count
from serin.api.times import human
from serin.api.verdicts import Against
from serin.cli.output import table
from serin.cli.rehearse.plan import MEDIAN_MS, Plan
from serin.metrics.sources import HistogramSource, RatioSource
from serin.rollout.watching import schedule_of

_SHARES: Final = (0.01, 0.1, 0.5)  # of stable's users or requests that a goal or a reward counts
_EARNS: Final = 1.1  # times as much as the others, of a best arm


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """Everything that one deployment's rehearsal found. `left`: metrics that were not rehearsed, and why."""

    plan: Plan
    stages: Sequence[Stage]
    traffic: Mapping[str, Traffic]
    answer: Rehearsal
    feasible: tuple[Reason, str] | None
    left: Mapping[str, str]

    @property
    def cannot_work(self) -> str:
        """Why this policy cannot do with this traffic what it says; "" when it can."""
        if self.feasible and self.feasible[0] is Reason.TRAFFIC_TOO_LOW:
            return self.feasible[1]
        if 2 * self.answer.unfinished > self.answer.runs:
            limit = self.plan.schedule.max_duration
            within = f" within maxDuration, {human(limit)}" if limit is not None else ""
            return f"{self.answer.unfinished} of {self.answer.runs} good candidates are not promoted{within}"
        return ""


def text(found: Rehearsed) -> RenderableType:
    """For people."""
    parts: list[RenderableType] = [Text(_headline(found), style="bold"), Text(""), _sights(found)]
    parts += [Text(""), *(Text(line) for line in sentences(found))]
    if problem := found.cannot_work:
        parts += [Text(""), Text(f"too little traffic for this policy: {problem}", style="bold red")]
    return Group(*parts)


def _headline(found: Rehearsed) -> str:
    looks = f"a look every {human(found.plan.interval)}"
    if found.plan.spec.analysis.interval is None:
        looks += " (assumed: analysis.interval is not set)"
    return f"{found.plan.name}: {_traffic(found.traffic)}, {looks}; {found.answer.runs} rollouts simulated"


def _traffic(traffic: Mapping[str, Traffic]) -> str:
    """What all metrics have in common is said once."""
    shown = {
        name: f"{number(one.rate)} requests/s of which {percent(one.bad)} are bad" for name, one in traffic.items()
    }
    if len(set(shown.values())) == 1:
        return next(iter(shown.values()))
    return "; ".join(f"{name}: {said}" for name, said in shown.items())


def _sights(found: Rehearsed) -> RenderableType:
    made = table("STEP", "METRIC", "CANDIDATE HAS", "CAUGHT IN THE BAKE", "MEDIAN", "95%", "REQUESTS", "CAUGHT EVER")
    for stage in found.stages:
        for one in (one for one in found.answer.sights if one.step == stage.number):
            style = "green" if one.seen else "yellow"
            requests = f"{_count(one.requests.median)} / {_count(one.requests.high)}"
            caught = Text(f"{one.caught:.0%}", style=style)
            when = _when(one.seconds.median), _when(one.seconds.high)
            made.add_row(_step(stage), one.metric, one.trouble, caught, *when, requests, f"{one.before_promotion:.0%}")
    return made


def sentences(found: Rehearsed) -> Iterator[str]:
    """What each step sees, how long it takes, how often a good version is rolled back, and what was left out."""
    for stage, passing in zip(found.stages, found.answer.passing, strict=True):
        step = [one for one in found.answer.sights if one.step == stage.number]
        for metric in dict.fromkeys(one.metric for one in step):
            yield _sees(
                stage, [one for one in step if one.metric == metric], found.plan.spec.analysis.minimum_detectable_effect
            )
        if not step:
            yield f"step {stage.number}: no simulated rollout got there"
        yield _takes(stage, passing)
    answer, promise = found.answer, found.plan.spec.analysis.false_rollback_rate_minor
    low, high = answer.false_rollback
    yield (
        f"false rollbacks: {answer.rolled_back} of {answer.runs} good candidates, a chance of {percent(low)} to "
        f"{percent(high)}; falseRollbackRate promises at most {percent(promise)}"
    )
    sources = (found.plan.sources.get(one.metric) for one in answer.sights)
    if any(isinstance(one, HistogramSource) for one in sources):
        yield f"latencies are made up: log-normal with a median of {MEDIAN_MS:g} ms"
    yield from _holdback(found)
    yield from _limits(found)
    for name, why in found.left.items():
        yield f"not rehearsed: {name}: {why}"
    yield from _goal(found)
    yield from _reward(found)
    if found.plan.schedule.deciding:
        yield "before it decides, the guardrails are watched; the table shows their first hour"


def _holdback(found: Rehearsed) -> Iterator[str]:
    """What can be seen after the promotion, by the formulas that a step is judged by before it begins."""
    holdback = found.plan.spec.holdback
    if holdback is None or not found.traffic:
        return
    for one in assess(found.plan.policies.values(), found.traffic, schedule_of(holdback).stages):
        sees = f"a {one.seen:g}x increase" if one.seen else "not even a 50x increase"
        bad = percent(one.traffic.bad)
        yield (
            f"holdback: {holdback.weight}% with the version before for {human(holdback.seconds)} can see {sees} of the "
            f"{bad} of {one.metric}"
        )


def _limits(found: Rehearsed) -> Iterator[str]:
    """How long it takes after the promotion until a share of requests is seen to be over its limit."""
    spec = found.plan.spec
    for metric in (one for one in spec.watched if one.against is Against.LIMIT):
        policy, traffic = found.plan.policies.get(metric.name), found.traffic.get(metric.name)
        counted = isinstance(found.plan.sources.get(metric.name), RatioSource) and metric.limit is not None
        if policy is None or traffic is None or not (traffic.rate and counted):
            continue
        limit = metric.limit or 0.0
        seconds = requests_to_catch(policy, limit, 2.0) / traffic.rate
        seen = f"is seen within about {human(max(seconds, spec.limit_policy.interval if spec.limit_policy else 0.0))}"
        if seconds > metric.seen_within:
            window = human(metric.seen_within)
            seen = f"takes {human(seconds)} to be seen, and its window is {window}: write a longer one"
        yield f"watch: twice the limit of {metric.name}, {percent(2 * limit)}, {seen}"


def _goal(found: Rehearsed) -> Iterator[str]:
    """How long an experiment's goal takes, which nobody needs to simulate."""
    schedule = found.plan.schedule
    asked = schedule.goal
    if asked is None:
        return
    unit, effect = "users" if asked.goal.per_user else "requests", f"{asked.goal.effect:g}x"
    arms, share_of_arm = 1 + len(found.plan.spec.variants), schedule.stages[0].share
    goal = replace(asked.goal, alpha=asked.goal.alpha / arms)
    split = share_of_arm / (1.0 - (arms - 1) * share_of_arm)  # of what an arm and stable have together
    needed = [f"{count(candidate_needed(goal, share, split))} where it is {percent(share)}" for share in _SHARES]
    takes = f"takes about so many {unit} of the new version: {', '.join(needed)}"
    yield f"goal {asked.metric}: an effect of {effect} {takes}"


def _reward(found: Rehearsed) -> Iterator[str]:
    """How long it takes until a bandit's best arm is proven."""
    asked, arms = found.plan.schedule.reward, 2 + len(found.plan.spec.variants)
    if asked is None:
        return
    needed = [
        f"{count(max(asked.min_requests, requests_needed(share, _EARNS, arms, asked.stop_at)))} where "
        f"{percent(share)} are rewarded"
        for share in _SHARES
    ]
    takes = f"takes about so many requests of each of the {arms} arms: {', '.join(needed)}"
    yield f"reward {asked.metric}: that an arm earns {_EARNS:g}x as much as the others {takes}"


def _sees(stage: Stage, sights: Sequence[Sight], minimum_detectable_effect: float) -> str:
    """The sentence about one step and metric: what it can see, what it cannot, and whether that is what was asked."""
    seen, unseen = [one for one in sights if one.seen], [one for one in sights if not one.seen]
    said = f"step {stage.number}: {human(stage.bake)} {'with' if stage.copies else 'at'} {stage.asks} can see "
    if seen:
        said += f"in {sights[0].metric} {seen[0].trouble} ({_spread(seen[0])})"
        said += f", not {_or([one.trouble for one in unseen])}" if unseen else ""
    else:
        said += f"nothing in {sights[0].metric}, not even {unseen[-1].trouble}"
    too_short = increase(minimum_detectable_effect) in {one.trouble for one in unseen}
    return f"{said}: too short for minimumDetectableEffect" if too_short else said


def _spread(one: Sight) -> str:
    high = one.seconds.high
    rest = f"95% within {human(high)}" if math.isfinite(high) else f"{one.caught:.0%} within the bake"
    return f"median {human(one.seconds.median)}, {rest}"


def _takes(stage: Stage, passing: Passing) -> str:
    median, high = passing.seconds.median, passing.seconds.high
    if math.isinf(median):
        return f"step {stage.number}: no Pass can be expected"
    if high <= stage.bake:
        return f"step {stage.number}: a Pass by the end of its {human(stage.bake)}"
    late = f"19 of 20 within {human(high)}" if math.isfinite(high) else "some never"
    return f"step {stage.number}: a good candidate takes {human(median)} until its Pass ({late})"


def _or(words: Sequence[str]) -> str:
    return " or ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def _step(stage: Stage) -> str:
    return f"{stage.number}: {stage.asks} for {human(stage.bake)}"


def _when(seconds: float) -> str:
    return human(seconds) if math.isfinite(seconds) else "not in this step"


def _count(requests: float) -> str:
    return count(requests) if math.isfinite(requests) else "-"


def as_json(found: Rehearsed) -> JsonObject:
    """For programs: times in seconds, null for never."""

    def finite(value: float) -> float | None:
        return value if math.isfinite(value) else None

    answer = found.answer
    low, high = answer.false_rollback
    steps = []
    for stage, passing in zip(found.stages, answer.passing, strict=True):
        sights = [
            {
                "metric": one.metric,
                "candidate": one.trouble,
                "caughtInBake": one.caught,
                "caughtEver": one.before_promotion,
                "canSee": one.seen,
                "seconds": {"median": finite(one.seconds.median), "p95": finite(one.seconds.high)},
                "requests": {"median": finite(one.requests.median), "p95": finite(one.requests.high)},
            }
            for one in answer.sights
            if one.step == stage.number
        ]
        until = {"median": finite(passing.seconds.median), "p95": finite(passing.seconds.high)}
        shown = {"step": stage.number, "weight": stage.weight, "bake": stage.bake}
        shown |= {"copies": True} if stage.copies else {}
        steps.append({**shown, "secondsUntilPass": until, "sights": sights})
    return {
        "name": found.plan.name,
        "interval": found.plan.interval,
        "traffic": {name: {"rate": one.rate, "badShare": one.bad} for name, one in found.traffic.items()},
        "runs": answer.runs,
        "falseRollbackRate": {"runs": answer.rolled_back, "low": low, "high": high},
        "unfinished": answer.unfinished,
        "steps": steps,
        "notRehearsed": dict(found.left),
        "feasible": not found.cannot_work,
        "message": found.cannot_work or (found.feasible[1] if found.feasible else ""),
    }
