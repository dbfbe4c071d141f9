"""What is read of a deployment, also when its status is odd: edited, restored, or written by another version."""

from dataclasses import replace

import pytest

from serin.api.conditions import ConditionType, Reason
from serin.api.split import Split
from serin.api.state import RollbackRecord
from serin.explain.facts import Condition, Facts, gather
from serin.explain.sentences import explain
from serin.explain.tables import listing, status
from tests.unit.explain.rig import BAKING, NEW, NOW, OLD, SERVING, facts, said, spec

REFUSED = said(ConditionType.CANDIDATE_REJECTED, True, Reason.REJECTED_CONTENT, "rejected")


@pytest.mark.parametrize(
    "odd",
    [
        {},
        {"phase": "Sleeping", "reason": 7, "conditions": "none", "metrics": [None, {"verdict": "Pass"}]},
        {"observedGeneration": 1, "stable": {"snapshot": NEW}, "traffic": {"weights": {NEW: "all"}}},
        {"observedGeneration": 1, "stable": "x", "candidate": 3, "step": [], "arms": [{"snapshot": NEW}]},
        {"observedGeneration": 1, "stable": {"snapshot": OLD}, "arms": [{"snapshot": NEW}], "step": {"until": "soon"}},
        {"observedGeneration": 1, "stable": {"snapshot": OLD}, "conditions": [{"type": "Ready"}, {"type": "Routed"}]},
    ],
)
def test_an_odd_status_is_told_all_the_same(odd: dict[str, object]) -> None:
    body = {"metadata": {"namespace": "shop", "name": "fraud", "generation": 1}, "spec": spec(), "status": odd}
    read = gather(body, NOW)
    assert explain(read)
    assert status(read).headline.text
    assert listing([read], namespaces=True).rows


def test_a_condition_that_is_not_there_is_not_known() -> None:
    assert facts(SERVING).condition(ConditionType.ROUTED) == Condition(None, "", "")
    assert facts(SERVING).ready.holds is True


@pytest.mark.parametrize(
    ("generation", "known", "observed"),
    [(1, True, True), (2, True, False)],
)
def test_whether_the_operator_has_seen_the_spec(generation: int, known: bool, observed: bool) -> None:
    read = facts(SERVING, generation=generation)
    assert (read.known, read.observed) == (known, observed)
    assert not facts(None).known
    assert not facts(None).observed


class TestRejected:
    LAST = RollbackRecord(NEW, OLD, "OverLimit", "errors: 4%", NOW)

    def read(self, record: RollbackRecord | None, *, refused: bool, generation: int = 1, version: str = "2") -> Facts:
        state = replace(SERVING.state, stable=OLD, split=Split({OLD: 100}), last_rollback=record)
        conditions = (REFUSED,) if refused else ()
        return facts(replace(SERVING, state=state, conditions=conditions), generation=generation, version=version)

    def test_by_the_last_rollback_or_by_the_condition(self) -> None:
        assert self.read(self.LAST, refused=False).rejected
        assert self.read(None, refused=True).rejected
        assert not self.read(None, refused=False).rejected

    def test_not_when_the_user_asked_to_try_it_again(self) -> None:
        assert not self.read(replace(self.LAST, retried=True), refused=False).rejected

    def test_the_condition_is_about_the_spec_that_was_seen(self) -> None:
        assert not self.read(None, refused=True, generation=2, version="3").rejected
        assert not self.read(None, refused=True, version="1").rejected, "what is stable is not rejected"

    def test_not_while_it_is_under_evaluation(self) -> None:
        state = replace(BAKING.state, last_rollback=self.LAST)
        assert not facts(replace(BAKING, state=state)).rejected


class TestServesWhatIsWanted:
    def test_the_version_of_the_spec(self) -> None:
        assert facts(SERVING).serves_what_is_wanted
        assert not facts(SERVING, version="3").serves_what_is_wanted

    def test_not_before_the_operator_has_seen_the_spec(self) -> None:
        assert not facts(SERVING, generation=2).serves_what_is_wanted

    def test_not_in_the_middle_of_something(self) -> None:
        assert not facts(BAKING, version="1").serves_what_is_wanted

    def test_not_when_clients_are_not_served(self) -> None:
        down = said(ConditionType.READY, False, Reason.STABLE_UNAVAILABLE, "none of its pods is ready")
        assert not facts(replace(SERVING, conditions=(down,))).serves_what_is_wanted


def test_a_version_is_called_by_its_model() -> None:
    read = facts(BAKING)
    assert (read.version(OLD), read.version(NEW)) == ("model 1", "model 2")
    assert facts(None).version(NEW) == "model 2", "as the spec says"
    assert read.version("fraud-zzzzzzzzzz") == "fraud-zzzzzzzzzz"
