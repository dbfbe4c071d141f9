"""Overdispersion from Prometheus' series: which minutes and pods are laid side by side."""

from dataclasses import replace

import numpy as np
import pytest

from serin.analysis.dispersion import UNKNOWN
from serin.api.spec import Metric, RatioQuery, TemplateRef
from serin.api.verdicts import Against, Severity
from serin.metrics.answers import Series
from serin.metrics.pods import dispersions, queries
from serin.metrics.sources import RatioSource, resolve
from tests.catalog import CATALOG

OWNER = ("shop", "fraud", "fraud-a")
LABELS = {"serin_namespace": "shop", "serin_model_deployment": "fraud", "serin_snapshot": "fraud-a"}
HOUR = tuple(1_800_000_000.0 + 60.0 * minute for minute in range(61))


def series(counts: "np.ndarray[tuple[int, int], np.dtype[np.int64]]") -> list[Series]:
    """One series per pod."""
    return [
        Series({**LABELS, "serin_slot": str(pod)}, HOUR, tuple(float(one) for one in (7, *(7 + row.cumsum()))))
        for pod, row in enumerate(counts)
    ]


def measured(bad: "np.ndarray[tuple[int, int], np.dtype[np.int64]]", requests: int = 1000) -> float:
    total = np.full_like(bad, requests)
    return dispersions(series(total), series(bad), "serin_slot", [OWNER])[OWNER]


def test_pods_that_fail_by_chance_alone_have_none() -> None:
    assert measured(np.random.default_rng(1).binomial(1000, 0.01, (4, 60))) == 1.0


def test_failures_in_bursts_of_five_are_five_times_as_uneven() -> None:
    assert measured(5 * np.random.default_rng(2).binomial(1000, 0.002, (4, 60))) == pytest.approx(5.0, rel=0.2)


def test_a_counter_that_began_again_counts_on() -> None:
    bad = 5 * np.random.default_rng(6).binomial(1000, 0.002, (4, 60))
    total, restarted = series(np.full_like(bad, 1000)), series(bad)
    lowered = tuple(
        value if index < 30 else value - restarted[1].values[29] for index, value in enumerate(restarted[1].values)
    )
    restarted[1] = replace(restarted[1], values=lowered)
    assert dispersions(total, restarted, "serin_slot", [OWNER])[OWNER] == pytest.approx(measured(bad), rel=0.05)


def test_one_bad_pod_is_seen() -> None:
    bad = np.random.default_rng(3).binomial(1000, 0.01, (4, 60))
    bad[2] *= 4
    assert measured(bad) > 5.0


@pytest.mark.parametrize("pods", [0, 2])
def test_with_too_few_pods_nothing_is_known(pods: int) -> None:
    assert measured(np.random.default_rng(4).binomial(1000, 0.01, (pods, 60))) == UNKNOWN


def test_a_pod_without_a_failure_has_no_series_of_failures() -> None:
    bad = np.random.default_rng(5).binomial(1000, 0.01, (4, 60))
    total = np.full_like(bad, 1000)
    without = dispersions(series(total), series(bad)[1:], "serin_slot", [OWNER])[OWNER]
    bad[0] = 0
    assert without == measured(bad) > 1.0


def test_the_routers_pods_are_told_apart_by_their_places() -> None:
    source = resolve(
        Metric("errors", TemplateRef("request-errors"), Severity.CRITICAL, Against.STABLE), None, CATALOG, "shop"
    )
    assert isinstance(source, RatioSource)
    found = queries(source)
    assert found is not None
    assert found[0] == 'envoy_serin_attempts{serin_attempt!="shield",{{.version}}}[60m:1m]'
    assert source.pods == "serin_slot"


def test_sums_of_several_counters_are_left_alone() -> None:
    query = RatioQuery("a{ {{.version}} } + b{ {{.version}} }", "c{ {{.version}} }")
    source = resolve(Metric("own", query, Severity.CRITICAL, Against.STABLE), None, CATALOG, "shop")
    assert isinstance(source, RatioSource)
    assert queries(source) is None
