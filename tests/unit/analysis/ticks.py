"""Short ways to write ticks and policies in the tests of the analysis."""

import json
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from scipy import stats

from serin.analysis import engine
from serin.analysis.evidence import Evidence
from serin.analysis.types import Arm, HistogramTick, Judgement, Policy, RatioTick, Tick
from serin.api.verdicts import Severity

PYTHON_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
ERRORS = Policy("errors", Severity.CRITICAL)
LATENCY = Policy("latency", Severity.MAJOR)
PREDICTION = Policy("prediction", Severity.MAJOR)
DECILES = stats.norm.ppf(np.arange(1, 10) / 10.0)


def ratio(at: float, candidate: tuple[int, int], stable: tuple[int, int]) -> RatioTick:
    """Each arm as (bad, requests), as in 41 of 803."""
    return RatioTick(at, Arm(candidate[1], candidate[0]), Arm(stable[1], stable[0]))


def feed(policy: Policy, ticks: Iterable[Tick], evidence: Evidence | None = None) -> Judgement:
    """Fold all ticks; between them the evidence goes through JSON, as it does through status."""
    judgement: Judgement | None = None
    for tick in ticks:
        judgement = engine.fold(policy, evidence, tick)
        evidence = json.loads(json.dumps(judgement.evidence, allow_nan=False))
    assert judgement is not None
    return judgement


def size(evidence: Evidence) -> int:
    """Bytes of the evidence as JSON."""
    return len(json.dumps(evidence, separators=(",", ":"), allow_nan=False))


def latencies(rng: np.random.Generator, requests: int, median: float = 0.1, slow: float = 0.0) -> tuple[int, ...]:
    """Bucket counts of log-normal latencies; a share `slow` of the requests takes ten times as long."""
    seconds = median * np.exp(0.504 * rng.standard_normal(requests))
    seconds = np.where(rng.random(requests) < slow, 10.0 * seconds, seconds)
    return histogram(seconds)


def histogram(seconds: np.ndarray) -> tuple[int, ...]:
    counts = np.bincount(np.searchsorted(PYTHON_BUCKETS, seconds), minlength=len(PYTHON_BUCKETS) + 1)
    return tuple(counts.tolist())


def latency(at: float, candidate: tuple[int, ...], stable: tuple[int, ...]) -> HistogramTick:
    return HistogramTick(at, PYTHON_BUCKETS, candidate, stable)


def scores(rng: np.random.Generator, requests: int, shift: float = 0.0) -> tuple[int, ...]:
    """Standard normal scores, `shift` standard deviations higher, in the buckets of the deciles."""
    counts = np.bincount(np.searchsorted(DECILES, rng.standard_normal(requests) + shift), minlength=10)
    return tuple(counts.tolist())


def aged(tick: HistogramTick, since: float, ready: float) -> HistogramTick:
    """The tick as of pods the newest of which was ready at `ready`, counted from `since` on."""
    return replace(tick, since=since, ready=ready)
