"""What the API server has refused: sent again after a while, at once when a person asks, and never kept for nothing."""

from serin.controller.refusals import FIRST_WAIT, LONGEST_WAIT, Refusals

FRAUD = ("shop", "fraud")


def test_it_is_sent_again_later_each_time() -> None:
    refusals, now, waits = Refusals(), 1000.0, []
    for _ in range(7):
        refusals.add(FRAUD, "fraud-a", "denied", now)
        [refusal] = refusals.of(FRAUD, {"fraud-a"}).values()
        assert refusal.since == 1000.0
        waits.append(refusal.again_at - now)
        now = refusal.again_at
    assert waits == [60.0, 120.0, 240.0, 480.0, 900.0, 900.0, 900.0]
    assert (waits[0], waits[-1]) == (FIRST_WAIT, LONGEST_WAIT)


def test_what_was_accepted_begins_anew() -> None:
    refusals = Refusals()
    refusals.add(FRAUD, "fraud-a", "denied", 0.0)
    refusals.remove(FRAUD, "fraud-a")
    assert not refusals.of(FRAUD, {"fraud-a"})
    refusals.remove(("shop", "unknown"), "fraud-a")


def test_what_is_tried_no_longer_is_forgotten() -> None:
    refusals = Refusals()
    refusals.add(FRAUD, "fraud-a", "denied", 0.0)
    refusals.add(("shop", "other"), "fraud-a", "denied", 0.0)
    assert not refusals.of(FRAUD, {"fraud-b"})
    assert not refusals.of(FRAUD, {"fraud-a"})
    refusals.forget(("shop", "other"))
    assert not refusals.of(("shop", "other"), {"fraud-a"})
