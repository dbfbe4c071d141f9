"""The stories: what a user does and what happens around it. Each is compared, as told, with a golden file."""

from collections.abc import Callable, Iterator
from typing import Any

from serin.analysis.traffic import Traffic
from serin.analysis.types import Arm, RatioTick, ReferenceTick, Tick
from serin.api import names
from serin.api.conditions import Reason
from serin.api.records import summary
from serin.evaluation.samples import SampleRequest
from serin.rollout.model import Route
from tests.narratives import (
    agreements,
    bisections,
    golden_probes,
    histograms,
    holdbacks,
    limits,
    notifications,
    pasts,
    recordings,
    retrainings,
    reviews,
    slices,
    validations,
)
from tests.narratives.world import (
    CONVERSION,
    START,
    Sampler,
    World,
    ab_test,
    arms_earn,
    bandit,
    fails,
    passes,
    silent,
    spec,
    undecided,
    users_buy,
    variants,
    versions_buy,
)

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
    world.tell(f"sees: Ready={_condition(world, 'Ready')}")
    world.router_hears = True
    world.run(2)
    world.tell(f"sees: Ready={_condition(world, 'Ready')}")


def router_never_says(world: World) -> None:
    world.router_hears = False
    world.run(40)
    world.tell(f"sees: Ready={_condition(world, 'Ready')}")


def good_candidate(world: World) -> None:
    serving(world)
    world.change(spec("2"))
    world.run(300)


def promotes_as_soon_as_the_router_has_taken_it(world: World) -> None:
    serving(world)
    wanted = world.change(spec("2"))
    _until_all_traffic_on(wanted, world)
    world.run(4, tick=1)
    world.tell(f"sees: stable is {world.status['stable']['snapshot']}, {world.status['reason']}")
    world.router_hears = True
    world.run(2, tick=1)
    world.tell(f"sees: stable is {world.status['stable']['snapshot']}")


def no_promotion_while_the_router_is_not_heard(world: World) -> None:
    serving(world)
    wanted = world.change(spec("2"))
    _until_all_traffic_on(wanted, world)
    world.run(600)
    world.tell(f"sees: pods of {', '.join(sorted(world.pods))}, Routed={_condition(world, 'Routed')}")
    world.router_hears = True
    world.run(60)


def rolled_back_while_the_router_is_not_heard(world: World) -> None:
    serving(world)
    world.change(spec("2"))
    world.run(30)
    world.router_hears = False
    world.sampler = fails
    world.run(600)
    world.tell(f"sees: pods of {', '.join(sorted(world.pods))}, Routed={_condition(world, 'Routed')}")
    world.router_hears = True
    world.run(60)


def _until_all_traffic_on(snapshot: str, world: World) -> None:
    """Every step passes, and from its last one on the router is silent."""
    while world.weights.get(snapshot, 0) < 25:
        world.run(5)
    while world.weights.get(snapshot) != 100:
        world.run(1, tick=1)
        world.router_hears = world.weights.get(snapshot, 0) < 50


def bad_candidate(world: World) -> None:
    serving(world)
    world.sampler = fails
    world.change(spec("2"))
    world.run(120)


def bad_candidate_again_and_retry(world: World) -> None:
    bad_candidate(world)
    world.change(spec("1"))
    world.run(20)
    world.change(spec("2"))
    world.run(20)
    world.sampler = passes
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
    steps = [
        {"weight": 5, "bake": "30s", "minRequests": 100},
        {"pause": {}},
        {"weight": 50, "bake": "30s"},
        {"pause": {"for": "60s"}},
    ]
    world.change(spec("2", strategy={"canary": {"steps": steps}}))
    world.annotate(names.ANNOTATION_APPROVE, "too early")
    world.run(120)
    world.annotate(names.ANNOTATION_APPROVE, "now")
    world.run(200)


def approved_by_two(world: World) -> None:
    """An approval counts for an hour and nobody twice; one without a name or of another version does not count."""
    serving(world)
    steps = (
        {"weight": 5, "bake": "30s"},
        {"pause": {"approvals": 2, "expireAfter": "1h"}},
        {"weight": 50, "bake": "30s"},
    )
    world.change(spec("2", strategy=_steps(*steps)))
    world.run(100)
    world.annotate(names.ANNOTATION_APPROVE, "now")
    world.run(20)
    world.annotate(names.ANNOTATION_APPROVE, "1 for fraud-nxgb4hrzdm/2 by bob")  # he has seen another version
    world.run(20)
    world.annotate(names.ANNOTATION_APPROVE, "1 by alice")
    world.run(20)
    world.annotate(names.ANNOTATION_APPROVE, "2 by alice")
    world.run(4000)
    world.annotate(names.ANNOTATION_APPROVE, "3 by bob@example.com")
    world.run(20)
    world.annotate(names.ANNOTATION_APPROVE, "4 by alice")
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
    world.sampler = silent
    world.change(spec("2"))
    world.run(30)
    world.annotate(names.ANNOTATION_PROMOTE)
    world.run(60)


def no_traffic(world: World) -> None:
    serving(world)
    world.sampler = silent
    world.change(spec("2"))
    world.run(600)


def no_traffic_roll_back(world: World) -> None:
    serving(world)
    world.sampler = silent
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


def metric_template_is_missing(world: World) -> None:
    serving(world)
    world.invalid = Reason.METRIC_TEMPLATE_NOT_FOUND, "metric cost: there is no MetricTemplate cost-per-answer in shop"
    world.change(spec("1", progressDeadline="11m"))
    world.run(20)
    _tell_conditions(world)
    world.annotate(names.ANNOTATION_PAUSE)
    world.change(spec("2"))
    world.run(40)
    _tell_conditions(world)
    world.annotate(names.ANNOTATION_PAUSE, None)
    world.invalid = None
    world.run(300)
    _tell_conditions(world)


def service_is_not_ours(world: World) -> None:
    serving(world)
    words = "the Service fraud in shop exists and is not Serin's: rename the ModelDeployment or delete the Service"
    world.route = Route(not_ours=words)
    world.run(20)
    _tell_conditions(world)
    world.annotate(names.ANNOTATION_PAUSE)
    world.change(spec("2"))
    world.run(40)
    _tell_conditions(world)


def _tell_conditions(world: World) -> None:
    world.tell(f"sees: {world.status['reason']}: {world.status['message']}")
    for kind in ("Ready", "Stalled"):
        world.tell(f"sees: {kind}={_condition(world, kind)}")


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


def running_step_is_edited(world: World) -> None:
    world.sampler = undecided
    serving(world)
    world.change(spec("2", strategy=_steps({"weight": 50, "bake": "10m"}, {"weight": 80, "bake": "10m"})))
    world.run(60)
    world.annotate(names.ANNOTATION_PAUSE)
    world.run(30)
    world.change(spec("2", strategy=_steps({"weight": 10, "bake": "10m"}, {"weight": 80, "bake": "10m"})))
    world.run(30)
    world.annotate(names.ANNOTATION_PAUSE, None)
    world.change(spec("2", strategy=_steps({"weight": 30, "bake": "10m"}, {"weight": 80, "bake": "10m"})))
    world.run(30)
    world.tell(f"sees: {world.status['reason']}: {world.status['message']}")
    world.sampler = passes
    world.run(30)


def _steps(*steps: dict[str, Any]) -> dict[str, Any]:
    return {"canary": {"steps": list(steps)}}


def _rolled_out(world: World, *steps: dict[str, Any]) -> None:
    """Version 1 serves, and version 2 is the candidate."""
    serving(world)
    world.change(spec("2", strategy=_steps(*steps)))


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
    world.sampler = fails
    world.run(30)


def traffic_is_not_as_routed(world: World) -> None:
    serving(world)
    world.change(spec("2"))
    world.run(30)
    world.shares = (600, 600)
    world.run(120)
    world.shares = None
    world.run(300)


ANSWERS = {
    "name": "answers",
    "distribution": {
        "counts": "predictions_total{ {{.version}} }",
        "by": "label",
        "reference": {"legit": 9700, "fraud": 300},
    },
    "against": "reference",
    "severity": "minor",
}


def _answering(candidate: tuple[int, int], stable: tuple[int, int]) -> Sampler:
    """As good as stable in everything, and these answers of legit and fraud, against the reference."""

    def sampler(world: World, asked: SampleRequest) -> Tick:
        if asked.metric.name != "answers":
            return passes(world, asked)
        return ReferenceTick(world.now, (*candidate, 0), (9700, 300, 0), (*stable, 0), ("legit", "fraud", "other"))

    return sampler


def answers_move_with_the_world(world: World) -> None:
    serving(world)
    world.sampler = _answering((800, 200), (7300, 1700))
    world.change(spec("2", metrics=[*spec()["metrics"], ANSWERS]))
    world.run(200)
    world.sampler = _answering((967_000, 33_000), (8_720_000, 280_000))
    world.run(300)


def answers_move_with_the_version(world: World) -> None:
    serving(world)
    world.sampler = _answering((800, 200), (8720, 280))
    world.change(spec("2", metrics=[*spec()["metrics"], ANSWERS]))
    world.run(200)
    world.annotate(names.ANNOTATION_ABORT)
    world.run(60)


def router_refuses(world: World) -> None:
    serving(world)
    world.change(spec("2"))
    world.run(30)
    world.route = Route(refused="no healthy listener")
    world.run(120)
    world.route = Route()
    world.run(300)


def router_has_no_room(world: World) -> None:
    """As after a restored backup: its port is another deployment's, and none is free. A bad candidate goes at once."""
    serving(world)
    world.change(spec("2"))
    world.run(30)
    world.route = Route(full="all 20,000 listener ports of the router are taken: delete model deployments")
    world.run(30)
    world.sampler = fails
    world.run(30)
    world.route = Route()
    world.run(30)


def _second_version(world: World) -> str:
    """Version 2 is promoted, and the first one's pods are gone; answers the first one's snapshot."""
    serving(world)
    first = world.wanted
    world.change(spec("2"))
    world.run(300)
    world.tell(f"sees: pods of {', '.join(sorted(world.pods))}")
    return first


def goes_back_after_promotion(world: World) -> None:
    _second_version(world)
    world.annotate(names.ANNOTATION_ROLLBACK_TO, "previous@1")
    world.run(4)
    world.tell(f"sees: Reconciling={_condition(world, 'Reconciling')}")
    world.run(60)
    world.tell(f"sees: CandidateRejected={_condition(world, 'CandidateRejected')}")


def recorded_on_schedule(world: World) -> None:
    world.annotations |= {
        names.ANNOTATION_GIT_REVISION: "4f1c2ab",
        names.ANNOTATION_GIT_AUTHOR: "Ada <ada@example.com>",
    }
    world.change(spec("1", snapshots={"every": "20m", "keep": 10}))
    world.run(310)
    world.tell(f"sees: {_records(world)}")
    world.run(1210)
    world.tell(f"sees: {_records(world)}")
    world.sampler = fails
    world.change(spec("2", snapshots={"every": "20m", "keep": 10}))
    world.run(120)
    world.sampler = silent
    world.run(400)
    for snapshot in sorted(world.snapshots):
        world.tell(f"sees: {snapshot}: {_records(world, snapshot)}")


def _records(world: World, snapshot: str = "") -> str:
    """The records of a snapshot (stable's) in a line: when, why, and what was measured."""
    records = world.snapshots[snapshot or world.status["stable"]["snapshot"]].records
    return "; ".join(f"{one.occasion} at {one.at - START:.0f}s {summary([one])}".strip() for one in records)


def goes_back_and_retries(world: World) -> None:
    first = _second_version(world)
    world.annotate(names.ANNOTATION_ROLLBACK_TO, f"{first}@1")
    world.run(60)
    world.annotate(names.ANNOTATION_RETRY, "1")
    world.run(300)
    # The first one was stable before the second one a second time.
    world.annotate(names.ANNOTATION_ROLLBACK_TO, "previous@2")
    world.run(60)


def goes_back_in_mid_rollout(world: World) -> None:
    first = _second_version(world)
    world.change(spec("3"))
    world.run(90)
    world.annotate(names.ANNOTATION_ROLLBACK_TO, first)
    world.run(3)
    world.tell(f"sees: CandidateRejected={_condition(world, 'CandidateRejected')}")
    world.tell(f"sees: Stalled={_condition(world, 'Stalled')}")
    world.run(60)


def goes_back_to_stable_in_mid_rollout(world: World) -> None:
    serving(world)
    world.change(spec("2"))
    world.run(90)
    world.annotate(names.ANNOTATION_ROLLBACK_TO, "previous@1")
    world.run(60)


def goes_back_nowhere(world: World) -> None:
    serving(world)
    first = world.wanted
    world.annotate(names.ANNOTATION_ROLLBACK_TO, "previous")
    world.run(10)
    world.sampler = fails
    bad = world.change(spec("2"))
    world.run(60)
    world.annotate(names.ANNOTATION_ROLLBACK_TO, bad)
    world.sampler = silent
    never = world.change(spec("3"))
    world.run(60)
    world.annotate(names.ANNOTATION_ROLLBACK_TO, never)
    world.run(10)
    world.sampler = passes
    world.change(spec("4"))
    world.run(300)
    for asked in (f"{never}@2", world.wanted, "fraud-zzzzzzzzzz", "churn-bbbbbbbbbb@2", ""):
        world.annotate(names.ANNOTATION_ROLLBACK_TO, asked)
        world.run(10)
    world.annotate(names.ANNOTATION_ROLLBACK_TO, first)
    world.run(3)
    world.annotate(names.ANNOTATION_ROLLBACK_TO, f"{first}@again")
    world.run(60)


def goes_back_to_what_never_gets_ready(world: World) -> None:
    first = _second_version(world)
    world.problems[first] = "pod fraud-a: cannot be scheduled: 0/1 nodes are available"
    world.annotate(names.ANNOTATION_ROLLBACK_TO, f"{first}@1")
    world.run(700)
    world.tell(f"sees: {world.status['reason']}, Stalled={_condition(world, 'Stalled')}")
    del world.problems[first]
    world.annotate(names.ANNOTATION_ROLLBACK_TO, f"{first}@2")
    world.run(60)


def goes_back_to_the_best(world: World) -> None:
    _four_of_different_quality(world)
    world.annotate(names.ANNOTATION_ROLLBACK_TO, "best:cost@1")
    world.run(10)
    world.annotate(names.ANNOTATION_ROLLBACK_TO, "best@2")
    world.run(60)


def goes_back_to_the_next_best(world: World) -> None:
    best, *_ = _four_of_different_quality(world)
    world.problems[best] = "pod fraud-a: container model is waiting: ImagePullBackOff: no such image"
    world.annotate(names.ANNOTATION_ROLLBACK_TO, "best:errors@1")
    world.run(700)


def goes_back_to_none_of_them(world: World) -> None:
    snapshots = _four_of_different_quality(world)
    world.problems |= dict.fromkeys(snapshots, "pod fraud-a: cannot be scheduled: 0/1 nodes are available")
    world.annotate(names.ANNOTATION_ROLLBACK_TO, "best@1")
    world.run(2000)
    world.tell(f"sees: {world.status['reason']}, Stalled={_condition(world, 'Stalled')}")


def _four_of_different_quality(world: World) -> tuple[str, ...]:
    """Version 4 is stable; answers the snapshots of the others, the best first."""
    rates = {"1": 0.02, "2": 0.001, "3": 0.01, "4": 0.03}

    def sample(world: World, asked: SampleRequest) -> Tick:
        both = (asked.subject, asked.baseline or asked.subject)
        shares = [rates[world.snapshots[one].model_version] for one in both]
        return RatioTick(world.now, *(Arm(20_000, round(20_000 * one)) for one in shares))

    errors = [{"name": "errors", "template": {"name": "request-errors"}, "severity": "info"}]
    world.spec, world.sampler = spec("1", metrics=errors), sample
    serving(world)
    found = {"1": world.wanted}
    for version in "234":
        found[version] = world.change(spec(version, metrics=errors))
        world.run(300)
    return found["2"], found["3"], found["1"]


def goes_back_to_what_is_refused(world: World) -> None:
    first = _second_version(world)
    world.refused[first] = "spec.containers[0].image: Required value"
    world.annotate(names.ANNOTATION_ROLLBACK_TO, first)
    world.run(60)
    world.annotate(names.ANNOTATION_ROLLBACK_TO, None)
    world.run(10)
    world.tell(f"sees: {world.status['reason']}")


def goes_back_while_stable_is_down(world: World) -> None:
    _second_version(world)
    world.problems[world.wanted] = "pod fraud-b: container model exited with code 1 (Error)"
    world.run(30)
    world.annotate(names.ANNOTATION_ROLLBACK_TO, "previous@1")
    world.run(60)


def goes_back_to_what_dies_on_arrival(world: World) -> None:
    first = _second_version(world)
    world.router_hears = False
    world.annotate(names.ANNOTATION_ROLLBACK_TO, "previous@1")
    while world.weights != {first: 100}:
        world.run(1)
    world.problems[first] = "pod fraud-a: cannot be scheduled: 0/1 nodes are available"
    world.run(5)
    del world.problems[first]
    world.run(60)
    world.router_hears = True
    world.run(60)


def goes_back_and_thinks_better_of_it(world: World) -> None:
    _second_version(world)
    world.annotate(names.ANNOTATION_ROLLBACK_TO, "previous@1")
    world.run(3)
    world.annotate(names.ANNOTATION_ABORT)
    world.run(60)
    world.annotate(names.ANNOTATION_ROLLBACK_TO, "previous@2")
    world.run(3)
    world.annotate(names.ANNOTATION_ROLLBACK_TO, "previous@3")
    world.run(1)
    world.annotate(names.ANNOTATION_ROLLBACK_TO, world.wanted)
    world.run(60)


def goes_back_while_the_router_is_away(world: World) -> None:
    _second_version(world)
    world.route = Route(ready=False)
    world.annotate(names.ANNOTATION_ROLLBACK_TO, "previous@1")
    world.run(700)
    world.route = Route()
    world.run(60)


def new_spec_while_going_back(world: World) -> None:
    _second_version(world)
    world.annotate(names.ANNOTATION_ROLLBACK_TO, "previous@1")
    world.run(3)
    world.change(spec("3"))
    world.run(300)


def spec_back_while_going_back(world: World) -> None:
    _second_version(world)
    world.annotate(names.ANNOTATION_ROLLBACK_TO, "previous@1")
    world.run(3)
    world.change(spec("1", replicas=2))
    world.run(60)


def too_little_traffic(world: World) -> None:
    serving(world)
    world.sampler = undecided
    world.change(spec("2"))
    world.run(1)
    world.tell(f"sees: PolicyFeasible={_condition(world, 'PolicyFeasible')}")
    world.traffic = {"errors": Traffic(rate=0.4, bad=0.01)}
    world.run(120)
    world.tell(f"sees: PolicyFeasible={_condition(world, 'PolicyFeasible')}")
    body = spec("2")
    body["strategy"]["canary"]["steps"] = [{"weight": 50, "bake": "2h"}]
    world.change(body)
    world.run(60)
    world.tell(f"sees: PolicyFeasible={_condition(world, 'PolicyFeasible')}")


def _test(world: World, sampler: Sampler, **changes: object) -> None:
    """A test of version 2 against version 1."""
    world.spec = ab_test("1")
    serving(world)
    world.sampler = sampler
    world.change(ab_test("2", **changes))


def ab_test_of_a_better_version(world: World) -> None:
    _test(world, users_buy(0.14, 0.10))
    world.run(40)
    world.tell(f"sees: {world.status['message']}")
    world.run(200)


def ab_test_of_a_worse_version(world: World) -> None:
    _test(world, users_buy(0.07, 0.10), sticky={"cookie": {"name": "serin-ab", "ttl": "720h"}})
    world.run(200)


def ab_test_without_a_difference(world: World) -> None:
    _test(world, users_buy(0.10, 0.10, users=20_000))
    world.run(300)


def ab_test_without_an_answer_that_promotes(world: World) -> None:
    _test(world, users_buy(0.10, 0.10, users=100), whenInconclusive="Promote")
    world.run(500)


def ab_test_that_a_guardrail_ends(world: World) -> None:
    _test(world, users_buy(0.14, 0.10))
    world.run(20)
    world.sampler = fails
    world.run(60)


def ab_test_of_users_that_are_not_as_routed(world: World) -> None:
    """Only the goal counts users, and it counts a third too many of the new version's."""
    good = users_buy(0.14, 0.10)

    def astray(world: World, asked: SampleRequest) -> Tick:
        tick = good(world, asked)
        if asked.metric.name != CONVERSION or not isinstance(tick, RatioTick):
            return tick
        return RatioTick(tick.at, Arm(5_300, tick.candidate.bad), tick.stable)

    _test(world, astray)
    world.run(100)
    world.tell(f"sees: {world.status['reason']}")
    world.run(300)


def ab_test_whose_share_changes(world: World) -> None:
    _test(world, users_buy(0.12, 0.12), split=20)
    world.run(30)
    world.tell(f"sees: sticky {world.status['traffic']['sticky']['header']}")
    world.change(ab_test("2", split=60))
    world.run(20)
    world.change(ab_test("2", split=10))
    world.run(100)


def ab_test_of_variants(world: World) -> None:
    """Three versions against stable: c fails, b is the best, and serves on although the spec describes another."""
    _test(world, versions_buy({"1": 0.10, "2": 0.10, "3": 0.14}), split=60, variants=variants("3", "4"))
    world.sampler = versions_buy({"1": 0.10, "2": 0.10, "3": 0.14, "4": 0.10}, failing="4")
    world.run(40)
    world.tell(f"sees: weights {sorted(world.weights.values())}; {world.status['message']}")
    world.run(300)
    serves = world.snapshots[world.status["stable"]["snapshot"]].model_version
    world.tell(f"sees: model {serves} serves, pods of {', '.join(sorted(world.pods))}, {world.status['reason']}")


def ab_test_of_variants_of_what_serves(world: World) -> None:
    """The spec's own version is stable: the variants are tested against it, and none is better."""
    world.spec = ab_test("1")
    serving(world)
    world.sampler = versions_buy({"1": 0.12, "2": 0.08, "3": 0.12})
    world.change(ab_test("1", variants=variants("2", "3"), maxDuration="150s"))
    world.run(300)
    rejected = sorted(one.model_version for one in world.snapshots.values() if one.rejected)
    world.tell(f"sees: {world.status['reason']}, rejected models {', '.join(rejected)}")


def _bandit(world: World, sampler: Sampler, **changes: object) -> None:
    """Versions 2 and 3 beside version 1."""
    world.spec = bandit("1")
    serving(world)
    world.sampler = sampler
    world.change(bandit("2", **{"variants": variants("3"), **changes}))


def bandit_of_variants(world: World) -> None:
    """Version 2 fails and is out, version 3 is the best and serves on although the spec describes another."""
    earns = {"1": 0.10, "2": 0.10, "3": 0.13}
    _bandit(world, arms_earn(earns), minDuration="150s")
    world.run(50)
    world.sampler = arms_earn(earns, failing="2")
    world.run(40)
    world.tell(f"sees: {world.status['message']}")
    world.run(200)
    serves = world.snapshots[world.status["stable"]["snapshot"]].model_version
    world.tell(f"sees: model {serves} serves, pods of {', '.join(sorted(world.pods))}, {world.status['reason']}")


def bandit_that_stable_wins(world: World) -> None:
    _bandit(world, arms_earn({"1": 0.14, "2": 0.10, "3": 0.12}))
    world.run(300)


def bandit_without_data(world: World) -> None:
    """The reward's counters go away: the weights stay until they are back."""
    earns = arms_earn({"1": 0.10, "2": 0.10, "3": 0.11})

    def blind(world: World, asked: SampleRequest) -> Tick:
        return silent(world, asked) if asked.metric.name == CONVERSION else earns(world, asked)

    _bandit(world, earns, minDuration="500s")
    world.run(80)
    world.sampler = blind
    world.run(80)
    world.tell(f"sees: {world.status['message']}")
    world.sampler = earns
    world.run(60)


def bandit_that_runs_out_of_time(world: World) -> None:
    """All are the same: at maxDuration the likeliest one serves, without a proof."""
    _bandit(world, arms_earn({"1": 0.10, "2": 0.10, "3": 0.10}), maxDuration="150s")
    world.run(300)


def _condition(world: World, kind: str) -> str:
    (found,) = (one for one in world.status["conditions"] if one["type"] == kind)
    return f"{found['status']} {found['reason']}: {found['message']}"


def kill_switch_in_mid_rollout(world: World) -> None:
    serving(world)
    world.change(spec("2"))
    world.run(90)
    world.annotate(names.ANNOTATION_KILL_SWITCH, "Candidate")
    world.run(60)
    world.tell(f"sees: {world.status['killSwitch']}, Stalled={_condition(world, 'Stalled')}")
    world.change(spec("3"))
    world.run(60)
    world.annotate(names.ANNOTATION_KILL_SWITCH, None)
    world.run(300)


def kill_switch_for_all(world: World) -> None:
    serving(world)
    world.change(spec("2", fallback={"service": {"name": "rules-engine", "port": 8080}}))
    world.run(30)
    world.annotate(names.ANNOTATION_PAUSE)
    world.annotate(names.ANNOTATION_KILL_SWITCH, "candidate")
    world.run(10)
    world.route = Route(no_fallback="there is no Service rules-engine in this namespace: create it")
    world.annotate(names.ANNOTATION_KILL_SWITCH, "All")
    world.run(60)
    world.tell(f"sees: Ready={_condition(world, 'Ready')}")
    world.tell(f"sees: FallbackReady={_condition(world, 'FallbackReady')}")
    world.route = Route()
    world.run(10)
    world.tell(f"sees: Ready={_condition(world, 'Ready')}")
    world.tell(f"sees: FallbackReady={_condition(world, 'FallbackReady')}")
    world.annotate(names.ANNOTATION_KILL_SWITCH, "off")
    world.annotate(names.ANNOTATION_PAUSE, None)
    world.run(300)


def kill_switch_before_the_first_version(world: World) -> None:
    world.spec = spec(
        "1", killSwitch="All", fallback={"answer": {"status": 200, "contentType": "text/plain", "body": "0"}}
    )
    serving(world)
    world.tell(f"sees: Ready={_condition(world, 'Ready')}")
    world.spec = spec("1")
    world.run(10)
    world.tell(f"sees: Ready={_condition(world, 'Ready')}")


def kill_switch_while_going_back(world: World) -> None:
    first = _second_version(world)
    world.annotate(names.ANNOTATION_ROLLBACK_TO, f"{first}@1")
    world.run(2)
    world.annotate(names.ANNOTATION_KILL_SWITCH, "stop it")
    world.run(60)
    world.tell(f"sees: {world.status['message']}")


COHORT = {"match": {"headers": {"x-beta": "true"}, "cookies": {"group": "beta"}}, "bake": "60s", "minRequests": 50}
COHORT_STEPS = [COHORT, {"pause": {}}, {"weight": 50, "bake": "60s"}]


def cohort_first(world: World) -> None:
    _rolled_out(world, *COHORT_STEPS)
    world.run(60)
    world.tell(f"sees: {world.status['step']['note']}; rules {len(world.status['traffic']['rules'])}")
    world.run(60)
    world.annotate(names.ANNOTATION_APPROVE, "1")
    world.run(2)
    world.tell(f"sees: {len(world.status['arms'][0]['evidence'])} metrics with evidence, {world.status['traffic']}")
    world.run(120)


def cohort_that_is_failed(world: World) -> None:
    _rolled_out(world, *COHORT_STEPS)
    world.run(20)
    world.sampler = fails
    world.run(30)


def cohort_that_is_edited(world: World) -> None:
    _rolled_out(world, *COHORT_STEPS)
    world.run(20)
    other = {**COHORT, "match": {"headers": {"x-team": "payments"}}}
    world.annotate(names.ANNOTATION_PAUSE)
    world.change(spec("2", strategy=_steps(other, *COHORT_STEPS[1:])))
    world.run(20)
    world.annotate(names.ANNOTATION_PAUSE, None)
    world.run(20)
    world.tell(f"sees: {world.status['traffic']['rules'][0]['headers']}")


def cohort_that_nobody_belongs_to(world: World) -> None:
    serving(world)
    world.sampler = silent
    world.change(spec("2", strategy=_steps({**COHORT, "replicas": 1}, *COHORT_STEPS[1:])))
    world.run(120)


BLUE_GREEN = {"preview": {"replicas": 1}, "approve": "Auto", "holdback": 1, "bake": "60s", "keep": "5m"}


def _green(version: str, **changes: Any) -> dict[str, Any]:
    return spec(version, strategy={"blueGreen": {**BLUE_GREEN, **changes}})


def blue_green(world: World) -> None:
    serving(world)
    world.change(_green("2", approve="Manual", minRequests=100))
    world.run(60)
    world.tell(f"sees: preview leads to {world.preview}, rules {len(world.status['traffic']['rules'])}")
    world.annotate(names.ANNOTATION_APPROVE, "1")
    world.run(20)
    world.tell(f"sees: preview leads to {world.preview}, stable is {world.status['stable']['snapshot']}")
    world.run(120)
    world.tell(f"sees: pods of {', '.join(sorted(world.pods))}, kept {sorted(world.status['kept'])}")
    world.run(400)
    world.tell(f"sees: pods of {', '.join(sorted(world.pods))}")


def blue_green_fails_in_the_bake(world: World) -> None:
    serving(world)
    world.change(_green("2"))
    world.run(40)
    world.sampler = fails
    world.run(60)


def blue_green_without_holdback(world: World) -> None:
    serving(world)
    world.sampler = silent
    world.change(_green("2", holdback=0, keep="0s"))
    world.run(60)
    world.tell(f"sees: {world.status['step']['note']}")
    world.run(120)


def blue_green_and_back(world: World) -> None:
    serving(world)
    world.change(_green("2"))
    world.run(150)
    world.tell(f"sees: stable is {world.status['stable']['snapshot']}, pods of {', '.join(sorted(world.pods))}")
    world.annotate(names.ANNOTATION_ROLLBACK_TO, "previous@1")
    world.run(2, tick=1)
    world.tell(f"sees: weights {world.weights}")
    world.run(60)


def blue_green_holdback_is_edited(world: World) -> None:
    serving(world)
    world.change(_green("2"))
    world.run(40)
    world.change(_green("2", holdback=20))
    world.run(10)


MIRROR_STEPS = [{"mirror": 20, "bake": "60s"}, {"weight": 50, "bake": "60s"}]


def mirror_first(world: World) -> None:
    _rolled_out(world, *MIRROR_STEPS)
    world.run(40)
    world.tell(f"sees: {world.status['message']}; {world.status['traffic']['mirror']['percent']}% copied")
    world.run(150)


def mirror_that_is_failed(world: World) -> None:
    _rolled_out(world, *MIRROR_STEPS)
    world.run(20)
    world.sampler = fails
    world.run(30)


def mirror_that_loses_its_pods(world: World) -> None:
    _rolled_out(world, *MIRROR_STEPS)
    world.run(20)
    world.problems[world.wanted] = "0/1 nodes are available"
    world.run(20)
    del world.problems[world.wanted]
    world.run(20)


def mirror_that_is_edited(world: World) -> None:
    _rolled_out(world, *MIRROR_STEPS)
    world.run(20)
    world.change(spec("2", strategy=_steps({"mirror": 5, "bake": "60s"}, MIRROR_STEPS[1])))
    world.run(20)
    world.change(spec("2", strategy=_steps(*MIRROR_STEPS[1:])))
    world.run(20)


def mirror_then_a_cohort(world: World) -> None:
    _rolled_out(world, MIRROR_STEPS[0], COHORT, MIRROR_STEPS[1])
    world.run(260)


def cohort_that_is_edited_away(world: World) -> None:
    _rolled_out(world, *COHORT_STEPS)
    world.run(20)
    world.change(spec("2", strategy=_steps({"weight": 50, "bake": "60s"})))
    world.run(20)


SHADOW = {"mirror": 20, "bake": "60s", "minRequests": 100, "then": "Promote"}


def shadow_alone(world: World) -> None:
    serving(world)
    world.change(spec("2", strategy={"shadow": SHADOW}))
    world.run(120)


def shadow_that_holds(world: World) -> None:
    serving(world)
    world.change(spec("2", strategy={"shadow": {**SHADOW, "then": "Hold"}}))
    world.run(120)
    world.tell(f"sees: {world.status['traffic']['mirror']['percent']}% copied")
    world.annotate(names.ANNOTATION_APPROVE, "1")
    world.run(30)


def shadow_that_nobody_asks(world: World) -> None:
    serving(world)
    world.sampler = silent
    world.change(spec("2", strategy={"shadow": SHADOW}))
    world.run(120)
    world.change(spec("1"))
    world.run(10)


ALL: tuple[Story, ...] = (
    first_version,
    first_version_never_ready,
    router_takes_its_time,
    router_never_says,
    good_candidate,
    promotes_as_soon_as_the_router_has_taken_it,
    no_promotion_while_the_router_is_not_heard,
    bad_candidate,
    bad_candidate_again_and_retry,
    new_spec_in_mid_rollout,
    spec_back_to_stable,
    candidate_never_ready,
    candidate_template_refused,
    candidate_crashes_under_traffic,
    candidate_node_lost,
    pause_and_approve,
    approved_by_two,
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
    traffic_is_not_as_routed,
    router_refuses,
    router_has_no_room,
    answers_move_with_the_world,
    answers_move_with_the_version,
    goes_back_after_promotion,
    recorded_on_schedule,
    goes_back_and_retries,
    goes_back_in_mid_rollout,
    goes_back_to_stable_in_mid_rollout,
    goes_back_nowhere,
    goes_back_to_what_never_gets_ready,
    goes_back_to_the_best,
    goes_back_to_the_next_best,
    goes_back_to_none_of_them,
    goes_back_to_what_is_refused,
    goes_back_while_stable_is_down,
    goes_back_to_what_dies_on_arrival,
    goes_back_and_thinks_better_of_it,
    goes_back_while_the_router_is_away,
    new_spec_while_going_back,
    spec_back_while_going_back,
    too_little_traffic,
    rolled_back_while_the_router_is_not_heard,
    running_step_is_edited,
    metric_template_is_missing,
    service_is_not_ours,
    kill_switch_in_mid_rollout,
    kill_switch_for_all,
    kill_switch_before_the_first_version,
    kill_switch_while_going_back,
    cohort_first,
    cohort_that_is_failed,
    cohort_that_is_edited,
    cohort_that_nobody_belongs_to,
    blue_green,
    blue_green_fails_in_the_bake,
    blue_green_without_holdback,
    blue_green_and_back,
    blue_green_holdback_is_edited,
    ab_test_of_a_better_version,
    ab_test_of_a_worse_version,
    ab_test_without_a_difference,
    ab_test_without_an_answer_that_promotes,
    ab_test_that_a_guardrail_ends,
    ab_test_of_users_that_are_not_as_routed,
    ab_test_whose_share_changes,
    cohort_that_is_edited_away,
    mirror_first,
    mirror_that_is_failed,
    mirror_that_loses_its_pods,
    mirror_that_is_edited,
    mirror_then_a_cohort,
    shadow_alone,
    shadow_that_holds,
    shadow_that_nobody_asks,
    ab_test_of_variants,
    ab_test_of_variants_of_what_serves,
    bandit_of_variants,
    bandit_that_stable_wins,
    bandit_without_data,
    bandit_that_runs_out_of_time,
    *holdbacks.ALL,
    *bisections.ALL,
    *limits.ALL,
    *golden_probes.ALL,
    *validations.ALL,
    *retrainings.ALL,
    *notifications.ALL,
    *histograms.ALL,
    *pasts.ALL,
    *slices.ALL,
    *agreements.ALL,
    *reviews.ALL,
    *recordings.ALL,
)


def named() -> Iterator[tuple[str, Story]]:
    """Each story with its name."""
    return ((story.__name__, story) for story in ALL)
