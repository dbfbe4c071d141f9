"""Is what serves worse than it used to be: than in its first day, at this hour of the past weeks, or the day before?

NO ERROR GUARANTEE, and the message says so: past weeks are no control in the same seconds. How often a healthy version
is called worse was measured (docs/watching-bench.md).

A window's number is compared with the median of earlier windows. It is worse when it is both: more than `limit` times
the median (left out: 1.25), and further from it than FAR deviations. A deviation is what earlier windows have shown,
and what chance does to a share of so few requests, both together. The first is read from their absolute deviations from
the median: the third quartile of these by 1.15 is a standard deviation of normal numbers, and does not mind that a
quarter of the windows were bad. (Their median, the usual choice, is often far too small: windows of one week resemble
each other, so four weeks are four numbers. With it there were a fifth more false alarms.) Where the window now is as
long as several earlier ones, as with the parts of a first day, so many of them are taken together, and a deviation is
smaller by the root of their number.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Final

import numpy as np

from serin.analysis import text
from serin.analysis.evidence import Evidence, Kind, Unusable, check_count, check_counts, floats, number, word
from serin.analysis.types import CONCENTRATION, MetricVerdict, PastTick, Policy, Stretch
from serin.api.conditions import Reason
from serin.api.times import human
from serin.api.verdicts import Against, Severity, Verdict

TOLERANCE: Final = 1.25  # times what is usual that is let pass, unless the policy's limit says otherwise
FAR: Final = 5.0  # deviations
LEAST: Final = 6  # earlier windows, or nothing is usual yet
_QUARTILE: Final = 0.75
_NORMAL: Final = 1.1503  # that quartile of how far normal numbers are from their mean, in standard deviations
# How a deviation is underestimated that was read from few windows, many of which are neighbours.
_FEW: Final = 4.0


@dataclass(frozen=True, slots=True)
class State:
    """The newest window, what is usual, and since when it has been worse without a break.

    `at`: when the window ended, `slot`: which earlier windows were read, `worse_since`: 0 while it is not (unix
    seconds). `now`: the newest window. `usual`, `deviation`: of `points` earlier windows. `unit`: as in PastTick.
    """

    at: float
    now: Stretch
    slot: float
    usual: float = 0.0
    deviation: float = 0.0
    points: int = 0
    unit: str = ""
    worse_since: float = 0.0


def fold(policy: Policy, before: State | None, tick: PastTick) -> State:
    """The state after `tick`; the earlier windows are those of the state while the tick has none."""
    check_count("the requests of the window", tick.now.requests)
    if not math.isfinite(tick.now.value):
        raise Unusable(Reason.NOT_A_NUMBER, f"the window's number is {tick.now.value}")
    kept = before or State(tick.at, tick.now, -math.inf, unit=tick.unit)
    after = replace(kept, at=tick.at, now=tick.now, unit=tick.unit)
    if tick.earlier is not None:
        parts = max(1, round(policy.window / tick.length))
        after = _with_past(policy, replace(after, slot=tick.slot), tick.earlier, parts)
    if missing(policy, after):
        return after  # silence proves nothing, neither way
    since = after.worse_since or after.at
    return replace(after, worse_since=since if is_worse(policy, after) else 0.0)


def _with_past(policy: Policy, state: State, earlier: tuple[Stretch, ...], parts: int) -> State:
    """The state with what is usual. `parts`: how many of the earlier windows are as long as the one now."""
    known = [one for one in earlier if one.requests and one.coverage >= policy.least_coverage]
    if not known:
        return replace(state, points=0)
    middle = median(one.value for one in known)
    away = float(np.quantile([abs(one.value - middle) for one in known], _QUARTILE, method="lower")) / _NORMAL
    usual = median(_mean(known[start : start + parts]) for start in range(0, len(known), parts))
    deviation = away * (1.0 + _FEW / len(known)) / math.sqrt(parts)
    return replace(state, usual=usual, deviation=deviation, points=len(known))


def _mean(windows: Sequence[Stretch]) -> float:
    """What several windows are together, by their requests."""
    return sum(one.value * one.requests for one in windows) / sum(one.requests for one in windows)


def missing(policy: Policy, state: State) -> tuple[Reason, str] | None:
    """Why nothing can be said now; None when something can."""
    now, window = state.now, human(policy.window)
    if now.coverage < policy.least_coverage:
        share, least = text.percent(max(0.0, now.coverage)), text.percent(policy.least_coverage)
        return Reason.PARTIAL, f"there is data of {share} of the last {window}, and minCoverage is {least}"
    if not now.requests:
        return Reason.NO_TRAFFIC, f"no request was counted in the last {window}"
    if state.points < LEAST:
        return Reason.PARTIAL, f"nothing is usual yet: {state.points} of {LEAST} {_earlier(policy)} have data"
    return None


def is_worse(policy: Policy, state: State) -> bool:
    """Whether the newest window is worse than what is usual allows."""
    sign = -1.0 if policy.lower_is_worse else 1.0
    return sign * (state.now.value - allowed(policy, state)) > 0.0


def allowed(policy: Policy, state: State) -> float:
    """The worst number that is still good."""
    far = FAR * math.hypot(state.deviation, _chance(policy, state))
    times = TOLERANCE if policy.limit is None else policy.limit
    if policy.lower_is_worse:
        return min(state.usual / times, state.usual - far)
    return max(state.usual * times, state.usual + far)


def _chance(policy: Policy, state: State) -> float:
    """What chance does to a share of so many requests; 0 for what is no share."""
    if state.unit != SHARE or not state.now.requests:
        return 0.0
    requests = state.now.requests / policy.overdispersion
    share = min(max((state.usual + state.now.value) / 2.0, 0.5 / requests), 1.0)  # as if the two were one
    return math.sqrt(share * (1.0 - share) / requests)


SHARE: Final = "share"


def judge(policy: Policy, state: State) -> MetricVerdict:
    """The verdict now; the estimate is how many times what is usual."""
    if nothing := missing(policy, state):
        reason, message = nothing
        return MetricVerdict(policy.metric, policy.severity, Verdict.NO_DATA, reason, message, at=state.at)
    kind, reason, message = Verdict.PASS, Reason.NOT_WORSE, _sentence(policy, state)
    if state.worse_since:
        lasted = state.at - state.worse_since
        kind, reason = Verdict.INCONCLUSIVE, Reason.GATHERING_EVIDENCE
        if lasted >= policy.lasting:
            kind = Verdict.FAIL_CRITICAL if policy.severity is Severity.CRITICAL else Verdict.FAIL_MINOR
            reason = Reason.WORSE_THAN_PAST
        elif policy.lasting:
            message = f"{message}; for {human(lasted)} of {human(policy.lasting)}"
    return MetricVerdict(
        policy.metric,
        policy.severity,
        kind,
        reason,
        message,
        estimate=state.now.value / state.usual if state.usual else None,
        requests=int(state.now.requests),
        at=state.at,
        fails_at=(allowed(policy, state) / state.usual,) if state.usual else (),
    )


def _sentence(policy: Policy, state: State) -> str:
    window, requests = human(policy.window), text.count(state.now.requests)
    now, usual, good = (_written(one, state.unit) for one in (state.now.value, state.usual, allowed(policy, state)))
    whose = "the" if policy.against is Against.DAY else "stable's"
    what = {
        SHARE: f"{now} of the requests are bad"
        if policy.against is Against.DAY and policy.bad == "failed"
        else f"{now} of {whose} requests {policy.bad}",
        "s": f"95% of stable's requests took up to {now}",
        "ms": f"95% of stable's requests took up to {now}",
        CONCENTRATION: f"two of stable's answers are the same in {now} of cases",
    }.get(state.unit, f"stable's mean is {now}")
    least = "down to" if policy.lower_is_worse else "up to"
    of = "from" if policy.against is Against.SNAPSHOT else "median of"
    told = f"{what} ({requests} in the last {window}); {usual} is usual ({of} {state.points} {_earlier(policy)})"
    return f"{told}, {least} {good} is still good (no error guarantee)"


def _earlier(policy: Policy) -> str:
    if policy.against is Against.SNAPSHOT:
        return "parts of its first day"
    if policy.against is Against.DAY:
        return "windows around this hour of the day before"
    return "windows at this hour in the past four weeks"


def _written(value: float, unit: str) -> str:
    if unit in (SHARE, CONCENTRATION):
        return text.percent(max(0.0, value))
    return f"{text.number(value)} {unit}".strip()


def write(state: State) -> Evidence:
    """As JSON."""
    return {
        "kind": Kind.PAST.value,
        "at": state.at,
        "now": [float(state.now.requests), state.now.value, state.now.coverage],
        "slot": state.slot if math.isfinite(state.slot) else 0.0,
        "past": [state.usual, state.deviation, float(state.points)],
        "unit": state.unit,
        "worseSince": state.worse_since,
    }


def read(evidence: Evidence) -> State:
    """From JSON; raises `Unreadable`."""
    requests, value, coverage = floats(evidence, "now", 3)
    usual, deviation, points = floats(evidence, "past", 3)
    check_counts("past", [requests, points])
    return State(
        number(evidence, "at"),
        Stretch(int(requests), value, coverage),
        number(evidence, "slot"),
        usual,
        deviation,
        int(points),
        word(evidence, "unit"),
        number(evidence, "worseSince"),
    )
