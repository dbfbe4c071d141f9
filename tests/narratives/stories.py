"""The stories: what a user does and what happens around it. Each is compared, as told, with a golden file."""

from collections.abc import Callable, Iterator

from serin.api import names
from serin.rollout.model import Route
from tests.narratives.world import World, fails, passes, silent, spec

Story = Callable[[World], None]


def serving(world: World) -> None:
    """Bring the first version up."""
    world.run(20)


def first_version(world: World) -> None:
    serving(world)


def first_version_never_ready(world: World) -> None:
    world.problems[world.wanted] = "pod fraud-x: container model is waiting: ImagePullBackOff: no such image"
    world.run(700)


def router_takes_its_time(world: World) -> None:
    world.router_hears = False
    world.run(8)
    world.tell(f"sees: Ready={_ready(world)}")
    world.router_hears = True
    world.run(2)
    world.tell(f"sees: Ready={_ready(world)}")


def router_never_says(world: World) -> None:
    world.router_hears = False
    world.run(40)
    world.tell(f"sees: Ready={_ready(world)}")


def _ready(world: World) -> str:
    (ready,) = (one for one in world.status["conditions"] if one["type"] == "Ready")
    return f"{ready['status']} {ready['reason']}: {ready['message']}"


def good_candidate(world: World) -> None:
    serving(world)
    world.change(spec("2"))
    world.run(300)


def bad_candidate(world: World) -> None:
    serving(world)
    world.judge = fails
    world.change(spec("2"))
    world.run(120)


def bad_candidate_again_and_retry(world: World) -> None:
    bad_candidate(world)
    world.change(spec("1"))
    world.run(20)
    world.change(spec("2"))
    world.run(20)
    world.judge = passes
    world.annotate(names.ANNOTATION_RETRY, "1")
    world.run(300)


def new_spec_in_mid_rollout(world: World) -> None:
    serving(world)
    world.change(spec("2"))
    world.run(90)
    world.change(spec("3"))
    world.run(300)


def spec_back_to_stable(world: World) -> None:
    serving(world)
    world.change(spec("2"))
    world.run(90)
    world.change(spec("1"))
    world.run(60)


def candidate_never_ready(world: World) -> None:
    serving(world)
    world.problems[world.change(spec("2"))] = "pod fraud-x: container model exited with code 1 (Error): no weights"
    world.run(700)


def candidate_template_refused(world: World) -> None:
    serving(world)
    world.refused[world.change(spec("2"))] = "spec.containers[0].image: Required value"
    world.run(60)


def candidate_crashes_under_traffic(world: World) -> None:
    serving(world)
    candidate = world.change(spec("2"))
    world.run(30)
    world.crashed.add(candidate)
    world.problems[candidate] = "pod fraud-x: container model exited with code 137 (OOMKilled)"
    world.run(30)


def candidate_node_lost(world: World) -> None:
    serving(world)
    candidate = world.change(spec("2"))
    world.run(30)
    world.problems[candidate] = "pod fraud-x: cannot be scheduled: 0/1 nodes are available"
    world.run(60)
    del world.problems[candidate]
    world.run(300)


def pause_and_approve(world: World) -> None:
    serving(world)
    steps = [{"weight": 5, "bake": "30s"}, {"pause": {}}, {"weight": 50, "bake": "30s"}, {"pause": {"for": "60s"}}]
    world.change(spec("2", strategy={"canary": {"steps": steps}}))
    world.annotate(names.ANNOTATION_APPROVE, "too early")
    world.run(120)
    world.annotate(names.ANNOTATION_APPROVE, "now")
    world.run(200)


def paused_by_user(world: World) -> None:
    serving(world)
    world.change(spec("2"))
    world.run(30)
    world.annotate(names.ANNOTATION_PAUSE, "true")
    world.run(900)
    world.annotate(names.ANNOTATION_PAUSE, None)
    world.run(300)


def aborted_by_user(world: World) -> None:
    serving(world)
    world.change(spec("2"))
    world.run(30)
    world.annotate(names.ANNOTATION_ABORT)
    world.run(60)


def promoted_by_user(world: World) -> None:
    serving(world)
    world.judge = silent
    world.change(spec("2"))
    world.run(30)
    world.annotate(names.ANNOTATION_PROMOTE)
    world.run(60)


def no_traffic(world: World) -> None:
    serving(world)
    world.judge = silent
    world.change(spec("2"))
    world.run(600)


def no_traffic_roll_back(world: World) -> None:
    serving(world)
    world.judge = silent
    analysis = spec()["analysis"] | {"onNoData": {"action": "Rollback", "after": "5m"}}
    world.change(spec("2", analysis=analysis))
    world.run(600)


def max_duration(world: World) -> None:
    serving(world)
    strategy = {"canary": {"steps": [{"weight": 5, "bake": "1h"}], "maxDuration": "10m"}}
    world.change(spec("2", strategy=strategy))
    world.run(700)


def scaled_in_mid_rollout(world: World) -> None:
    serving(world)
    world.change(spec("2"))
    world.run(90)
    world.change(spec("2", replicas=2))
    world.run(300)


def only_steps_change(world: World) -> None:
    serving(world)
    steps = [{"weight": 10, "bake": "10s"}]
    world.change(spec("1", strategy={"canary": {"steps": steps}}))
    world.run(60)


def steps_change_in_mid_rollout(world: World) -> None:
    serving(world)
    world.change(spec("2"))
    world.run(90)
    world.change(
        spec("2", strategy={"canary": {"steps": [{"weight": 5, "bake": "60s"}, {"weight": 10, "bake": "60s"}]}})
    )
    world.run(200)


def stable_unhealthy(world: World) -> None:
    serving(world)
    stable = world.wanted
    world.change(spec("2"))
    world.run(30)
    world.problems[stable] = "pod fraud-a: container model exited with code 1 (Error)"
    world.run(300)
    del world.problems[stable]
    world.run(300)


def stable_short_while_candidate_fails(world: World) -> None:
    serving(world)
    world.change(spec("2"))
    world.run(30)
    world.pods[world.status["stable"]["snapshot"]].desired -= 1
    world.judge = fails
    world.run(30)


def router_refuses(world: World) -> None:
    serving(world)
    world.change(spec("2"))
    world.run(30)
    world.route = Route(refused="no healthy listener")
    world.run(120)
    world.route = Route()
    world.run(300)


ALL: tuple[Story, ...] = (
    first_version,
    first_version_never_ready,
    router_takes_its_time,
    router_never_says,
    good_candidate,
    bad_candidate,
    bad_candidate_again_and_retry,
    new_spec_in_mid_rollout,
    spec_back_to_stable,
    candidate_never_ready,
    candidate_template_refused,
    candidate_crashes_under_traffic,
    candidate_node_lost,
    pause_and_approve,
    paused_by_user,
    aborted_by_user,
    promoted_by_user,
    no_traffic,
    no_traffic_roll_back,
    max_duration,
    scaled_in_mid_rollout,
    only_steps_change,
    steps_change_in_mid_rollout,
    stable_unhealthy,
    stable_short_while_candidate_fails,
    router_refuses,
)


def named() -> Iterator[tuple[str, Story]]:
    """Each story with its name."""
    return ((story.__name__, story) for story in ALL)
