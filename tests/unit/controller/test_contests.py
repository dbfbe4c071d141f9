"""What something else changes back again and again: written less and less often, and told while it lasts."""

from itertools import pairwise

from serin.controller.contests import Contests
from serin.rollout.model import Contested

FRAUD, SERVICE = ("shop", "fraud"), ("Service", "fraud")


def fight(contests: Contests, seconds: float, step: float = 0.01) -> list[float]:
    """When the same is written while it is changed back at once."""
    written = []
    for number in range(int(seconds / step)):
        now = 1000.0 + number * step
        if not contests.left(FRAUD, SERVICE, "same", now):
            contests.add(FRAUD, SERVICE, "same", now)
            written.append(now - 1000.0)
    return written


def test_a_fight_gets_slower_and_never_ends() -> None:
    written = fight(Contests(), 300.0)
    waits = [round(after - before) for before, after in pairwise(written)]
    assert waits == [0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_it_is_told_while_it_lasts_and_over_when_it_has_been_quiet() -> None:
    contests = Contests()
    for now in range(5):
        contests.add(FRAUD, SERVICE, "same", float(now))
    assert contests.of(FRAUD, 5.0) == ()
    contests.add(FRAUD, SERVICE, "same", 5.0)
    assert contests.of(FRAUD, 605.0) == (Contested("Service", "fraud", until=605.0),)
    assert contests.of(FRAUD, 606.0) == ()
    assert contests.left(FRAUD, SERVICE, "same", 606.0) == 0.0


def test_who_decides_anew_is_not_repeating_himself() -> None:
    contests = Contests()
    for number in range(20):
        assert contests.left(FRAUD, SERVICE, str(number % 2), float(number)) == 0.0
        contests.add(FRAUD, SERVICE, str(number % 2), float(number))
    assert contests.of(FRAUD, 20.0) == ()


def test_the_writes_of_one_look_belong_together() -> None:
    contests = Contests()
    for now in (0.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0):
        for _ in range(2):
            assert contests.left(FRAUD, SERVICE, "same", now) == 0.0
            contests.add(FRAUD, SERVICE, "same", now)
    assert contests.left(FRAUD, SERVICE, "same", 60.5) == 3.5


def test_objects_and_deployments_are_apart_and_forgotten_together() -> None:
    contests = Contests()
    for now in range(9):
        contests.add(FRAUD, SERVICE, "same", float(now))
    assert contests.left(FRAUD, SERVICE, "same", 9.0) > 0
    assert contests.left(FRAUD, ("Deployment", "fraud"), "same", 9.0) == 0.0
    assert contests.left(("other", "fraud"), SERVICE, "same", 9.0) == 0.0
    contests.forget(FRAUD)
    assert contests.left(FRAUD, SERVICE, "same", 9.0) == 0.0


def test_a_clock_that_was_set_back_keeps_nothing_waiting() -> None:
    contests = Contests()
    for now in range(100, 120):
        contests.add(FRAUD, SERVICE, "same", float(now))
    assert contests.left(FRAUD, SERVICE, "same", 50.0) == 0.0
