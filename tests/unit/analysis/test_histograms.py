"""How requests were distributed, as the evidence of each kind of metric has it, of either version."""

from dataclasses import replace

import pytest

from serin.analysis import engine
from serin.analysis.histograms import Distribution, distribution
from serin.analysis.types import Arm, DistributionTick, HistogramTick, Json, Policy, RatioTick, ReferenceTick, Tick
from serin.api.verdicts import Against, Severity


def evidence(tick: Tick, against: Against = Against.STABLE) -> dict[str, Json]:
    found: dict[str, Json] = {}
    for at in range(3):
        judged = engine.fold(Policy("m", Severity.MAJOR, against), found or None, _later(tick, at))
        found = dict(judged.evidence)
    return found


def _later(tick: Tick, at: int) -> Tick:
    return replace(tick, at=1_000.0 + at)  # type: ignore[call-arg]


def test_answers_by_label() -> None:
    found = evidence(DistributionTick(0.0, (97, 3), (900, 100), categories=("legit", "fraud")))
    candidate, stable = (distribution(found, baseline=one) for one in (False, True))
    assert candidate is not None
    assert stable is not None
    assert set(candidate.values) == {"legit", "fraud", "other"}
    assert sum(candidate.counts) == 300
    assert dict(zip(stable.values, stable.counts, strict=True))["legit"] >= 1800, "the first tick may count as other"
    assert not candidate.ordered


def test_answers_against_a_reference() -> None:
    tick = ReferenceTick(0.0, (97, 3, 0), (9700, 300, 0), (90, 9, 1), ("legit", "fraud", "other"))
    found = evidence(tick, Against.REFERENCE)
    assert distribution(found) == Distribution(("legit", "fraud", "other"), (291, 9, 0))
    assert distribution(found, baseline=True) == Distribution(("legit", "fraud", "other"), (270, 27, 3))


def test_answers_that_are_numbers_are_in_order() -> None:
    values = ("0.5", "1", "inf")
    live = evidence(ReferenceTick(0.0, (97, 3, 0), (970, 30, 0), (90, 9, 1), values), Against.REFERENCE)
    assert distribution(live) == Distribution(values, (291, 9, 0), ordered=True)
    beside = evidence(DistributionTick(0.0, (97, 3, 0), (900, 90, 10), ordered=True, categories=values))
    found = distribution(beside)
    assert found is not None
    assert (found.values, found.ordered, sum(found.counts)) == (values, True, 300)


def test_times_by_upper_bounds() -> None:
    found = evidence(HistogramTick(0.0, (0.05, 0.5), (5, 4, 1), (50, 40, 10)))
    assert distribution(found) == Distribution(("0.05", "0.5", "inf"), (15, 12, 3), ordered=True, unit="s")
    assert distribution(found, baseline=True) == Distribution(
        ("0.05", "0.5", "inf"), (150, 120, 30), ordered=True, unit="s"
    )


TIMES: dict[str, Json] = {"kind": "latency", "bounds": [0.05], "candidate": [5.0, 1.0], "unit": "s"}


def test_evidence_as_it_should_be_reads() -> None:
    assert distribution(TIMES) == Distribution(("0.05", "inf"), (5, 1), ordered=True, unit="s")


@pytest.mark.parametrize(
    "found",
    [
        None,
        {},
        {"kind": "moon"},
        {"kind": "drift"},
        {"kind": "latency", "bounds": "x"},
        {"kind": "drift", "categories": [], "candidate": [5.0]},
        TIMES | {"candidate": [0.0, 0.0]},
        TIMES | {"candidate": [5.0, -1.0]},
        TIMES | {"candidate": [5.0]},
        TIMES | {"bounds": [0.05, 0.05000000001], "candidate": [5.0, 1.0, 1.0]},
    ],
)
def test_evidence_that_does_not_read_has_none(found: dict[str, Json] | None) -> None:
    assert distribution(found) is None


def test_a_ratio_has_none() -> None:
    assert distribution(evidence(RatioTick(0.0, Arm(100, 1), Arm(1000, 10)))) is None
