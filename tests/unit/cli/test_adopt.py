"""`serin adopt`: the patch makes the winner the spec, and nothing starts again."""

import json

import pytest

from serin.cli.adopt import patch
from serin.cli.exit_codes import Stop
from tests.narratives.world import World, ab_test, variants, versions_buy


def merged(below: object, above: object) -> object:
    """RFC 7396, as the API server does it."""
    if not isinstance(above, dict):
        return above
    found = dict(below) if isinstance(below, dict) else {}
    for key, value in above.items():
        found[key] = merged(found.get(key), value)
    return {key: value for key, value in found.items() if value is not None}


def won() -> World:
    world = World(spec=ab_test("1"))
    world.run(20)
    world.sampler = versions_buy({"1": 0.10, "2": 0.10, "3": 0.16})
    world.change(ab_test("2", variants=variants("3")))
    world.run(400)
    return world


def test_the_patch_makes_the_winner_the_spec() -> None:
    world = won()
    serves, found = world.status["stable"]["snapshot"], patch(world.body)
    assert found["spec"]["model"] == {"name": "fraud", "version": "3"}
    assert json.loads(json.dumps(found)) == found
    adopted = merged(world.body, found)
    assert isinstance(adopted, dict)
    assert world.change(adopted["spec"]) == serves
    world.run(100)
    assert world.weights == {serves: 100}
    assert "arms" not in world.status


def test_a_winner_stays_the_spec_when_no_strategy_is_written_any_more() -> None:
    world = won()
    adopted = merged(world.body, patch(world.body))
    assert isinstance(adopted, dict)
    del adopted["spec"]["strategy"]
    assert patch(adopted) == {"spec": {}}


def test_without_a_winner_there_is_nothing_to_adopt() -> None:
    world = World(spec=ab_test("1", variants=variants("2")))
    world.run(20)
    with pytest.raises(Stop, match="no experiment with variants has a winner"):
        patch(world.body)


def test_a_winner_that_is_declared_no_longer_is_not_adopted() -> None:
    world = won()
    world.change(ab_test("2", variants=variants("4")))
    with pytest.raises(Stop, match="none of the versions that the spec declares now"):
        patch(world.body)
