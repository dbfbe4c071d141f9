"""Overdispersion from Prometheus' series: which minutes and pods are laid side by side."""

from dataclasses import replace

import numpy as np
import pytest

from serin.analysis.dispersion import UNKNOWN
from serin.api.spec import MeanQuery, Metric, RatioQuery, TemplateRef
from serin.api.verdicts import Against, Severity
from serin.metrics.answers import Series
from serin.metrics.pods import dispersions, mean_queries, queries, slowest_pods
from serin.metrics.promql import Matcher
from serin.metrics.sources import HistogramSource, MeanSource, RatioSource, resolve, restricted
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
    assert found[0] == 'envoy_serin_attempts{serin_attempt!="shield",serin_attempt!="unkeyed",{{.version}}}[60m:1m]'
    assert source.pods == "serin_slot"


def test_sums_of_several_counters_are_left_alone() -> None:
    query = RatioQuery("a{ {{.version}} } + b{ {{.version}} }", "c{ {{.version}} }")
    source = resolve(Metric("own", query, Severity.CRITICAL, Against.STABLE), None, CATALOG, "shop")
    assert isinstance(source, RatioSource)
    assert queries(source) is None


def numbers(factors: "np.ndarray[tuple[int, int], np.dtype[np.float64]]") -> tuple[list[Series], list[Series]]:
    """A count and a sum per pod, of about 100 a minute and pod that take about 10."""
    rng = np.random.default_rng(5)
    sums = np.array([[times * rng.normal(10.0, 3.0, 100).sum() for times in pod] for pod in factors])
    return series(np.full(factors.shape, 100)), series(sums)


def test_the_slowest_pod_is_found_by_the_label_that_tells_pods_apart() -> None:
    factors = np.ones((4, 60))
    factors[2] = 1.5
    count, total = numbers(factors)
    found = slowest_pods(count, total, "serin_slot", [OWNER, ("shop", "other", "a")], lower_is_worse=False)
    assert found[OWNER] == pytest.approx(1.5, abs=0.1)
    assert found["shop", "other", "a"] == 1.0
    assert slowest_pods(count, total, "instance", [OWNER], lower_is_worse=False) == {OWNER: 1.0}


def test_latencies_of_the_router_are_read_by_pod_and_those_of_users_by_convention() -> None:
    latency = resolve(
        Metric("m", TemplateRef("request-latency"), Severity.MAJOR, Against.STABLE), None, CATALOG, "shop"
    )
    assert isinstance(latency, HistogramSource)
    texts = mean_queries(latency)
    assert texts is not None
    assert latency.pods == "serin_slot"
    assert [text.split("{")[0] for text in texts] == ["envoy_serin_attempts", "envoy_serin_milliseconds_by_pod"]
    ours = mean_queries(restricted(latency, (Matcher("namespace", "=", "serin-system"),)))  # type: ignore[arg-type]
    assert ours is not None
    assert all('namespace="serin-system"' in text for text in ours), "whose series count holds here, too"
    own = {"histogram": {"buckets": 'inference_seconds_bucket{model="a", {{.version}}}', "unit": "s"}}
    users = resolve(Metric("m", TemplateRef("t"), Severity.MAJOR, Against.STABLE), own, CATALOG, "shop")
    assert isinstance(users, HistogramSource)
    texts = mean_queries(users)
    assert texts is not None
    assert [text.split("{")[0] for text in texts] == ["inference_seconds_count", "inference_seconds_sum"]


def test_means_are_read_from_their_own_counters() -> None:
    tokens = Metric("m", MeanQuery("t_sum{ {{.version}} }", "t_count{ {{.version}} }"), Severity.MAJOR, Against.STABLE)
    source = resolve(tokens, None, CATALOG, "shop")
    assert isinstance(source, MeanSource)
    texts = mean_queries(source)
    assert texts is not None
    assert [text.split("{")[0] for text in texts] == ["t_count", "t_sum"]
