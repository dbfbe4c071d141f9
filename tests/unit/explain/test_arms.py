"""What people read of a rollout of several arms: each of them, and why one is out."""

from serin.explain.facts import gather
from serin.explain.sentences import explain, headline
from serin.explain.tables import status
from tests.narratives.world import World, ab_test, arms_earn, bandit, variants, versions_buy

EVEN = {"1": 0.1, "2": 0.1, "3": 0.1, "4": 0.1}


def experiment() -> World:
    """Versions 2, 3 and 4 against version 1; 4 has failed."""
    world = World(spec=ab_test("1"))
    world.run(20)
    world.sampler = versions_buy(EVEN, failing="4")
    world.change(ab_test("2", split=60, variants=variants("3", "4"), minDuration="100s"))
    world.run(40)
    return world


def test_the_headline_names_every_arm_that_is_left() -> None:
    world = experiment()
    told = headline(gather(world.body, world.now))
    assert told == "fraud tries model 2 and model 3 on 20% of the requests each; model 1 serves the rest"


def test_an_eliminated_arm_is_told_with_its_reason() -> None:
    world = experiment()
    told = "\n".join(explain(gather(world.body, world.now)))
    assert "Model 4 was eliminated" in told or "model 4 was eliminated" in told
    assert "WorseThanStable: errors: " in told


def test_the_table_has_a_row_for_every_arm() -> None:
    world = experiment()
    versions = status(gather(world.body, world.now)).versions
    assert versions is not None
    rows = [tuple(cell.text for cell in row) for row in versions.rows]
    assert [(row[0], row[1], row[3]) for row in rows] == [
        ("stable", "1", "60%"),
        ("arm, evaluating", "2", "20%"),
        ("arm, evaluating", "3", "20%"),
        ("arm, eliminated", "4", "0%"),
    ]


def test_a_winner_that_the_spec_does_not_describe_is_what_is_wanted() -> None:
    world = experiment()
    world.sampler = versions_buy({**EVEN, "3": 0.16})
    world.run(400)
    facts = gather(world.body, world.now)
    assert headline(facts) == "fraud serves model 3"
    assert facts.serves_what_is_wanted


def test_arms_with_different_weights_are_told_apart() -> None:
    world = World(spec=bandit("1"))
    world.run(20)
    world.sampler = arms_earn({"1": 0.1, "2": 0.1, "3": 0.2})
    world.change(bandit("2", variants=variants("3"), minDuration="300s"))
    world.run(120)
    told = headline(gather(world.body, world.now))
    assert told == "fraud tries model 2 on 5% and model 3 on 65% of the requests; model 1 serves the rest"
