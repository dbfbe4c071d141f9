"""What is told of a look in numbers."""

from dataclasses import replace

from serin.api.json import JsonObject
from serin.api.state import RollbackRecord, State
from serin.controller.report import Reporter
from serin.controller.telemetry import Telemetry


class Nowhere:
    """Events that nobody reads."""

    def record(self, regarding: JsonObject, reason: str, note: str, *, warning: bool = False) -> None:
        pass


def test_what_came_of_a_rollback_is_counted_when_it_is_known_and_once() -> None:
    telemetry = Telemetry()
    reporter = Reporter(Nowhere(), telemetry)
    known = "serin_rollback_outcomes_total"
    first = RollbackRecord("b", "a", "OverLimit", "missed: too many", 10.0)
    helped = replace(first, outcome="NotRecovered")
    again = replace(first, at=20.0)
    for before, after in ((None, first), (first, helped), (helped, helped), (helped, again), (again, helped)):
        reporter._count(State(last_rollback=before), State(last_rollback=after))
    assert telemetry.registry.get_sample_value(known, {"outcome": "NotRecovered"}) == 2
    assert telemetry.registry.get_sample_value(known, {"outcome": ""}) is None
