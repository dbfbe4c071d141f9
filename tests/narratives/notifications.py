"""Stories of notifications: who is told what, once, and what becomes of them while a receiver does not answer."""

from serin.api import names
from tests.narratives.world import World, fails, passes, spec

TOLD = [{"webhook": {"name": "oncall"}, "events": ["RolledBack", "RollbackFailed"]}, {"webhook": {"name": "chat"}}]


def told_of_a_rollback_and_a_promotion(world: World) -> None:
    """Each receiver gets what it asks for; what nobody asks for is not kept."""
    world.spec = spec(notifications=TOLD)
    world.run(20)
    world.sampler = fails
    world.change(spec("2", notifications=TOLD))
    world.run(60)
    world.sampler = passes
    world.change(spec("3", notifications=TOLD))
    world.run(20)
    world.annotate(names.ANNOTATION_PROMOTE, "1 by alice")
    world.run(60)


def a_receiver_does_not_answer(world: World) -> None:
    """A rollback waits for nobody. What is not taken in an hour is given up, and what comes later is told."""
    world.spec = spec(notifications=TOLD)
    world.run(20)
    world.sampler = fails
    world.receiver_problem = "webhook oncall: it answers with status 503"
    world.change(spec("2", notifications=TOLD))
    world.run(3700)
    world.receiver_problem = ""
    world.annotate(names.ANNOTATION_RETRY, "1")
    world.run(60)
    world.receiver_problem = "webhook chat: no answer within 10 s"
    world.annotate(names.ANNOTATION_RETRY, "2")
    world.run(60)
    world.change(spec("2"))  # whose receivers are gone has nothing to tell
    world.run(20)


ALL = (told_of_a_rollback_and_a_promotion, a_receiver_does_not_answer)
