"""Whoever is on call hears of all that has happened, whichever write of the outbox is the operator's last."""

from dataclasses import dataclass, field

import pytest

from serin.api.json import JsonObject
from serin.api.names import MODEL_DEPLOYMENT
from tests.simulation.api import faults
from tests.simulation.api.faults import Fault, Request
from tests.system.plays import Nth, Outcome, ends, perform
from tests.system.stage import Stage

STORY = "tells_of_a_rollback"
HAPPENED = {"RolloutStarted", "RolledBack"}


@dataclass
class Outbox:
    """Which writes have changed shop's outbox, by their numbers; `events`: by id, all that were in it."""

    stage: Stage | None = None
    changes: list[int] = field(default_factory=list)
    events: dict[str, str] = field(default_factory=dict)
    _writes: int = 0
    _of_the_status: int = 0  # the newest one
    _last: JsonObject = field(default_factory=dict)

    def __call__(self, request: Request) -> Fault | None:
        self._writes += bool(request.write)
        if (request.namespace, request.kind.name, request.subresource) == ("shop", MODEL_DEPLOYMENT, "status"):
            self.look()
            self._of_the_status = self._writes
        return None

    def look(self) -> None:
        """See what the write before has done."""
        assert self.stage
        now = self.stage.status("shop").get("notifications") or {}
        self.events |= {one["id"]: one["event"] for one in now.get("pending", ())}
        if now != self._last:
            self.changes.append(self._of_the_status)
            self._last = now


def played(plan: faults.Plan = faults.nothing) -> tuple[Outcome, Outbox, list[JsonObject]]:
    """The story, what was in the outbox, and what the receiver has taken."""
    outbox = Outbox()

    def prepare(stage: Stage) -> None:
        outbox.stage = stage

    found = perform(STORY, faults.first_of(outbox, plan), prepare)
    outbox.look()
    assert outbox.stage
    return found, outbox, outbox.stage.told


@pytest.fixture(scope="module")
def changes() -> list[int]:
    """The writes of the outbox when nothing fails; each event is told once."""
    found, outbox, told = played()
    assert [*found.broken, *ends(STORY, found)] == []
    assert {one["id"] for one in told} == outbox.events.keys()
    assert len(told) == len(HAPPENED) == len(outbox.changes) / 2, "each is put in, and taken out"
    return outbox.changes


@pytest.mark.parametrize("fault", [Fault.DIE_BEFORE, Fault.DIE_AFTER])
@pytest.mark.parametrize("place", range(2 * len(HAPPENED)))
def test_nothing_goes_untold_and_nothing_is_told_that_was_not_written(
    changes: list[int], place: int, fault: Fault
) -> None:
    found, outbox, told = played(Nth(changes[place], fault))
    assert [*found.broken, *ends(STORY, found)] == []
    ids = [one["id"] for one in told]
    assert set(ids) == outbox.events.keys()
    assert sorted(outbox.events.values()) == sorted(HAPPENED), "nothing happens twice"
    assert len(ids) <= len(set(ids)) + 1, "what was taken and not written is told again, and nothing else is"
