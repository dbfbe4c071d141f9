"""The spec's metrics as policies: how the promise is shared, and what each kind of metric takes along."""

import math

import pytest

from serin.api.parse import parse_spec
from serin.api.verdicts import Against, Severity
from serin.evaluation.policies import policies
from serin.rollout.strategies.table import strategy_of
from tests.narratives.world import spec


def _metric(name: str, severity: str) -> dict[str, object]:
    return {"name": name, "template": {"name": "request-errors"}, "severity": severity}


METRICS = [
    _metric("a", "critical"),
    _metric("b", "critical"),
    _metric("c", "major"),
    _metric("d", "minor"),
    {"name": "e", "value": {"query": "up", "max": "0.5"}, "severity": "info", "for": "25s"},
]


def test_the_promise_is_shared_by_the_metrics_that_can_roll_back() -> None:
    found = policies(parse_spec(spec(metrics=METRICS)), interval=10.0, expected_seconds=180.0)
    assert [found[name].alpha_critical for name in "ab"] == [0.005, 0.005]
    assert math.fsum(found[name].alpha_minor for name in "abc") == pytest.approx(0.05)
    assert [found[name].severity for name in "abcde"] == [
        *(Severity.CRITICAL, Severity.CRITICAL, Severity.MAJOR, Severity.MINOR, Severity.INFO),
    ]


def test_bursts_that_nobody_has_measured_count_as_half_the_evidence() -> None:
    found = policies(parse_spec(spec(metrics=METRICS)), 10.0, 180.0, {"b": 1.0, "c": 6.5})
    assert [found[name].overdispersion for name in "abcde"] == [2.0, 1.0, 6.5, 2.0, 2.0]


def test_a_value_takes_its_limits_and_its_patience_in_ticks() -> None:
    value = policies(parse_spec(spec(metrics=METRICS)), interval=10.0, expected_seconds=180.0)["e"]
    assert (value.against, value.maximum, value.minimum, value.consecutive) == (Against.LIMIT, 0.5, None, 3)


def test_distributions_and_means_take_along_what_is_compared_and_what_counts() -> None:
    answers = {"counts": "p_total{ {{.version}} }", "by": "label"}
    known = {**answers, "reference": {"legit": 97, "fraud": 3}}
    metrics = [
        {"name": "a", "distribution": answers, "severity": "major", "limit": "50m"},
        {"name": "b", "distribution": known, "severity": "minor", "against": "reference"},
        {
            "name": "c",
            "mean": {"sum": "s{ {{.version}} }", "count": "c{ {{.version}} }"},
            "severity": "critical",
            "limit": "1.2",
            "lowerIsWorse": True,
        },
    ]
    found = policies(parse_spec(spec(metrics=metrics)), interval=10.0, expected_seconds=180.0)
    told = [(one.against, one.limit, one.lower_is_worse) for one in found.values()]
    assert told == [(Against.STABLE, 0.05, False), (Against.REFERENCE, None, False), (Against.STABLE, 1.2, True)]
    assert found["b"].alpha_minor == 0.05, "what rolls nothing back takes no part of the promise"


def test_the_ticks_that_a_rollout_expects_follow_from_its_bakes() -> None:
    found = parse_spec(spec())
    planned = strategy_of(found).schedule().expected_seconds
    assert planned == 180.0
    assert policies(found, 10.0, planned)["errors"].expected_ticks == 18


def test_latencies_take_along_what_is_let_pass_and_how_long_pods_warm_up() -> None:
    latency = {"template": {"name": "request-latency"}, "severity": "major"}
    metrics = [
        {"name": "a", **latency},
        {"name": "b", **latency, "tolerance": {"percent": 50}},
        {"name": "c", **latency, "tolerance": {"percent": 0, "atLeast": "20ms"}},
    ]
    body = spec(metrics=metrics)
    body["analysis"] = {**body["analysis"], "warmup": "45s"}
    found = policies(parse_spec(body), interval=10.0, expected_seconds=180.0)
    assert [(one.tolerance, one.tolerance_least) for one in found.values()] == [(0.2, 0.005), (0.5, 0.005), (0.0, 0.02)]
    assert {one.warmup for one in found.values()} == {45.0}


def test_slices_share_what_their_metric_has_of_the_promise() -> None:
    counters = {"bad": "missed_total{ {{.version}} }", "total": "seen_total{ {{.version}} }"}
    whole = {"name": "missed", "ratio": counters, "severity": "critical"}
    one, sliced = (
        policies(parse_spec(spec(metrics=[metric, *METRICS])), 10.0, 180.0)["missed"]
        for metric in (whole, {**whole, "by": "country", "minRequests": 50})
    )
    assert sliced.alpha_minor == pytest.approx(one.alpha_minor / 9)
    assert sliced.alpha_critical == pytest.approx(one.alpha_critical / 9)
    assert (sliced.by, sliced.slice_requests, one.by) == ("country", 50, "")


def test_what_is_said_of_the_bad_ones_is_what_they_are() -> None:
    def metric(name: str, **arguments: str) -> dict[str, object]:
        template = {"name": name, "arguments": arguments} if arguments else {"name": name}
        return {"name": name, "template": template, "severity": "critical", "against": "limit", "limit": "0.05"}

    metrics = [
        metric("request-errors"),
        metric("disagreements"),
        metric("prediction-share", field="label", label="fraud"),
    ]
    found = policies(parse_spec(spec(metrics=metrics)), interval=10.0, expected_seconds=180.0)
    assert [one.bad for one in found.values()] == [
        "failed",
        "were answered otherwise than by stable",
        "were answered with the label",
    ]
