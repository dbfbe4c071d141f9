"""What the API server has refused: sent again after a while, at once when a person asks, and never kept for nothing."""

from serin.controller.refusals import FIRST_WAIT, LONGEST_WAIT, Refusals

FRAUD = ("shop", "fraud")


def test_it_is_sent_again_later_each_time() -> None:
    refusals, now, waits = Refusals(), 1000.0, []
    for _ in range(7):
        refusals.add(FRAUD, "fraud-a", "denied", now)
        [refusal] = refusals.keep(FRAUD, {"fraud-a"}).values()
        assert refusal.since == 1000.0
        waits.append(refusal.again_at - now)
        now = refusal.again_at
    assert waits == [60.0, 120.0, 240.0, 480.0, 900.0, 900.0, 900.0]
    assert (waits[0], waits[-1]) == (FIRST_WAIT, LONGEST_WAIT)


def test_what_was_accepted_begins_anew() -> None:
    refusals = Refusals()
    refusals.add(FRAUD, "fraud-a", "denied", 0.0)
    refusals.remove(FRAUD, "fraud-a")
    assert not refusals.keep(FRAUD, {"fraud-a"})
    refusals.remove(("shop", "unknown"), "fraud-a")


def test_what_is_tried_no_longer_is_forgotten() -> None:
    refusals = Refusals()
    refusals.add(FRAUD, "fraud-a", "denied", 0.0)
    refusals.add(("shop", "other"), "fraud-a", "denied", 0.0)
    assert not refusals.keep(FRAUD, {"fraud-b"})
    assert not refusals.keep(FRAUD, {"fraud-a"})
    refusals.forget(("shop", "other"))
    assert not refusals.of(("shop", "other"))


def test_what_may_end_at_any_moment_is_tried_again_soon() -> None:
    refusals, now, waits = Refusals(), 1000.0, []
    for _ in range(6):
        refusals.add(FRAUD, "fraud-a", "exceeded quota", now, final=False)
        refusal = refusals.of(FRAUD)["fraud-a"]
        waits.append(refusal.again_at - now)
        now = refusal.again_at
    assert waits == [5.0, 10.0, 20.0, 40.0, 60.0, 60.0]
    refusals.add(FRAUD, "fraud-a", "no such field", now)
    assert refusals.of(FRAUD)["fraud-a"].again_at == now + FIRST_WAIT, "another kind of refusal begins anew"


def test_that_one_object_is_accepted_says_nothing_of_another() -> None:
    refusals = Refusals()
    refusals.add(FRAUD, "fraud-a", "exceeded quota", 0.0, kind="Service", final=False)
    refusals.remove(FRAUD, "fraud-a")
    assert refusals.of(FRAUD)
    refusals.remove(FRAUD, "fraud-a", "Service")
    assert not refusals.of(FRAUD)
