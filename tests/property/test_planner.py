"""Whatever a user does, and whatever happens meanwhile, in any order: the world's rules hold after every look."""

import random
from collections.abc import Callable

import pytest
from jsonschema import Draft202012Validator

from serin.api import names
from serin.api.conditions import Reason
from serin.api.records import MOST_RECORDS, write_records
from serin.api.state import Phase, State
from serin.api.status import read_state, write_state
from serin.rollout.model import Route
from serin.rollout.snapshots import BEST, PREVIOUS
from tests import crds
from tests.narratives.told import contradicts_nothing
from tests.narratives.world import (
    World,
    ab_test,
    arms_earn,
    bandit,
    fails,
    passes,
    silent,
    spec,
    users_buy,
    variants,
    versions_buy,
)

RECORDS = crds.schema("ModelSnapshot")["properties"]["status"]["properties"]["records"]
STEPS = (
    [{"weight": 5, "bake": "30s"}, {"weight": 50, "bake": "30s"}],
    [{"weight": 10, "bake": "10s"}, {"pause": {}}, {"weight": 100, "bake": "10s"}],
    [
        {"match": {"headers": {"x-beta": "true"}}, "bake": "30s"},
        {"pause": {"for": "5s"}},
        {"weight": 40, "bake": "20s"},
    ],
    [
        {"mirror": 20, "bake": "20s"},
        {"pause": {"for": "5s"}},
        {"mirror": 60, "bake": "10s", "minRequests": 10},
        {"match": {"headers": {"x-beta": "true"}}, "bake": "10s"},
        {"weight": 40, "bake": "20s"},
    ],
    [{"pause": {"for": "20s"}}, {"weight": 30, "bake": "5s", "minRequests": 10}],
    [{"pause": {}}, {"weight": 2, "bake": "10s"}, {"pause": {}}, {"weight": 60, "bake": "10s"}],
    [{"weight": 80, "bake": "1h"}],
)


NOT_OURS = "the Service fraud exists and is not Serin's"


GREENS = (
    {"preview": {"replicas": 1}, "approve": "Auto", "holdback": 1, "bake": "20s", "keep": "1m"},
    {"preview": {"replicas": 9}, "approve": "Manual", "holdback": 0, "bake": "10s", "keep": "0s"},
    {"preview": {"replicas": 1}, "approve": "Auto", "holdback": 30, "bake": "30s", "keep": "10m", "minRequests": 10},
)


SHADOWS = (
    {"mirror": 20, "bake": "20s", "then": "Promote"},
    {"mirror": 100, "bake": "10s", "minRequests": 10, "then": "Hold"},
)


WATCHES = (
    {},
    {"watch": {"holdback": {"weight": 1, "for": "2m"}}},
    {"watch": {"holdback": {"weight": 20, "for": "30s"}}},
)


def _strategy(dice: random.Random) -> dict[str, object]:
    chance = dice.random()
    if chance < 0.7:
        return {"canary": {"steps": dice.choice(STEPS)}}
    return {"blueGreen": dice.choice(GREENS)} if chance < 0.9 else {"shadow": dice.choice(SHADOWS)}


def _user(world: World, dice: random.Random) -> None:
    steps = _strategy(dice)
    more: dict[str, object] = {"snapshots": {"every": "1m", "keep": dice.randint(1, 3)}} if dice.random() < 0.3 else {}
    world.change(
        spec(str(dice.randint(1, 4)), strategy=steps, replicas=dice.randint(1, 6), **dice.choice(WATCHES), **more)
    )


def _experimenter(world: World, dice: random.Random) -> None:
    """Another version, or another share of the same one, in an A/B test."""
    ends, share = dice.choice(("KeepStable", "Promote")), dice.choice((10, 50, 90))
    own, *others = dice.sample("1234", dice.randint(1, 4))
    changes = {"variants": variants(*others)} if others else {}
    test = ab_test(own, split=share, maxDuration="120s", whenInconclusive=ends, **changes)
    world.change(test | dice.choice(WATCHES))
    world.sampler = users_buy(*dice.choice(((0.2, 0.1), (0.1, 0.2), (0.1, 0.1))))


def _gambler(world: World, dice: random.Random) -> None:
    """Another version, or other limits of the same one, in a bandit."""
    if "bandit" in world.spec["strategy"] and dice.random() < 0.6:
        limits = {"maxWeight": dice.choice((50, 80)), "maxStep": dice.choice((1, 20, 100))}
        world.change(world.spec | {"strategy": {"bandit": world.spec["strategy"]["bandit"] | limits}})
        return
    own, *others = dice.sample("1234", dice.randint(1, 4))
    changes: dict[str, object] = {"variants": variants(*others)} if others else {}
    changes |= {"interval": "10s", "maxDuration": dice.choice(("120s", "24h"))}
    world.change(bandit(own, minRequests=dice.choice((100, 1_000_000)), **changes) | dice.choice(WATCHES))
    earns = {version: dice.choice((0.05, 0.1, 0.2)) for version in "12349"}
    world.sampler = arms_earn(earns, failing=dice.choice(("", *"1234")))


def _arms_differ(world: World, dice: random.Random) -> None:
    """Each version is as good as it is, and one may fail."""
    buys = {version: dice.choice((0.05, 0.1, 0.2)) for version in "12349"}
    world.sampler = versions_buy(buys, failing=dice.choice(("", *"1234")))


def _edit(world: World, dice: random.Random) -> None:
    """The same version with other steps: in mid-rollout when there is one."""
    steps = _strategy(dice)
    watched = {key: value for key, value in world.spec.items() if key != "watch"} | dice.choice(WATCHES)
    world.change(watched | {"strategy": steps})


def _annotation(world: World, dice: random.Random) -> None:
    name = dice.choice(("APPROVE", "PAUSE", "PROMOTE", "ABORT", "RETRY"))
    world.annotate(getattr(names, f"ANNOTATION_{name}"), dice.choice(("1", "2", "false", None)))


def _goes_back(world: World, dice: random.Random) -> None:
    asked = dice.choice((PREVIOUS, PREVIOUS, BEST, "best:errors", "fraud-unknown", *sorted(world.snapshots)))
    world.annotate(names.ANNOTATION_ROLLBACK_TO, f"{asked}@{world.now}")


def _template(world: World, dice: random.Random) -> None:
    missing = Reason.METRIC_TEMPLATE_NOT_FOUND, "metric cost: there is no MetricTemplate cost-per-answer in shop"
    world.invalid = dice.choice((None, missing))


def _kill_switch(world: World, dice: random.Random) -> None:
    world.annotate(names.ANNOTATION_KILL_SWITCH, dice.choice(("Candidate", "All", "Off", None, None)))


def _pods(world: World, dice: random.Random) -> None:
    if not world.pods:
        return
    victim = dice.choice(sorted(world.pods))
    if victim in world.problems:
        del world.problems[victim]
        world.crashed.discard(victim)
    else:
        world.problems[victim] = "made up"
        if dice.random() < 0.5:
            world.crashed.add(victim)


def _evidence(world: World, dice: random.Random) -> None:
    world.sampler = dice.choice((passes, passes, passes, fails, silent))


def _router(world: World, dice: random.Random) -> None:
    world.route = dice.choice((Route(), Route(), Route(ready=False), Route(refused="no"), Route(not_ours=NOT_OURS)))


def _router_hears(world: World, _: random.Random) -> None:
    world.router_hears = not world.router_hears


HAPPENINGS: tuple[Callable[[World, random.Random], None], ...] = (
    _user,
    _edit,
    _annotation,
    _goes_back,
    _kill_switch,
    _pods,
    _evidence,
    _template,
    _router,
    _router_hears,
)


def _is_recorded_once(world: World) -> None:
    """Records are in order, bounded, of this version, and no moment is recorded twice."""
    for snapshot in world.snapshots.values():
        records = snapshot.records
        assert len(records) <= MOST_RECORDS
        decisions = [(one.occasion, one.at) for one in records]
        assert len({*decisions}) == len(decisions), f"{snapshot.name}: {decisions}"
        assert all(one.at <= world.now for one in records)
        Draft202012Validator(RECORDS).validate(write_records(records))


def _has_no_more_than_its_step(world: World, state: State) -> None:
    """The candidate has no more than the steps say as they are now, unless stable could not take the rest."""
    rollout = state.rollout
    if rollout is None or not world.ready(rollout.stable):
        return
    index, strategy = rollout.stage.index, world.spec["strategy"]
    if "blueGreen" in strategy:
        share = (0, 100 - strategy["blueGreen"]["holdback"], 100)[index]
        assert world.candidate_weight <= share, f"{world.candidate_weight}% at stage {index + 1}"
        return
    if "abTest" in strategy:
        allowed = 100 if index else strategy["abTest"]["split"]
        shares = [world.weights.get(arm.snapshot, 0) for arm in rollout.arms]
        assert sum(shares) <= allowed, f"{shares}% in {strategy}"
        return
    if "shadow" in strategy:
        passed = index >= (2 if strategy["shadow"]["then"] == "Hold" else 1)
        assert passed or not world.candidate_weight, f"{world.candidate_weight}% while only copies are due"
        return
    if "bandit" in strategy:
        most, least = 100 if index else strategy["bandit"]["maxWeight"], strategy["bandit"]["minWeight"]
        shares = [world.weights.get(arm.snapshot, 0) for arm in rollout.arms]
        assert all(share in (0, 100) or least <= share <= most for share in shares), f"{shares}% in {strategy}"
        return
    steps = strategy["canary"]["steps"]
    reached = [step["weight"] for step in steps[: index + 1] if "weight" in step]
    allowed = 100 if index >= len(steps) else max(reached, default=0)
    assert world.candidate_weight <= allowed, f"{world.candidate_weight}% at step {index + 1} of {steps}"


def _happenings(seed: int) -> tuple[Callable[[World, random.Random], None], ...]:
    if seed < 80:
        return HAPPENINGS
    if seed < 100:
        return (*HAPPENINGS, _experimenter, _experimenter, _arms_differ)
    return (*(one for one in HAPPENINGS if one not in (_user, _edit, _evidence)), *(_gambler,) * 4)


SEEDS = [one if one % 3 == 0 else pytest.param(one, marks=pytest.mark.more) for one in range(120)]


@pytest.mark.parametrize("seed", SEEDS)
def test_rules_hold_whatever_happens(seed: int) -> None:
    dice, happenings = random.Random(seed), _happenings(seed)
    world = World()
    for _ in range(60):
        for _ in range(dice.choice((0, 0, 1, 2))):  # two between two looks, as a manifest with an annotation is
            dice.choice(happenings)(world, dice)
        if dice.random() < 0.2:
            world.look(crash_after=dice.randrange(7))
        world.run(dice.choice((1.0, 15.0, 40.0)))
        state = read_state(world.status)
        _has_no_more_than_its_step(world, state)
        _is_recorded_once(world)
        contradicts_nothing(world.body, world.now)
        assert read_state(write_state(state)) == state, "the status loses something on its way through JSON"
    # When everything is well again and the user asks for it, every rollout ends.
    world.problems.clear()
    world.crashed.clear()
    world.sampler, world.route, world.router_hears, world.annotations = passes, Route(), True, {}
    world.invalid = None
    world.change(spec("9"))
    world.run(900)
    assert read_state(world.status).phase is Phase.HEALTHY
    assert world.weights == {world.wanted: 100}
    assert set(world.pods) == {world.wanted}, "pods of other versions are left over"
