"""What the first sample of a series is counted from, when the window does not tell."""

import asyncio
from collections.abc import Mapping

import pytest

from serin.metrics.answers import Answer, Series, Value
from serin.metrics.start_times import WithoutStart, resolve_bases

SINCE = 1000.0
LABELS = {"__name__": "a", "job": "models", "instance": "pod:80"}
FIRST = Series(LABELS, (1010.0, 1020.0), (50.0, 60.0))
START = {"__name__": "process_start_time_seconds", "job": "models", "instance": "pod:80"}


def base(is_subject: bool, answers: Mapping[str, Series], remembered: bool = False) -> float | None:
    """The base, when queries that hold a word are answered by one series, and all others by none."""

    async def ask(query: str, at: float) -> Answer:
        if query.startswith("group(last_over_time(up[1h]))"):
            assert at == 940.0
            return Value((Series({}, (at,), (1.0,)),) if remembered else ())
        assert at == SINCE if query.startswith("max_over_time(up") else at in (900.0, 1020.0)
        return Value(tuple(series for word, series in answers.items() if word in query))

    one = WithoutStart(FIRST, is_subject, SINCE, 15.0)
    found = asyncio.run(resolve_bases(ask, ["a{x}"], [one], ["age"], 900.0, 1020.0))
    assert isinstance(found, dict)
    return found[one.identity]


@pytest.mark.parametrize("is_subject", [True, False])
def test_an_older_sample_or_a_scraped_target_or_a_young_process_tells(is_subject: bool) -> None:
    assert base(is_subject, {"a{x}": Series(LABELS, (900.0,), (45.0,))}) == 45.0
    assert base(is_subject, {"a{x}": Series({**LABELS, "code": "500"}, (900.0,), (3.0,))}) == 0.0
    assert base(is_subject, {"max_over_time(up": Series({**LABELS, "__name__": "up"}, (1000.0,), (1.0,))}) == 0.0
    assert base(is_subject, {"process": Series(START, (1010.0,), (1003.0,))}) == 0.0
    assert base(is_subject, {"process": Series({**START, "__name__": "age"}, (1010.0,), (5.0,))}) == 0.0


OLD = {"process": Series(START, (1010.0,), (500.0,))}


@pytest.mark.parametrize("answers", [OLD, {}], ids=["old", "unknown"])
def test_a_subjects_past_counts_while_prometheus_remembers(answers: Mapping[str, Series]) -> None:
    assert base(True, answers, remembered=True) == 0.0
    assert base(True, answers) is None, "Prometheus may have lost its data, and the past may be counted already"


@pytest.mark.parametrize("remembered", [True, False])
def test_a_baselines_past_is_never_counted(remembered: bool) -> None:
    assert base(False, {}, remembered) is None
    assert base(False, OLD, remembered) is None
