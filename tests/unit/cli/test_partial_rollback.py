"""A combination that serves is not what the spec describes: whoever waits for that hears No, and not too early."""

from serin.api import names
from serin.cli.actions import ACTIONS
from serin.cli.exit_codes import Exit
from serin.cli.watching import outcome
from serin.explain.facts import gather
from tests.narratives.bisections import bad, both
from tests.narratives.world import World


def searched() -> tuple[World, list[Exit | None]]:
    """Version 2 on a bad image until a combination serves, and how it had ended after each write."""
    world, ended = World(), []
    world.run(20)
    world.sampler = bad(image="registry.test/fraud:2")
    world.change(both())
    while world.status["reason"] != "PartlyRolledBack":
        world.look()
        ended.append(outcome(gather(world.body, world.now)))
        world.now += 0 if world.last_plan and world.last_plan.actions else 2.0
    return world, ended


def test_who_waits_hears_no_when_the_search_is_over() -> None:
    _, ended = searched()
    assert set(ended[:-1]) == {None}
    assert ended[-1] is Exit.NO


def test_a_retry_says_what_comes_first() -> None:
    world, _ = searched()
    facts = gather(world.body, world.now)
    retry = next(one for one in ACTIONS if one.annotation == names.ANNOTATION_RETRY)
    assert retry.refuse(facts) == "a combination serves in its place: remove spec.rollback first"
