"""How far Prometheus' clock is from ours, by the Date of its answers."""

import random
from email.utils import formatdate

import pytest
from structlog.testing import capture_logs

from serin.metrics.clock_skew import ClockSkew

NOW = 1_800_000_000.0


def learned(
    true: float, *, queries: int = 1, seconds: float = 0.1, skew: ClockSkew | None = None, at: float = NOW
) -> ClockSkew:
    """After queries that took `seconds`, to a server whose clock is `true` seconds ahead."""
    found, chance = skew or ClockSkew(), random.Random(1)
    for _ in range(queries):
        sent = at + chance.random()
        made = sent + chance.random() * seconds
        found.learn(formatdate(int(made + true), usegmt=True), sent, sent + seconds)
    return found


@pytest.mark.parametrize("true", [0.0, 0.4, -0.4])
def test_clocks_that_agree_are_told_from_the_seconds_of_a_date(true: float) -> None:
    skew = learned(true, queries=50)
    assert abs(skew.seconds) <= abs(true)
    assert skew.words == ""
    assert learned(0.0, seconds=13.0).seconds == 0.0, "a slow answer proves nothing"


@pytest.mark.parametrize("true", [40.0, -40.0, 3.0, -3.0])
def test_bounds_hold_at_once_and_become_narrow(true: float) -> None:
    first, later = learned(true), learned(true, queries=100)
    assert abs(first.seconds) <= abs(later.seconds) <= abs(true)
    assert abs(true - first.seconds) <= 1.1
    assert abs(true - later.seconds) <= 0.2


def test_words_say_the_side_and_do_not_change_with_every_look() -> None:
    words = "Prometheus' clock is at least 30 s ahead of Serin's, which delays evidence by as much"
    assert learned(40.0).words == learned(55.0).words == words
    assert learned(-7.0).words == words.replace("30", "5").replace("ahead of", "behind")


def test_a_clock_that_was_set_is_known_anew() -> None:
    skew = learned(0.0, queries=20)
    with capture_logs() as said:
        assert learned(100.0, skew=skew, queries=20, at=NOW + 60.0).seconds == pytest.approx(100.0, abs=0.2)
        assert learned(0.0, skew=skew, queries=20, at=NOW + 90.0).seconds == 0.0
    assert [one["event"] for one in said] == ["prometheus.clock_skewed", "prometheus.clock_right"]
    assert said[0]["log_level"] == "warning"


def test_bounds_are_forgotten_so_that_a_drift_is_seen() -> None:
    skew = ClockSkew()
    for minute in range(120):
        learned(minute * 0.1, skew=skew, at=NOW + 60.0 * minute)
    assert 10.0 <= skew.seconds <= 11.9


@pytest.mark.parametrize("date", [None, "", "yesterday", "Wed, 99 Nov 2026 20:00:00 GMT"])
def test_an_answer_without_a_date_says_nothing(date: str | None) -> None:
    skew = ClockSkew()
    skew.learn(date, NOW, NOW)
    assert (skew.seconds, skew.words) == (0.0, "")
