"""A pod template that the API server refuses may be accepted later: it is sent again, and the status says the same."""

from serin.rollout.model import ApplyDeployment, Plan, WriteStatus
from tests.narratives.world import World


def sent(plan: Plan) -> list[str]:
    return [action.snapshot for action in plan.actions if isinstance(action, ApplyDeployment)]


def test_a_first_version_is_sent_again_when_its_time_has_come() -> None:
    world = World()
    world.refused[world.wanted] = "denied by policy"
    world.again_at = world.now + 60.0
    world.run(10)
    plan = world.look()
    assert (sent(plan), plan.requeue_after) == ([], 50.0)
    assert world.status["reason"] == "PodTemplateRefused"
    world.now = world.again_at
    plan = world.look()
    assert sent(plan) == [world.wanted, world.wanted], "without and with the hash of its template"
    assert not [action for action in plan.actions if isinstance(action, WriteStatus)], "nothing new is to be told"
    del world.refused[world.wanted]
    world.run(30)
    assert world.status["reason"] == "Serving"
