"""Which action fits which state, and by what the user knows that it was taken up.

tests/integration/test_cli_actions.py has the same against a real API server and a real operator.
"""

from dataclasses import replace

import pytest

from serin.api import names
from serin.api.conditions import ConditionType, Reason
from serin.api.split import Split
from serin.api.state import ManualRollback, Phase, RollbackRecord, Status
from serin.cli.actions import ACTIONS
from tests.unit.explain.rig import BAKING, NEW, NOW, OLD, SERVING, facts, said

BY_VERB = {one.verb: one for one in ACTIONS}
APPROVAL = replace(BAKING, stage=replace(BAKING.stage, approval=True))
PAUSED = {names.ANNOTATION_PAUSE: "true"}
BACK_STATE = replace(SERVING.state, phase=Phase.ROLLING_BACK, manual_rollback=ManualRollback(OLD, NOW))
BACK = replace(SERVING, state=BACK_STATE)
LAST = RollbackRecord(NEW, OLD, "OverLimit", "errors: 4%", NOW)
REJECTED = replace(
    SERVING,
    state=replace(SERVING.state, stable=OLD, split=Split({OLD: 100}), last_rollback=LAST),
    conditions=(said(ConditionType.CANDIDATE_REJECTED, True, Reason.OVER_LIMIT, "errors: 4%"),),
)


@pytest.mark.parametrize(
    ("verb", "status", "why"),
    [
        ("approve", SERVING, "no version is under evaluation"),
        ("approve", BAKING, "the rollout does not stand in a pause step"),
        ("approve", APPROVAL, None),
        ("pause", BAKING, None),
        ("resume", BAKING, "it is not paused"),
        ("promote", SERVING, "no version is under evaluation"),
        ("promote", BAKING, None),
        ("abort", SERVING, "no version is under evaluation"),
        ("abort", BAKING, None),
        ("abort", BACK, None),
        ("retry", SERVING, "the version that the spec describes was not rejected"),
        ("retry", BACK, "it is on its way back to an earlier version"),
        ("retry", REJECTED, None),
        ("retry", None, None),
    ],
)
def test_what_fits_nothing_is_refused(verb: str, status: Status | None, why: str | None) -> None:
    assert BY_VERB[verb].refuse(facts(status)) == why


def test_pause_and_resume_look_at_the_annotation() -> None:
    held = facts(BAKING, annotations=PAUSED)
    assert BY_VERB["pause"].refuse(held) == "it is paused already"
    assert BY_VERB["resume"].refuse(held) is None


def test_a_rejection_is_not_said_of_a_spec_that_the_operator_has_not_seen() -> None:
    unseen = facts(REJECTED, generation=2, version="99")
    assert not unseen.rejected
    assert BY_VERB["retry"].refuse(unseen) is None, "`kubectl apply` and `serin retry` may follow each other at once"


def test_an_action_is_done_when_its_value_was_handled() -> None:
    approve = BY_VERB["approve"]
    handled = replace(BAKING, state=replace(BAKING.state, handled={names.ANNOTATION_APPROVE: "2"}))
    assert approve.done(facts(handled), "2")
    assert not approve.done(facts(handled), "3")


def test_a_pause_is_done_when_the_operator_says_so() -> None:
    said_so = facts(replace(BAKING, reason="PausedByUser"))
    pause, resume = BY_VERB["pause"], BY_VERB["resume"]
    assert [pause.done(said_so, "1"), resume.done(said_so, None)] == [True, False]
    assert [pause.done(facts(BAKING), "1"), resume.done(facts(BAKING), None)] == [False, True]
    no_router = facts(replace(BAKING, reason="RouterNotReady", state=replace(BAKING.state, phase=Phase.PAUSED)))
    assert [pause.done(no_router, "1"), resume.done(no_router, None)] == [True, False], "told in place of the pause"
    assert pause.done(facts(SERVING), "1"), "without a rollout there is nothing to wait for"
