"""Does a larger share of the candidate's requests go wrong than of stable's? Errors, time-outs, wrong answers.

Guaranteed: if the candidate's odds of a bad request are at most TOLERANCE times stable's, `FailMinor` is ever reached
with probability at most `alpha_minor`, at any number of looks, under any weights and any common rate; the same for
CRITICAL_RATIO, `alpha_critical` and `FailCritical`. (Odds ratio and ratio of shares agree while failures are rare, and
always at 1.) This holds if requests fail independently given their tick. Where they do not, in bursts or by one bad
pod, the log evidence is divided by `overdispersion`, which is a heuristic.

Formula: per tick e(psi) = L(psi) / L(psi0) with L of Fisher's non-central hypergeometric distribution given the tick's
totals; averaged over psi in 2, 5 and 10 times psi0 and over the moment at which the effect begins (sequential.py). What
is worse by less than about two fifths looks more like no difference than like 2 times, so it is never called worse; who
wants to see less than a doubling says so with `minimum_detectable_effect`, which then takes the place of the 2. (These
sizes and weights are chosen by simulation over 1.5, 3 and 10, which find a rate of five times later and raise no fewer
false alarms.)

Pass is a statement about now: it is given while there is enough evidence that the candidate is *not*
`minimum_detectable_effect` times worse, and taken back when that evidence falls, which it can do quickly because it is
capped. A failure is kept.
The interval is an asymptotic confidence sequence (Robbins' normal mixture around the Mantel-Haenszel ratio): valid at
any look, but only as good as the normal approximation, so it is for display only.
"""

import math
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from serin.analysis import text
from serin.analysis.decision import (
    CAP,
    CRITICAL_RATIO,
    FLOOR,
    PASS_THRESHOLD,
    TOLERANCE,
    Conclusion,
    conclude,
    failure,
)
from serin.analysis.evidence import Evidence, Kind, check_arm, counts, floats, number, proven
from serin.analysis.hypergeometric import Floats, log_likelihood
from serin.analysis.power import (
    bernoulli_moments,
    expected_rate,
    first_passage,
    log_likelihood_ratio_moments,
    requests_to_catch,
)
from serin.analysis.sequential import PRIOR, Mixture, advance, begin
from serin.analysis.types import Json, Lines, MetricVerdict, Policy, RatioTick
from serin.api.conditions import Reason

SMALL, LARGE, HUGE = 2.0, 5.0, 10.0  # effects that evidence is gathered for, times the ratio that the null allows
ENOUGH = 20  # requests that are judged together at least: given its totals, a table of one request says nothing
ONE_SIDED_MOST = 5000  # requests after which a table without one of the arms is dropped
TOO_WIDE = 100.0  # an interval whose ends are further apart than this says nothing and is left out of the sentence
INTERVAL_SCALE = 0.7  # standard deviation of the log ratio at which the interval is tightest: about a doubling


@dataclass(frozen=True, slots=True)
class Counts:
    """Requests and bad requests of both arms."""

    candidate: int
    candidate_bad: int
    stable: int
    stable_bad: int

    def plus(self, other: "Counts") -> "Counts":
        """Both together."""
        return Counts(
            self.candidate + other.candidate,
            self.candidate_bad + other.candidate_bad,
            self.stable + other.stable,
            self.stable_bad + other.stable_bad,
        )

    def as_list(self) -> list[Json]:
        """In the order of the fields."""
        return [self.candidate, self.candidate_bad, self.stable, self.stable_bad]

    @property
    def candidate_share(self) -> float:
        """Share of the candidate's requests that were bad."""
        return self.candidate_bad / self.candidate if self.candidate else 0.0

    @property
    def stable_share(self) -> float:
        """Share of stable's requests that were bad."""
        return self.stable_bad / self.stable if self.stable else 0.0


NOTHING = Counts(0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class State:
    """What is kept between ticks.

    `total`: all counts; `pending`: those of ticks too small to judge. `critical`, `minor`: evidence against the two
    nulls. `better`: log evidence that the candidate is not `minimum_detectable_effect` times worse than stable; `low`:
    the same against a share of `minimum_detectable_effect` times FLOOR. `sums`: Mantel-Haenszel numerator, denominator
    and variance. `failed`: the worst verdict so far, "" when there was none.
    """

    at: float
    total: Counts
    pending: Counts
    critical: Mixture
    minor: Mixture
    better: float
    low: float
    sums: tuple[float, float, float]
    failed: str


def fold(policy: Policy, before: State | None, tick: RatioTick) -> State:
    """The state after `tick`. Raises `Unusable` when the tick's numbers make no sense."""
    state = before or empty()
    new = _counts(tick)
    pending, total = state.pending.plus(new), state.total.plus(new)
    low = not_worse_than_floor(policy, state.low, new.candidate, new.candidate_bad)
    if not _can_be_judged(pending):
        kept = NOTHING if pending.candidate + pending.stable >= ONE_SIDED_MOST else pending
        return replace(state, at=tick.at, total=total, pending=kept, low=low)
    log_critical, log_minor, log_better = _log_e(policy, pending)
    critical = advance(state.critical, log_critical, PRIOR, policy.hazard)
    minor = advance(state.minor, log_minor, PRIOR, policy.hazard)
    return State(
        at=tick.at,
        total=total,
        pending=NOTHING,
        critical=critical,
        minor=minor,
        better=min(state.better + log_better, PASS_THRESHOLD + CAP),
        low=low,
        sums=_mantel_haenszel(state.sums, pending),
        failed=failure(policy, state.failed, critical.log_e, minor.log_e),
    )


def judge(policy: Policy, state: State) -> MetricVerdict:
    """The verdict now."""
    estimate, low, high = interval(policy, state)
    kind, reason, message, needed = _conclusion(policy, state, describe(state.total, estimate, low, high, policy.bad))
    log_e = max(state.critical.log_e, state.minor.log_e)
    numbers = (log_e, estimate, low, high, state.total.candidate, needed, state.at)
    lines: Lines = {"fails_at": (TOLERANCE,), "passes_at": policy.minimum_detectable_effect}
    return MetricVerdict(policy.metric, policy.severity, kind, reason, message, *numbers, **lines)


def _conclusion(policy: Policy, state: State, sentence: str) -> Conclusion:
    cleared = f"not {text.factor(policy.minimum_detectable_effect)} times worse"
    received, reason = state.total.candidate > 0, Reason.WORSE_THAN_STABLE
    return conclude(received, state.failed, reason, lambda: _needed(policy, state), sentence, cleared)


def describe(total: Counts, estimate: float | None, low: float | None, high: float | None, what: str) -> str:
    """One sentence with both shares, the counts behind them and their ratio; `what` happened to the bad requests."""
    candidate = f"({text.count(total.candidate_bad)} of {text.count(total.candidate)})"
    stable = f"({text.count(total.stable_bad)} of {text.count(total.stable)})"
    sentence = f"{text.percent(total.candidate_share)} of the candidate's requests {what} {candidate}, "
    sentence += f"stable's {text.percent(total.stable_share)} {stable}"
    if estimate is None or low is None or high is None or high > TOO_WIDE * low:
        return sentence
    return f"{sentence}: {text.times(estimate, low, high)} as many"


def interval(policy: Policy, state: State) -> tuple[float | None, float | None, float | None]:
    """Ratio of the shares of bad requests, with bounds that each miss it ever with probability `alpha_minor`.

    Mantel-Haenszel over ticks, so that weights and common rates may change. Before both arms have failed once,
    the bounds come from adding half a failure to each. (None, None, None) while there is no failure at all.
    Source: Greenland & Robins 1985 (variance); Robbins 1970, Waudby-Smith et al. 2024 (normal mixture).
    """
    numerator, denominator, spread = state.sums
    if min(state.sums) <= 0.0:
        return crude_interval(policy, state.total)
    return _bounds(policy, numerator / denominator, spread / (numerator * denominator))


def crude_interval(policy: Policy, total: Counts) -> tuple[float | None, float | None, float | None]:
    """The same of counts taken together: half a bad request is added to each arm, unless both have some."""
    if total.candidate_bad + total.stable_bad == 0 or not (total.candidate and total.stable):
        return None, None, None
    half = 0.0 if total.candidate_bad and total.stable_bad else 0.5
    candidate, stable = total.candidate_bad + half, total.stable_bad + half
    ratio = (candidate / (total.candidate + half)) / (stable / (total.stable + half))
    variance = max(1.0 / candidate - 1.0 / (total.candidate + half), 0.0)
    variance += max(1.0 / stable - 1.0 / (total.stable + half), 0.0)
    if not total.candidate_bad:
        return 0.0, 0.0, _bounds(policy, ratio, variance)[2]
    return _bounds(policy, ratio, variance)


def _bounds(policy: Policy, ratio: float, variance: float) -> tuple[float, float, float]:
    """The ratio with its always-valid bounds; finite whatever the counts."""
    radius = mixture_radius(max(variance, 1e-12) * policy.overdispersion, policy.alpha_minor, INTERVAL_SCALE)
    return ratio, ratio * math.exp(-radius), ratio * math.exp(min(radius, 300.0))


def mixture_radius(variance: float, alpha: float, scale: float) -> float:
    """Half-width of Robbins' normal-mixture confidence sequence, each side missing with probability `alpha`.

    `variance`: of the estimate now; `scale`: standard deviation of the mixture.
    """
    prior = scale**2
    ratio = (variance + prior) / variance
    return math.sqrt(2.0 * variance * (variance + prior) / prior * (math.log(0.5 / alpha) + 0.5 * math.log(ratio)))


def empty() -> State:
    """No tick yet."""
    return State(0.0, NOTHING, NOTHING, begin(PRIOR), begin(PRIOR), 0.0, 0.0, (0.0, 0.0, 0.0), "")


def write(state: State) -> Evidence:
    """As JSON."""
    return {
        "kind": Kind.RATIO.value,
        "at": state.at,
        "total": state.total.as_list(),
        "pending": state.pending.as_list(),
        "critical": state.critical.as_list(),
        "minor": state.minor.as_list(),
        "better": state.better,
        "low": state.low,
        "sums": list(state.sums),
        "failed": state.failed,
    }


def read(evidence: Evidence) -> State:
    """From JSON; raises `Unreadable`."""
    numerator, denominator, spread = floats(evidence, "sums", 3)
    return State(
        at=number(evidence, "at"),
        total=Counts(*map(int, counts(evidence, "total", 4))),
        pending=Counts(*map(int, counts(evidence, "pending", 4))),
        critical=Mixture.of(floats(evidence, "critical", PRIOR.size + 1)),
        minor=Mixture.of(floats(evidence, "minor", PRIOR.size + 1)),
        better=number(evidence, "better"),
        low=number(evidence, "low"),
        sums=(numerator, denominator, spread),
        failed=proven(evidence),
    )


def _counts(tick: RatioTick) -> Counts:
    candidate, stable = tick.candidate, tick.stable
    check_arm("the candidate", candidate)
    check_arm("stable", stable)
    return Counts(int(candidate.requests), int(candidate.bad), int(stable.requests), int(stable.bad))


def _can_be_judged(counts: Counts) -> bool:
    """Whether the counts make a table. Looks at requests alone: looking at bad ones would bias the evidence."""
    return min(counts.candidate, counts.stable) >= 1 and counts.candidate + counts.stable >= ENOUGH


@lru_cache(maxsize=256)
def _log_odds(tolerance: float, critical_ratio: float, minimum_detectable_effect: float) -> Floats:
    """Logarithms of the odds ratios that a table is judged at: 1, the detectable effect, two nulls, alternatives."""
    effects = np.array([max(1.05, min(SMALL, minimum_detectable_effect)), LARGE, HUGE])
    nulls = [1.0, minimum_detectable_effect, critical_ratio, tolerance]
    ratios: Floats = np.concatenate([nulls, critical_ratio * effects, tolerance * effects])
    return np.log(ratios)


def _log_e(policy: Policy, counts: Counts) -> tuple[Floats, Floats, float]:
    """Log e-values of one table: against the critical null, against the minor one, and for not being worse."""
    log_odds = _log_odds(TOLERANCE, CRITICAL_RATIO, policy.minimum_detectable_effect)
    bad = counts.candidate_bad + counts.stable_bad
    logs = log_likelihood(counts.candidate, counts.stable, bad, counts.candidate_bad, log_odds)
    logs = logs / policy.overdispersion
    return logs[4:7] - logs[2], logs[7:10] - logs[3], float(logs[0] - logs[1])


@lru_cache(maxsize=256)
def floor_gains(minimum_detectable_effect: float) -> tuple[float, float]:
    """Log evidence per bad and per good request that a share is under `minimum_detectable_effect` times FLOOR.

    One-arm Bernoulli likelihood ratio of a share of half of FLOOR: valid without stable, needed where nothing fails.
    """
    null, alternative = min(0.5, minimum_detectable_effect * FLOOR), 0.5 * FLOOR
    return math.log(alternative / null), math.log((1.0 - alternative) / (1.0 - null))


def not_worse_than_floor(policy: Policy, before: float, requests: float, bad: float) -> float:
    """Log evidence that the candidate's share is under `minimum_detectable_effect` times FLOOR, after more requests."""
    hit, miss = floor_gains(policy.minimum_detectable_effect)
    gain = bad * hit + (requests - bad) * miss
    return min(before + gain / policy.overdispersion, PASS_THRESHOLD + CAP)


def _mantel_haenszel(sums: tuple[float, float, float], counts: Counts) -> tuple[float, float, float]:
    """Numerator, denominator and variance sum after one more table."""
    requests = counts.candidate + counts.stable
    bad = counts.candidate_bad + counts.stable_bad
    return (
        sums[0] + counts.candidate_bad * counts.stable / requests,
        sums[1] + counts.stable_bad * counts.candidate / requests,
        sums[2]
        + (counts.candidate * counts.stable * bad - counts.candidate_bad * counts.stable_bad * requests) / requests**2,
    )


def _needed(policy: Policy, state: State) -> int | None:
    """Candidate requests until a Pass can be expected; 0: now; None: unknown."""
    total = state.total
    if max(state.better, state.low) >= PASS_THRESHOLD:
        return 0
    if not total.stable:
        return None
    share = total.candidate / (total.candidate + total.stable)
    seen = max(total.stable_share, FLOOR)
    if total.candidate >= requests_to_catch(policy, seen, share, policy.minimum_detectable_effect):
        return 0
    soonest = _outlook(policy, state, share)
    return None if math.isinf(soonest) else max(1, math.ceil(soonest))


def _outlook(policy: Policy, state: State, share: float) -> float:
    """Candidate requests until the earliest of the three ways to a Pass, if nothing is wrong; inf: none is in sight.

    From the evidence so far, at the rate of both arms together.
    """
    total = state.total
    requests, bad = total.candidate + total.stable, total.candidate_bad + total.stable_bad
    rate = expected_rate(requests, bad)
    gains, effect = floor_gains(policy.minimum_detectable_effect), policy.minimum_detectable_effect
    better, low = ((PASS_THRESHOLD - one) * policy.overdispersion for one in (state.better, state.low))
    return min(
        requests_to_catch(policy, max(rate, FLOOR), share, effect) - total.candidate,
        first_passage(*log_likelihood_ratio_moments(rate, share, 1.0, effect), better),
        first_passage(*bernoulli_moments(rate, gains), low),
    )
