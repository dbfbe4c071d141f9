"""What `status` and `explain` say of notifications that are not taken, and nothing while all are well."""

from dataclasses import replace

from serin.api.notifications import Happening, Notification, Outbox
from serin.explain.facts import Facts
from serin.explain.notifications import line, sentences
from tests.unit.explain.rig import NEW, SERVING, facts

ONE = Notification("1", Happening.ROLLED_BACK, 1.7e9, "OverLimit", "words", NEW, receivers=("oncall",))
TWO = replace(ONE, id="2", event=Happening.PROMOTED)
DOWN = "webhook oncall: it answers with status 503"


def waiting(*pending: Notification, problem: str = DOWN) -> Facts:
    return facts(replace(SERVING, state=replace(SERVING.state, outbox=Outbox(pending, problem))))


def test_what_is_not_taken_is_said_with_why_and_what_to_do() -> None:
    assert line(waiting(ONE)) == f"A notification waits (RolledBack): {DOWN}"
    assert line(waiting(ONE, TWO)) == f"2 notifications wait: {DOWN}"
    told, advice = sentences(waiting(ONE), "serin")
    assert told == f"A notification waits (RolledBack): {DOWN}."
    assert "Mend the receiver" in advice


def test_what_is_on_its_way_is_nothing_to_speak_of() -> None:
    for well in (waiting(ONE, problem=""), facts(SERVING)):
        assert line(well) == ""
        assert list(sentences(well, "serin")) == []
