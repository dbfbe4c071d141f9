"""Retraining: which rollbacks count, which the stories in tests/narratives/retrainings.py do not tell."""

from typing import Any

from serin.api.retraining import Retraining
from serin.api.status import read_state
from tests.narratives.bisections import bad, both
from tests.narratives.retrainings import JOB, retrained, serving
from tests.narratives.world import World, fails

TWICE = {"rollbacks": {"count": 2, "within": "10m"}}


def kept(world: World) -> Retraining:
    found = read_state(world.status).retraining
    assert found is not None
    return found


def rolled_back_twice(pause: float, *triggers: dict[str, Any]) -> World:
    """Versions 2 and 3 were rolled back, so many seconds apart."""
    world = World()
    serving(world, retrained("1", *triggers))
    world.sampler = fails
    world.change(retrained("2", *triggers))
    world.run(60)
    world.run(pause, tick=60)
    world.change(retrained("3", *triggers))
    world.run(60)
    return world


def test_rollbacks_count_that_are_as_close_as_the_trigger_says() -> None:
    assert kept(rolled_back_twice(300, TWICE)).number == 1
    apart = kept(rolled_back_twice(700, TWICE))
    assert (apart.number, len(apart.rollbacks)) == (0, 1), "what counts no more is forgotten"
    often = {"rollbacks": {"count": 5, "within": "24h"}}
    apart = kept(rolled_back_twice(700, TWICE, often))
    assert (apart.number, len(apart.rollbacks)) == (0, 2), "each trigger has its own time"


def test_combinations_that_fail_are_no_rollbacks_of_what_the_spec_describes() -> None:
    world = World()
    world.run(20)
    world.sampler = bad(image="registry.test/fraud:2", model="2")
    world.change(both(retraining={"triggers": [TWICE], "cooldown": "1h", "job": JOB}))
    world.run(500)
    search = read_state(world.status).bisection
    assert search is not None
    assert [bool(one.reason) for one in search.tries] == [True, True], "both have failed"
    assert (kept(world).number, len(kept(world).rollbacks)) == (0, 1)
