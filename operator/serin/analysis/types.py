"""What goes into the analysis engine and what comes out of it.

A *tick* is what one look at Prometheus found: counts since the look before, never rates over windows that overlap.
Evidence multiplies over ticks; a *verdict* is what it proves so far. Nothing here knows where the counts come from.
"""

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypedDict

from serin.api.conditions import Reason
from serin.api.verdicts import Against, Severity, Verdict

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]


_LARGEST: Final = sys.float_info.max


def known_number(evidence: Mapping[str, Json] | None, key: str) -> float | None:
    """One finite number of evidence; None when there is no evidence, or it does not say. Evidence can be edited."""
    return None if evidence is None else finite(evidence.get(key))


def finite(value: object) -> float | None:
    """The value as a number; None when it is none, or not one that a float can be."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) <= _LARGEST else None


# Why a look found nothing that counts. Silence is never success, and never failure either.
NoDataReason = Literal[
    Reason.NO_TRAFFIC,
    Reason.TARGET_DOWN,
    Reason.SERIES_ABSENT,
    Reason.STALE,
    Reason.NOT_A_NUMBER,
    Reason.PROMETHEUS_UNREACHABLE,
    Reason.QUERY_FAILED,
    Reason.PARTIAL,
]


@dataclass(frozen=True, slots=True)
class NoData:
    """A look that found nothing that counts; `message` is a sentence for users.

    `at`: unix seconds up to which it is certain that there was nothing to count, so that the next look starts there;
    None: the next look starts where this one did.
    """

    reason: NoDataReason
    message: str
    at: float | None = None


@dataclass(frozen=True, slots=True)
class Arm:
    """Requests of one version in one tick, and how many of them were bad (both counts, bad <= requests)."""

    requests: int
    bad: int


@dataclass(frozen=True, slots=True)
class RatioTick:
    """Requests and bad requests of both arms since the tick before. `at`: unix seconds of the newest sample counted."""

    at: float
    candidate: Arm
    stable: Arm


@dataclass(frozen=True, slots=True)
class SlicedTick:
    """The same of all requests, and by the values of a label, the candidate's first: those that had any."""

    at: float
    whole: RatioTick
    slices: Mapping[str, tuple[Arm, Arm]]


@dataclass(frozen=True, slots=True)
class HistogramTick:
    """Requests per bucket (not cumulative) of both arms since the tick before.

    `bounds`: upper bounds of all buckets but the last, whose bound is infinite; both arms have len(bounds) + 1 counts.
    `unit` of the bounds: "s", "ms", or "" for a plain number. `since`: from when on it was counted, and no earlier than
    the candidate's present share of the traffic; `ready`: when the newest pod of either arm became ready (unix
    seconds). Without them there is no warm-up.
    """

    at: float
    bounds: tuple[float, ...]
    candidate: tuple[int, ...]
    stable: tuple[int, ...]
    unit: str = "s"
    since: float = math.inf
    ready: float = -math.inf


@dataclass(frozen=True, slots=True)
class ValueTick:
    """The value of a user's own PromQL at `at` (unix seconds)."""

    at: float
    value: float


@dataclass(frozen=True, slots=True)
class DistributionTick:
    """Requests per category or bucket of the model's answers, of both arms, since the tick before.

    `ordered`: the entries are buckets of a number, in ascending order. `categories`: the entries' names, none of them
    OTHER; upper bounds with "inf" for the last one when `ordered`. They may differ from tick to tick. Without names the
    entries are always the same in the same order.
    """

    at: float
    candidate: tuple[int, ...]
    stable: tuple[int, ...]
    ordered: bool = False
    categories: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ReferenceTick:
    """Live requests per category or bucket since the tick before, and the frozen reference's counts (all of them).

    `stable`: the same of the stable arm, to tell data drift from a candidate that answers differently; empty when
    unknown. `categories`: the entries' names; other names than before are another reference, and new evidence.
    """

    at: float
    live: tuple[int, ...]
    reference: tuple[int, ...]
    stable: tuple[int, ...] = ()
    categories: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Moments:
    """A number that requests carry (cost, tokens, reward): how many carried it, and its sum."""

    requests: int
    total: float


MEAN: Final = "mean"
CONCENTRATION: Final = "concentration"  # how often two answers are the same, from 0 to 1


@dataclass(frozen=True, slots=True)
class MeanTick:
    """The numbers of both arms since the tick before. `of`: what the number is, MEAN or CONCENTRATION."""

    at: float
    candidate: Moments
    stable: Moments
    of: str = MEAN


@dataclass(frozen=True, slots=True)
class SplitTick:
    """Requests that each snapshot received since the tick before, and the router's weights for them (percent)."""

    at: float
    requests: tuple[int, ...]
    weights: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Stretch:
    """What one window held: how many requests, the number measured on them, and the share of it that has data."""

    requests: int
    value: float
    coverage: float


@dataclass(frozen=True, slots=True)
class PastTick:
    """The window that ends at `at` (unix seconds), and earlier windows to compare it with.

    `slot`: which earlier windows are meant (unix seconds). `earlier`: None while those that were read before are still
    the right ones; each is `length` seconds long, and the window now as long or longer. `unit` of the numbers: "share"
    (of bad requests), "s" or "ms" (95% of the requests took no longer), CONCENTRATION, or "" for a plain number.
    """

    at: float
    now: Stretch
    slot: float
    earlier: tuple[Stretch, ...] | None
    unit: str = ""
    length: float = math.inf


Counted = (
    RatioTick
    | SlicedTick
    | HistogramTick
    | ValueTick
    | DistributionTick
    | ReferenceTick
    | MeanTick
    | SplitTick
    | PastTick
)
Tick = Counted | NoData


# How much slower than stable is let pass, unless the metric says otherwise: a share of its time, and seconds. A fifth
# is what people who wait can hardly tell; 5 ms is what a pod's place and neighbours do to fast models.
TOLERANCE = 0.2
TOLERANCE_LEAST = 0.005

OTHER = "other"  # the category of all answers that have none of their own


@dataclass(frozen=True, slots=True)
class Policy:
    """How one metric is judged. Probabilities and ratios are plain floats: the API layer has parsed the strings.

    `alpha_critical`, `alpha_minor`: this metric's part of the promise about false rollbacks, over the whole rollout.
    `minimum_detectable_effect`: a Pass had the power to see a ratio this large. `limit`: the absolute limit
    (Against.LIMIT), a ratio for ratio metrics, in the metric's unit for values (`minimum`/`maximum` for values) and for
    histograms, where 99% of the requests must be no slower; for distributions the PSI that counts as drift (left out:
    0.1; between the arms, what is proven counts from 0.01); for means how many times stable's is still good (left out:
    1.1). `consecutive`: raw values only. `overdispersion`: log evidence is divided by this, 1 or more.
    `expected_ticks`: of the whole rollout, 1 or more. `lower_is_worse`: for means, such as a reward. Latency alone:
    `tolerance` (0.2: 20% more than stable's time) and `tolerance_least` (seconds) are let pass, the larger of them;
    `warmup`: seconds for which a new pod's times do not count. `slowest_pod`, of means as well: how many times as much
    the worst of stable's pods took as its others, 1 or more; that much is let pass on top. Against the past alone:
    `limit` is how many times what is usual is still good (left out: 1.25), `window` seconds are compared, of which
    `least_coverage` (a share) must have data, and what is worse counts after `lasting` seconds. `by`: the label by
    whose values requests are judged too, "" for none; a value counts from `slice_requests` on. `bad`: what the requests
    did that count against a limit, in words.
    """

    metric: str
    severity: Severity
    against: Against = Against.STABLE
    alpha_critical: float = 0.01
    alpha_minor: float = 0.05
    minimum_detectable_effect: float = 2.0
    limit: float | None = None
    minimum: float | None = None
    maximum: float | None = None
    consecutive: int = 1
    overdispersion: float = 1.0
    expected_ticks: int = 60
    lower_is_worse: bool = False
    tolerance: float = TOLERANCE
    tolerance_least: float = TOLERANCE_LEAST
    warmup: float = 0.0
    slowest_pod: float = 1.0
    window: float = 3600.0
    least_coverage: float = 0.8
    lasting: float = 0.0
    by: str = ""
    slice_requests: int = 100
    bad: str = "failed"

    @property
    def hazard(self) -> float:
        """The chance that a change begins in a given tick: one change is expected in a rollout."""
        return 1.0 / self.expected_ticks


@dataclass(frozen=True, slots=True)
class MetricVerdict:
    """One metric's verdict, with the numbers behind it.

    `reason` and the sentence `message` also make the condition and the event. `log_e`: natural logarithm of the
    strongest evidence against the candidate. `estimate`, `low`, `high`: candidate-to-stable ratio (or the value itself)
    and its interval; None when nothing can be said. `requests`: candidate requests so far; `needed`: how many more of
    them before a Pass can be expected, None when unknown. `at`: unix seconds of the last sample counted. `unit` of the
    estimate and its interval: "x" (times stable's), "PSI", or "" for a plain number. `both_moved`: it is shown that
    stable has left the reference as well, so that the version is not to blame. `fails_at`: of the estimate, where a
    failure begins (of a value with two limits: both); `passes_at`: what a Pass rules out, None when nothing.
    """

    metric: str
    severity: Severity
    verdict: Verdict
    reason: Reason
    message: str
    log_e: float = 0.0
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    requests: int = 0
    needed: int | None = None
    at: float | None = None
    unit: str = "x"
    both_moved: bool = False
    fails_at: tuple[float, ...] = ()
    passes_at: float | None = None


class Lines(TypedDict, total=False):
    """The lines of a MetricVerdict."""

    fails_at: tuple[float, ...]
    passes_at: float


@dataclass(frozen=True, slots=True)
class Judgement:
    """The engine's answer to one tick: the evidence to keep (JSON, about 1 KiB at most) and its verdict."""

    evidence: Mapping[str, Json]
    verdict: MetricVerdict
