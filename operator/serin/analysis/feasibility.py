"""Does the traffic suffice for the policy? Closed formulas, in microseconds, for the start of every rollout.

Steps hold until their evidence is a Pass, so too little traffic never promotes a bad version: it makes the rollout
take longer than its steps say. This module estimates by how much, before the first request. When a regression will be
caught depends on when it begins, and is left to the simulation (rehearsal.py).

The first step is the one that waits: what has passed once stays passed while there is no evidence against it, and later
steps only need fresh requests, or their own `min_requests`. Formulas are those of power.py; a test compares them with
simulated rollouts (good to about a third).
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from serin.analysis import power, slo, text
from serin.analysis.decision import FLOOR, PASS_THRESHOLD
from serin.analysis.ratio import floor_gains
from serin.analysis.traffic import Stage, Traffic
from serin.analysis.types import Policy
from serin.api.times import human
from serin.api.verdicts import Against

# How many times as long as its steps say a rollout may be expected to take.
PATIENCE: Final = 2.0
_POWER: Final = 0.8
_INCREASES: Final = (1.5, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0)


@dataclass(frozen=True, slots=True)
class StepFeasibility:
    """What one step gathers in its bake, and what it needs before it can end; candidate requests.

    `metric`: the one that needs most. `seen`: the smallest increase that the bake can see; None: not even 50 times.
    """

    stage: Stage
    metric: str
    traffic: Traffic
    gathered: float
    needed: float
    seen: float | None

    @property
    def seconds(self) -> float:
        """How long the step is expected to take."""
        if self.needed <= self.gathered:
            return self.stage.bake
        rate = self.traffic.rate * self.stage.share
        return self.needed / rate if rate else math.inf


def requests_until_pass(policy: Policy, bad: float, share: float) -> float:
    """Candidate requests until half of the healthy candidates have passed; inf: never.

    `bad`: stable's share of bad requests; `share`: the candidate's of what both are asked. The earliest of the three
    ways to a Pass: evidence against `minimum_detectable_effect`, next to no bad requests, enough requests to have seen
    it.
    """
    effect = policy.minimum_detectable_effect
    if policy.against is Against.LIMIT:
        return _until_pass_of_limit(policy, bad) if policy.limit else math.inf
    return min(
        power.requests_to_pass(policy, bad, share, PASS_THRESHOLD),
        power.requests_to_catch(policy, max(bad, FLOOR), share, effect),
        power.bernoulli_crossing(bad, floor_gains(effect), PASS_THRESHOLD * policy.overdispersion, 0.5),
    )


def _until_pass_of_limit(policy: Policy, bad: float) -> float:
    limit = policy.limit or 0.0
    missing = (PASS_THRESHOLD + math.log(slo.BETTER.size)) * policy.overdispersion
    by_evidence = [
        power.bernoulli_crossing(bad, (math.log(better), math.log((1 - better * limit) / (1 - limit))), missing, 0.5)
        for better in slo.BETTER.tolist()
    ]
    return min(*by_evidence, slo.requests_to_catch(policy, limit, policy.minimum_detectable_effect))


def smallest_seen(policy: Policy, bad: float, share: float, requests: float) -> float | None:
    """The smallest of 1.5 to 50 times that is caught within these candidate requests in four of five cases."""
    for factor in _INCREASES:
        worse = factor * bad
        if not 0.0 < worse < 1.0:
            return None
        if policy.against is Against.LIMIT:
            limit = policy.limit or 0.0
            odds = worse / (1.0 - worse) / (limit / (1.0 - limit)) if 0.0 < limit < 1.0 else 0.0
            needed = slo.requests_to_catch(policy, limit, odds, _POWER) if odds > 1.0 else math.inf
        else:
            odds = worse / (1.0 - worse) / (bad / (1.0 - bad))
            needed = power.requests_to_catch(policy, bad, share, odds, _POWER)
        if needed <= requests:
            return factor
    return None


def assess(
    policies: Iterable[Policy], traffic: Mapping[str, Traffic], stages: Sequence[Stage]
) -> tuple[StepFeasibility, ...]:
    """One for each step. `policies`: of ratio metrics that can roll back; those without traffic are left out."""
    known = [(one, traffic[one.metric]) for one in policies if one.metric in traffic]
    if not known:
        return ()
    return tuple(_step(known, stage, first=stage is stages[0]) for stage in stages)


def _step(known: Sequence[tuple[Policy, Traffic]], stage: Stage, *, first: bool) -> StepFeasibility:
    found = []
    for policy, seen in known:
        gathered = seen.rate * stage.share * stage.bake
        needed = requests_until_pass(policy, seen.bad, stage.part) if first else 0.0
        smallest = smallest_seen(policy, seen.bad, stage.part, gathered)
        needed = max(needed, float(stage.min_requests))
        found.append(StepFeasibility(stage, policy.metric, seen, gathered, needed, smallest))
    return max(found, key=lambda one: one.seconds)


def shortfall(found: Sequence[StepFeasibility], longest: float | None) -> tuple[bool, str]:
    """Whether the traffic is too low for these steps, and a sentence that says so, or why not.

    `longest`: seconds after which the rollout is rolled back (maxDuration). The numbers in the sentence are rounded to
    two digits, so that it does not change with every request.
    """
    planned, expected = sum(one.stage.bake for one in found), sum(one.seconds for one in found)
    worst = max(found, key=lambda one: one.seconds - one.stage.bake)
    over = longest is not None and expected > longest
    if over or (planned > 0.0 and expected > PATIENCE * planned):
        return True, _too_low(worst, longest if over else None)
    estimate = f"at {_rate(worst.traffic)} the steps are expected to take about {_time(expected)}"
    return False, f"{estimate} ({human(planned)} if no step has to wait for requests)"


def _too_low(one: StepFeasibility, longest: float | None) -> str:
    stage, metric = one.stage, one.metric
    step = f"step {stage.number} ({stage.asks} for {human(stage.bake)})"
    if not one.traffic.rate:
        return f"nobody sends requests: {step} gathers none, and without any {metric} cannot pass"
    gathers = f"at {_rate(one.traffic)} {step} gathers {text.number(_two(one.gathered))} candidate requests"
    sees = f", which can see a {one.seen:g}x increase of its {text.percent(one.traffic.bad)}" if one.seen else ""
    if math.isinf(one.needed):
        return f"{gathers}{sees}, and no number of them lets {metric} pass: leave stable more of the traffic"
    takes = f"{metric} takes about {text.count(_two(one.needed))} to pass, {_time(one.seconds)}"
    limit = f" (maxDuration is {human(longest)})" if longest is not None else ""
    instead = "raise the weight, lengthen the bake, or raise analysis.minimumDetectableEffect"
    return f"{gathers}{sees}; {takes}{limit}: {instead}"


def _rate(traffic: Traffic) -> str:
    return f"{_two(traffic.rate):g} requests/s"


def _time(seconds: float) -> str:
    """A duration in two digits, like the estimate itself."""
    return human(_two(seconds)) if seconds < 3600 else human(60 * _two(seconds / 60))


def _two(value: float) -> float:
    """Two significant digits."""
    return float(f"{value:.2g}")
