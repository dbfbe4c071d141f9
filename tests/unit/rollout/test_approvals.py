"""Which approvals of a step count."""

import pytest
from jsonschema import Draft202012Validator

from serin.api import names
from serin.api.conditions import Reason
from serin.api.records import Occasion
from serin.api.state import Approval, Arm, Rollout, StageState, State
from serin.api.status import read_state, write_state
from serin.rollout.approvals import LONGEST_NAME, MOST_APPROVALS, approver, expires_in, given, missing
from serin.rollout.strategies.base import ApprovalRule
from tests import crds
from tests.narratives.world import World, spec

NOW = 1_700_000_000.0


def rollout(*approvals: Approval, index: int = 1) -> Rollout:
    stage = StageState(index, NOW - 500, NOW - 400)
    return Rollout("fraud-a", (Arm("fraud-b"),), NOW - 1000, stage, approvals=approvals)


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("2026-01-01T00:00:00Z by alice", "alice"),
        ("1 by system:serviceaccount:ci:deployer", "system:serviceaccount:ci:deployer"),
        ("1 by alice by bob", "alice by bob"),  # one name, and nobody's: nobody can write it but who bears it
        ("1", ""),
        ("1 by ", ""),
        ("by alice", ""),
        (" by " + "x" * 500, "x" * LONGEST_NAME),
    ],
)
def test_the_name_is_what_follows(value: str, name: str) -> None:
    assert approver(value) == name


def test_each_person_counts_once_in_this_stay_in_this_stage() -> None:
    found = rollout(
        Approval(1, "early", NOW - 450),  # before the step was reached this time
        Approval(0, "other", NOW - 100),
        Approval(1, "alice", NOW - 300),
        Approval(1, "bob", NOW - 200),
        Approval(1, "alice", NOW - 100),
    )
    assert given(found, ApprovalRule(3), NOW) == ("alice", "bob")
    assert given(found, ApprovalRule(3, 150.0), NOW) == ("alice",)
    assert given(found, ApprovalRule(3, 50.0), NOW) == ()


def test_what_is_missing_is_told_and_when_one_expires() -> None:
    found = rollout(Approval(1, "alice", NOW - 300), Approval(1, "bob", NOW - 200))
    assert missing(found, ApprovalRule(), NOW) == ""
    assert missing(found, ApprovalRule(3, 3600.0), NOW) == " of 3 people, so far alice, bob; one counts for 1h"
    assert expires_in(found, ApprovalRule(3), NOW) is None
    assert expires_in(found, ApprovalRule(3, 3600.0), NOW) == 3300.0
    assert expires_in(rollout(), ApprovalRule(3, 3600.0), NOW) is None
    others = rollout(Approval(1, "early", NOW - 450), Approval(0, "other", NOW - 350))
    assert expires_in(others, ApprovalRule(3, 3600.0), NOW) is None, "what does not count does not expire"


def test_they_are_kept_in_the_status() -> None:
    kept = rollout(Approval(1, "alice", NOW - 300), Approval(1, "", NOW - 200))
    state = State(stable="fraud-a", rollout=kept)
    again = read_state(write_state(state)).rollout
    assert again is not None
    assert again.approvals == kept.approvals
    damaged = write_state(state) | {"approvals": [{"step": "x"}, 7, {"at": "never"}]}
    assert read_state(damaged).rollout is not None


def waiting(approvals: int) -> World:
    """A rollout that waits for so many people."""
    world = World(spec=spec("1"))
    world.run(20)
    steps = [{"weight": 5, "bake": "30s"}, {"pause": {"approvals": approvals}}, {"weight": 50, "bake": "30s"}]
    world.change(spec("2", strategy={"canary": {"steps": steps}}))
    world.run(120)
    assert world.status["reason"] == Reason.WAITING_FOR_APPROVAL
    return world


def approve(world: World, value: str) -> None:
    world.annotate(names.ANNOTATION_APPROVE, value)
    world.run(1)


def test_all_who_have_to_approve_must() -> None:
    world = waiting(3)
    for by in ("alice", "bob", "alice"):
        approve(world, f"{world.now} by {by}")
    world.run(60)
    assert world.status["reason"] == Reason.WAITING_FOR_APPROVAL
    approve(world, "1 by carol")
    world.run(200)
    assert world.status["stable"]["snapshot"] == world.wanted
    [promoted] = [one for one in world.snapshots[world.wanted].records if one.occasion is Occasion.PROMOTED]
    assert promoted.approved_by == ("alice", "bob", "carol")


def test_who_approves_again_and_again_fills_no_status() -> None:
    """One that the schema refuses would keep the rollback from happening."""
    world = waiting(3)
    for number in range(MOST_APPROVALS + 5):
        approve(world, f"{number} by alice")
    Draft202012Validator(crds.schema("ModelDeployment")["properties"]["status"]).validate(world.status)
    assert len(world.status["approvals"]) == MOST_APPROVALS


def test_nobody_approves_a_version_that_is_rolled_back() -> None:
    world = waiting(2)
    approve(world, "1 by alice")
    world.annotate(names.ANNOTATION_ABORT)
    world.run(60)
    assert all(not one.approved_by for one in world.snapshots[world.wanted].records)


def test_what_was_approved_instead_is_cut() -> None:
    world = waiting(2)
    approve(world, "1 for " + "x" * 5_000 + " by alice")
    [said] = [line for line in world.said if "ApprovalRefused:" in line]
    assert "an approval is for xxx" in said
    assert len(said) < 400
