"""A pod that has just begun is slow for a while, whatever its version: which ticks of a latency are left out for that.

Series are counted per version and not per pod, so a tick is left out while the newest ready pod of either arm is
younger than `Policy.warmup`, or while the candidate's first traffic is. A pod that restarts becomes ready anew, so that
holds for it as well.

That must not blind the metric for ever: a pod that restarts every minute, or an autoscaler that never rests, would.
So what is left out is at most two warm-ups and half of the time since the first tick; beyond that, cold pods are how
this deployment runs, and count.
"""

from dataclasses import dataclass, replace
from typing import Final

from serin.analysis import text
from serin.analysis.decision import Conclusion
from serin.analysis.evidence import Evidence, floats
from serin.analysis.types import HistogramTick, Json, Policy
from serin.api.conditions import Reason
from serin.api.times import human
from serin.api.verdicts import Verdict

AT_FIRST: Final = 2.0  # warm-ups that may be left out, whatever the time since the first tick
LATER: Final = 0.5  # of that time, which may be left out on top


@dataclass(frozen=True, slots=True)
class WarmUp:
    """What was left out. `began`: when counting did; `first`: when the candidate's traffic did (both unix seconds).

    `seconds`, `requests`: left out so far; the candidate's requests.
    """

    began: float = 0.0
    first: float = 0.0
    seconds: float = 0.0
    requests: int = 0

    def as_list(self) -> list[Json]:
        """In the order of the fields."""
        return [self.began, self.first, self.seconds, self.requests]


def read(evidence: Evidence) -> WarmUp:
    """From JSON; raises `Unreadable`."""
    began, first, seconds, requests = floats(evidence, "warmUp", 4)
    return WarmUp(began, first, seconds, int(requests))


def leave_out(policy: Policy, before: WarmUp, tick: HistogramTick) -> tuple[WarmUp, bool]:
    """The state after `tick`, and whether its times are left out. Plain numbers, which have no unit, never are."""
    requests = sum(tick.candidate)
    if not policy.warmup or not tick.unit or tick.since > tick.at:
        return before, False
    since = tick.since
    first = before.first
    if not first and requests:
        # In a tick that is longer than a warm-up, nobody knows when.
        first = max(since, tick.at - policy.warmup)
    after = replace(before, began=before.began or since, first=first)
    cold = since < max(first, tick.ready) + policy.warmup
    seconds = after.seconds + tick.at - since
    allowed = AT_FIRST * policy.warmup + LATER * (tick.at - after.began)
    if not cold or (before.began and seconds > allowed):
        return after, False
    return replace(after, seconds=seconds, requests=after.requests + requests), True


def conclude(policy: Policy, state: WarmUp, failed: str, reason: Reason, than: str) -> Conclusion:
    """What is said while all that there is was left out. `failed`, `reason`, `than`: slower than what, and how bad."""
    seen = f"{text.count(state.requests)} candidate requests"
    if failed:
        message = f"the candidate is slower than {than}, which no warm-up explains ({seen})"
        return Verdict(failed), reason, message, 0
    first = f"the first {human(policy.warmup)} of a pod do not count for latency"
    return Verdict.INCONCLUSIVE, Reason.WARMING_UP, f"pods warm up: {first} ({seen} were left out)", None
