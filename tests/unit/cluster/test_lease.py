"""The lease's one promise: a leader's term ends before anybody else may begin one, whatever the clocks say."""

import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serin.cluster.lease import Election, Sighting, Take, Terms, Wait, decide

TERMS = Terms(duration=15, margin=5, renew=4, retry_period=1)


def seen(holder: str, since: float = 0.0, duration: float = 15.0) -> Sighting:
    return Sighting(holder=holder, duration=duration, version="7", transitions=3, since=since)


def test_a_lease_that_nobody_holds_is_taken_at_once() -> None:
    assert decide("me", seen(""), 0.0, TERMS) == Take(4)


def test_ones_own_lease_is_taken_without_counting_a_change_of_leader() -> None:
    assert decide("me", seen("me"), 0.0, TERMS) == Take(3)


def test_a_lease_of_somebody_else_is_left_alone_for_its_whole_term() -> None:
    assert decide("me", seen("other"), 14.9, TERMS) == Wait(pytest.approx(0.1))
    assert decide("me", seen("other"), 3.0, TERMS) == Wait(1)
    assert decide("me", seen("other"), 15.0, TERMS) == Take(4)


def test_the_holders_own_duration_counts_not_ours() -> None:
    assert isinstance(decide("me", seen("other", duration=60), 59.0, TERMS), Wait)


def test_terms_that_cannot_be_kept_are_refused() -> None:
    with pytest.raises(ValueError, match="must be renewed more often than every 12 s"):
        Terms(duration=15, margin=5, renew=12)


@settings(deadline=None)
@given(
    sent=st.floats(0, 1e6),
    stored_after=st.floats(0, 5),
    seen_after=st.floats(0, 1e5),
    drift=st.floats(-1e9, 1e9),
    asked_after=st.floats(0, 100),
)
def test_no_standby_takes_over_before_the_leader_has_stopped(
    sent: float, stored_after: float, seen_after: float, drift: float, asked_after: float
) -> None:
    """Two clocks with any offset: the standby sees a renewal after it was sent, never before."""
    leader_stops = sent + TERMS.duration - TERMS.margin
    first_seen = sent + stored_after + seen_after
    asked = first_seen + asked_after
    decision = decide("standby", seen("leader", since=first_seen + drift), asked + drift, TERMS)
    if isinstance(decision, Take):
        assert asked >= leader_stops


def test_the_clock_goes_on_while_the_machine_sleeps() -> None:
    """In a time namespace whose boot time is a day ahead, as after a day of sleep, which CLOCK_MONOTONIC leaves out."""
    asked = (
        "import inspect, time; from serin.cluster.lease import Election;"
        "print(inspect.signature(Election).parameters['clock'].default() - time.monotonic())"
    )
    slept = ["unshare", "--user", "--map-root-user", "--time", "--boottime", "86400", "--fork"]
    run = subprocess.run([*slept, sys.executable, "-c", asked], capture_output=True, text=True, check=False)
    if "unshare" in run.stderr:
        pytest.skip(f"this machine makes no time namespaces: {run.stderr}")
    assert float(run.stdout) == pytest.approx(86_400, abs=600)


def test_what_is_seen_of_the_lease_says_that_another_leads_and_that_etcd_was_restored() -> None:
    told = list[str]()
    election = Election(
        None,  # type: ignore[arg-type]
        "serin-system",
        "serin",
        "me",
        on_other=lambda: told.append("other"),
        on_restored=lambda: told.append("restored"),
    )

    def see(holder: str, version: int) -> list[str]:
        told.clear()
        election._see({"metadata": {"resourceVersion": str(version)}, "spec": {"holderIdentity": holder}}, 0.0)
        return list(told)

    assert see("me", 900) == []
    assert see("", 950) == []
    assert see("somebody", 1000) == ["other"]
    assert see("me", 1001) == []
    assert see("me", 600) == ["restored"]
    assert see("me", 601) == []
    assert see("somebody", 500) == ["restored", "other"]
