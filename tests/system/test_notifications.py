"""Whoever is on call hears of all that has happened, whichever write of the outbox is the operator's last."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from serin.api.json import JsonObject
from serin.api.names import MODEL_DEPLOYMENT
from tests.simulation.api import faults
from tests.simulation.api.faults import Fault, Request
from tests.system.plays import Outcome, ends, perform
from tests.system.stage import Stage

STORY = "tells_of_a_rollback"
HAPPENED = {"RolloutStarted", "RolledBack"}


@dataclass
class Outbox:
    """Which writes of shop's status have changed its outbox, by their numbers; `events`: by id, all that were in it."""

    stage: Stage | None = None
    writes: int = 0
    changes: list[int] = field(default_factory=list)
    events: dict[str, str] = field(default_factory=dict)
    _last: JsonObject = field(default_factory=dict)

    def __call__(self, request: Request) -> Fault | None:
        if (request.namespace, request.kind.name, request.subresource) == ("shop", MODEL_DEPLOYMENT, "status"):
            self.look()
            self.writes += 1
        return None

    def look(self) -> None:
        """See what the write before has done."""
        assert self.stage
        now = self.stage.status("shop").get("notifications") or {}
        self.events |= {one["id"]: one["event"] for one in now.get("pending", ())}
        if now != self._last:
            self.changes.append(self.writes)
            self._last = now


def played(plan: Callable[[Outbox], faults.Plan]) -> tuple[Outcome, Outbox, list[JsonObject]]:
    """The story, what was in the outbox, and what the receiver has taken."""
    outbox = Outbox()

    def prepare(stage: Stage) -> None:
        outbox.stage = stage

    found = perform(STORY, faults.first_of(outbox, plan(outbox)), prepare)
    outbox.look()
    assert outbox.stage
    return found, outbox, outbox.stage.told


def at(number: int, fault: Fault) -> Callable[[Outbox], faults.Plan]:
    """The fault at this write of shop's status, once."""

    def of(outbox: Outbox) -> faults.Plan:
        struck: list[Request] = []

        def plan(request: Request) -> Fault | None:
            if outbox.writes != number or struck:
                return None
            struck.append(request)
            return fault

        return plan

    return of


@pytest.fixture(scope="module")
def changes() -> list[int]:
    """The writes of the outbox when nothing fails; each event is told once."""
    found, outbox, told = played(lambda _: faults.nothing)
    assert [*found.broken, *ends(STORY, found)] == []
    assert {one["id"] for one in told} == outbox.events.keys()
    assert len(told) == len(HAPPENED) == len(outbox.changes) / 2, "each is put in, and taken out"
    return outbox.changes


@pytest.mark.parametrize("fault", [Fault.DIE_BEFORE, Fault.DIE_AFTER])
@pytest.mark.parametrize("place", range(2 * len(HAPPENED)))
def test_nothing_goes_untold_and_nothing_is_told_that_was_not_written(
    changes: list[int], place: int, fault: Fault
) -> None:
    found, outbox, told = played(at(changes[place], fault))
    assert [*found.broken, *ends(STORY, found)] == []
    ids = [one["id"] for one in told]
    assert set(ids) == outbox.events.keys()
    assert sorted(outbox.events.values()) == sorted(HAPPENED), "nothing happens twice"
    assert len(ids) <= len(set(ids)) + 1, "what was taken and not written is told again, and nothing else is"
