"""Evidence stands in a status, which can be edited, restored in part, or written by another version.

Whatever stands there, a look goes on: what cannot be is read as no evidence, and counting begins anew.
"""

import json
import math
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from serin.analysis import bandit, engine, goal
from serin.analysis.evidence import Evidence, Unreadable
from serin.analysis.types import (
    CONCENTRATION,
    Arm,
    DistributionTick,
    HistogramTick,
    MeanTick,
    Moments,
    PastTick,
    Policy,
    RatioTick,
    ReferenceTick,
    SlicedTick,
    SplitTick,
    Stretch,
    Tick,
    ValueTick,
)
from serin.api.verdicts import Against, Severity
from tests.unit.analysis.ticks import feed

WRONG = (None, True, "", "x", 0, -1, 0.5, 2**63, 10**400, 1e308, -1e308, [], [0.0], {}, {"a": 1})


def _ratio(at: float) -> RatioTick:
    return RatioTick(at, Arm(100, 3), Arm(900, 20))


def _histogram(at: float) -> HistogramTick:
    return HistogramTick(at, (0.1, 0.5, 1.0), (50, 30, 15, 5), (500, 300, 90, 10))


def _sliced(at: float) -> SlicedTick:
    return SlicedTick(at, _ratio(at), {"de": (Arm(60, 2), Arm(500, 10)), "fr": (Arm(40, 1), Arm(400, 10))})


def _past(at: float) -> PastTick:
    return PastTick(at, Stretch(1_000, 0.02, 1.0), 3600.0, tuple(Stretch(900, 0.02, 1.0) for _ in range(12)), "share")


STABLE = Policy("m", Severity.CRITICAL)
LIMIT = Policy("m", Severity.CRITICAL, against=Against.LIMIT, limit=0.05)
CASES = {
    "ratio": (STABLE, _ratio),
    "latency": (STABLE, _histogram),
    "limit": (LIMIT, _ratio),
    "limit of a latency": (Policy("m", Severity.MAJOR, against=Against.LIMIT, limit=0.5), _histogram),
    "value": (Policy("m", Severity.MAJOR, against=Against.LIMIT, maximum=3.0), lambda at: ValueTick(at, 2.0)),
    "split": (STABLE, lambda at: SplitTick(at, (95, 5), (95, 5))),
    "drift": (STABLE, lambda at: DistributionTick(at, (50, 40, 10), (500, 400, 90), categories=("a", "b", "c"))),
    "drift of buckets": (STABLE, lambda at: DistributionTick(at, (50, 40), (500, 400), True, ("0.5", "inf"))),
    "reference": (
        Policy("m", Severity.MINOR, against=Against.REFERENCE),
        lambda at: ReferenceTick(at, (50, 40, 10), (500, 400, 90), (5, 4, 1), ("a", "b", "other")),
    ),
    "mean": (STABLE, lambda at: MeanTick(at, Moments(50, 100.0 + at), Moments(450, 900.0))),
    "concentration": (STABLE, lambda at: MeanTick(at, Moments(50, 3.0 + at), Moments(450, 20.0), CONCENTRATION)),
    "slices": (Policy("m", Severity.MAJOR), _sliced),
    "past": (Policy("m", Severity.MAJOR, against=Against.HISTORY, window=3600.0), _past),
}


def _edited(value: Any, wrong: object) -> Iterator[Any]:
    """The value with each of its parts in turn replaced, and left out."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield {name: one for name, one in value.items() if name != key}
            yield {**value, key: wrong}
            yield from ({**value, key: inner} for inner in _edited(item, wrong))
    elif isinstance(value, list):
        for place, item in enumerate(value):
            yield [*value[:place], *value[place + 1 :]]
            yield [*value[:place], wrong, *value[place + 1 :]]
            yield from ([*value[:place], inner, *value[place + 1 :]] for inner in _edited(item, wrong))


@pytest.mark.parametrize("case", CASES)
def test_a_look_goes_on_whatever_stands_in_the_evidence(case: str) -> None:
    policy, tick = CASES[case]
    whole = json.loads(json.dumps(feed(policy, [tick(float(one)) for one in range(1, 8)]).evidence))
    trouble = []
    for wrong in WRONG:
        for edited in _edited(whole, wrong):
            trouble += _trouble(policy, edited, tick(8.0))
    assert trouble == []


def _judge_goal(edited: Evidence) -> list[float]:
    number = Moments(50, 7.0)
    after = goal.fold(goal.read(edited), goal.GoalTick(9_000.0, number, number, ((number,) * 3, (number,) * 3)))
    verdict = goal.judge(goal.Goal(), after)
    json.dumps(goal.write(after), allow_nan=False)
    return [verdict.better, verdict.worse]


def _judge_bandit(edited: Evidence) -> list[float]:
    state = bandit.fold(bandit.read(edited, 2), bandit.BanditTick(9_000.0, (Arm(50, 7), Arm(50, 9))), 60.0)
    bandit.proven(state, 0, (True, True), 0.95)
    bandit.best(bandit.turned(state), (True, True))
    json.dumps(bandit.write(state), allow_nan=False)
    return [*bandit.best(state, (True, True)).tolist(), *bandit.rates(state).tolist()]


def _goal() -> Evidence:
    state = None
    for one in range(1, 100):
        numbers = Moments(50, 5.0 + one % 3), Moments(50, 6.0)
        state = goal.fold(state, goal.GoalTick(60.0 * one, *numbers, ((numbers[0],) * 3, (numbers[1],) * 3)))
    assert state is not None
    return goal.write(state)


def _bandit() -> Evidence:
    state = bandit.begin(2, 0.0)
    for one in range(1, 8):
        state = bandit.fold(state, bandit.BanditTick(60.0 * one, (Arm(50, 5), Arm(50, 6))), 60.0)
    return bandit.write(state)


@pytest.mark.parametrize(("begin", "judge"), [(_goal, _judge_goal), (_bandit, _judge_bandit)], ids=["goal", "bandit"])
def test_an_experiment_goes_on_as_well(begin: Callable[[], Evidence], judge: Callable[[Evidence], list[float]]) -> None:
    whole, trouble = json.loads(json.dumps(begin())), []
    for wrong in WRONG:
        for edited in _edited(whole, wrong):
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                try:
                    assert all(map(math.isfinite, judge(edited)))
                except Unreadable:
                    continue
                except Exception as error:
                    trouble.append(f"{type(error).__name__} {error}: {edited}"[:400])
    assert trouble == []


def _trouble(policy: Policy, edited: Evidence, tick: Tick) -> list[str]:
    """What goes wrong with this evidence, in words."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            engine.judge(policy, edited)
            after = engine.fold(policy, edited, tick)
            json.dumps(after.evidence, allow_nan=False)
            assert math.isfinite(after.verdict.log_e), "the evidence is not finite"
        except Exception as error:
            return [f"{type(error).__name__} {error}: {edited}"[:400]]
    return []
