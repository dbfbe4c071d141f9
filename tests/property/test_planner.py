"""Whatever a user does, and whatever happens meanwhile, in any order: the world's rules hold after every look."""

import random
from collections.abc import Callable

import pytest
from jsonschema import Draft202012Validator

from serin.api import names
from serin.api.conditions import Reason
from serin.api.notifications import write_outbox
from serin.api.records import MOST_RECORDS, write_records
from serin.api.retraining import Retraining, write_retraining
from serin.api.signature import Signature
from serin.api.state import Phase, State
from serin.api.status import read_state, write_state
from serin.rollout.model import Digests, Route
from serin.rollout.snapshots import BEST, PREVIOUS
from tests import crds
from tests.narratives.bisections import bad, both
from tests.narratives.limits import RECALL, limited
from tests.narratives.pasts import HISTORY, INVALID, SNAPSHOT, remembers
from tests.narratives.retrainings import JOB, ends
from tests.narratives.told import contradicts_nothing
from tests.narratives.validations import says
from tests.narratives.world import (
    FITTING,
    PROBES,
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

STATUS = crds.schema("ModelDeployment")["properties"]["status"]["properties"]
RETRAINED = crds.schema("ModelDeployment")["properties"]["status"]["properties"]["retraining"]
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
    [{"weight": 5, "bake": "5s"}, {"pause": {"approvals": 2, "expireAfter": "1m"}}, {"weight": 60, "bake": "10s"}],
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


NOTIFIED: tuple[dict[str, object], ...] = (
    {},
    {"notifications": [{"webhook": {"name": "a"}}, {"webhook": {"name": "b"}, "events": ["RolledBack"]}]},
)


WATCHES = (
    {},
    {"watch": {"holdback": {"weight": 1, "for": "2m"}}},
    {"watch": {"holdback": {"weight": 20, "for": "30s"}}},
)


RETRAININGS: tuple[dict[str, object], ...] = (
    {},
    {},
    {"triggers": [{"drift": {}}, {"rollbacks": {"count": 2, "within": "10m"}}], "cooldown": "2m", "job": JOB},
    {"triggers": [{"schedule": {"every": "5m"}}], "cooldown": "0s", "job": JOB},
    {"triggers": [{"volume": {"metric": "errors", "requests": 5000}}], "cooldown": "1m", "webhook": {"name": "hook"}},
)


def _retraining(world: World, dice: random.Random) -> None:
    """Another wish for retraining, or what becomes of the one that is under way."""
    chance = dice.random()
    if chance < 0.5:
        asked = dice.choice(RETRAININGS)
        kept = {key: value for key, value in world.spec.items() if key != "retraining"}
        world.change(kept | ({"retraining": asked} if asked else {}))
    elif chance < 0.8:
        world.training = ends(dice.choice((0, 60)), dice.choice(("", "BackoffLimitExceeded")))
        world.volume, world.taken = dice.choice((0, 3000)), dice.random() < 0.5
    else:
        world.no_jobs = dice.choice(("", "", "exceeded quota"))
        world.jobs |= dict.fromkeys(dice.sample(sorted(world.jobs), min(1, len(world.jobs))))


def _strategy(dice: random.Random) -> dict[str, object]:
    chance = dice.random()
    if chance < 0.7:
        return {"canary": {"steps": dice.choice(STEPS)}}
    return {"blueGreen": dice.choice(GREENS)} if chance < 0.9 else {"shadow": dice.choice(SHADOWS)}


def _user(world: World, dice: random.Random) -> None:
    steps = _strategy(dice)
    more: dict[str, object] = {"snapshots": {"every": "1m", "keep": dice.randint(1, 3)}} if dice.random() < 0.3 else {}
    others = random.Random(world.now)
    more |= others.choice(NOTIFIED)
    world.receiver_problem = others.choice(("", "", "webhook a: no answer within 10 s"))
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


def _changes_several(world: World, dice: random.Random) -> None:
    """Another version in up to three dimensions, or another policy, and some of what it may consist of is bad."""
    image, config = f"registry.test/fraud:{dice.randint(1, 3)}", {"threshold": dice.choice("12")}
    policy = dice.choice(
        ({"scope": "auto"}, {"scope": "auto"}, {"scope": "all"}, {"dimensions": ["runtime", "config"]})
    )
    strategy = dice.choice(({"canary": {"steps": STEPS[0]}}, _strategy(dice)))
    body = both(str(dice.randint(1, 3)), image, config=config, rollback=policy, strategy=strategy)
    world.change(body | dice.choice(WATCHES) | {"snapshots": {"every": "1m", "keep": dice.randint(1, 3)}})
    parts = {"image": f"registry.test/fraud:{dice.randint(1, 3)}", "model": dice.choice("123"), "threshold": "2"}
    world.sampler = bad(**{part: parts[part] for part in dice.sample(sorted(parts), dice.randint(0, 2))})


def _edit(world: World, dice: random.Random) -> None:
    """The same version with other steps: in mid-rollout when there is one."""
    steps = _strategy(dice)
    watched = {key: value for key, value in world.spec.items() if key != "watch"} | dice.choice(WATCHES)
    world.change(watched | {"strategy": steps})


def _limiter(world: World, dice: random.Random) -> None:
    """Another version, or the same one with other limits, that is held to them."""
    watch = dice.choice(({}, {"interval": "5s"}, {"rollBackWithin": "0s"}, {"holdback": {"weight": 5, "for": "30s"}}))
    severity, limit = dice.choice(("critical", "major", "major", "minor", "info")), dice.choice(("0.1", "0.2"))
    metric = {**RECALL, "severity": severity, "limit": limit, "window": dice.choice(("1m", "10m"))}
    if dice.random() < 0.4:
        metric = {**dice.choice((HISTORY, SNAPSHOT)), "severity": severity}
    more = {"labelDelay": "1m"} if dice.random() < 0.2 else {}
    if severity == "minor" and metric["against"] != "snapshot":
        more |= dice.choice(({}, {"escalateAfter": "2m"}))
    changed = limited(dice.choice("1234"), {**metric, **more}, watch=watch)
    validated = {"validation": {"timeout": dice.choice(("30s", "5m")), "job": JOB}}
    rollback = dice.choice(({}, {"maxPerDay": 1}, {"cooldown": "5m"}, validated, validated))
    world.change(changed | ({"rollback": rollback} if rollback else {}))
    said = dice.choice(("", '{"accept": true}', '{"accept": false}', '{"target": 1, "present": 2}', "?"))
    world.compares = says(dict.fromkeys("1234", said), seconds=dice.choice((0.0, 60.0, 600.0)))


def _annotation(world: World, dice: random.Random) -> None:
    name = dice.choice(("APPROVE", "PAUSE", "PROMOTE", "ABORT", "RETRY"))
    world.annotate(getattr(names, f"ANNOTATION_{name}"), dice.choice(("1", "2 by alice", "3 by bob", "false", None)))


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


def _golden_probes(world: World, dice: random.Random) -> None:
    """Pods on trial are as they should be, or not, or say nothing, or have not been asked yet."""
    if "integrity" not in world.spec:
        checks = {one: dice.choice(("Off", "Required")) for one in ("signature", "digest")}
        world.change(world.spec | {"integrity": PROBES["integrity"] | checks})
    world.unasked = dice.random() < 0.3
    snapshots = sorted(world.snapshots)
    world.wrong = {one: "y[0] is 2, expected 1" for one in snapshots if dice.random() < 0.2}
    world.unanswered = {one: ("no answer", world.now) for one in snapshots if dice.random() < 0.3}
    other = Signature((), FITTING.outputs)
    world.signatures = {one: dice.choice((None, other)) for one in snapshots if dice.random() < 0.2}
    moved = Digests(differs="another image")
    world.digests = {one: moved for one in snapshots if dice.random() < 0.1}


HAPPENINGS: tuple[Callable[[World, random.Random], None], ...] = (
    _user,
    _edit,
    _annotation,
    _goes_back,
    _kill_switch,
    _retraining,
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


def _is_searched_within_bounds(state: State) -> None:
    """What failed is not tried again by itself, one combination is tried at a time, and each once."""
    search = state.bisection
    if search is None:
        return
    tries = [one.snapshot for one in search.tries]
    assert len({*tries, search.cause.source, search.cause.target}) == len(tries) + 2
    assert len(tries) <= len(names.DIMENSIONS) - 1
    arms = [arm.snapshot for arm in state.rollout.arms] if state.rollout else []
    assert arms in ([], [search.present.snapshot] if search.present else [])
    assert search.cause.source not in state.split.reached()
    failed = {one.snapshot for one in search.tries if one.reason}
    assert failed.isdisjoint(state.split.reached()), "what was rejected has traffic"
    Draft202012Validator(STATUS["bisection"]).validate(write_state(state)["bisection"])


def _is_retrained_by_one(world: World, earlier: Retraining | None, now: Retraining | None) -> None:
    """One at a time: a retraining that is under way is the same until it has ended, and has one Job at most."""
    before, after = earlier.run if earlier else None, now.run if now else None
    if before and before.under_way and after and after.name != before.name:
        raise AssertionError(f"{after.name} begins before {before.name} has ended")
    if now:
        assert len(world.jobs) <= now.number, "a Job for each retraining that was begun"
        Draft202012Validator(RETRAINED).validate(write_retraining(now))


def _is_told_once(told: dict[str, set[str]], state: State) -> None:
    """A receiver that has taken a notification is not told of it again, and an outbox keeps to its bounds."""
    for one in state.outbox.pending:
        left = told.setdefault(one.id, set(one.receivers))
        assert left >= set(one.receivers), f"{one.event} is told to whom it was told already"
        told[one.id] = set(one.receivers)
    if outbox := write_outbox(state.outbox):
        Draft202012Validator(STATUS["notifications"]).validate(outbox)


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
    others = tuple(one for one in HAPPENINGS if one not in (_user, _edit, _evidence))
    if seed < 80:
        return HAPPENINGS
    if seed < 100:
        return (*HAPPENINGS, _experimenter, _experimenter, _arms_differ)
    if seed < 120:
        return (*others, *(_gambler,) * 4)
    if seed < 150:
        return (*others, _edit, _changes_several, _changes_several)
    if seed < 180:
        return (*HAPPENINGS, *(_limiter,) * 4, *(_evidence,) * 2)
    return (*HAPPENINGS, _experimenter, *(_golden_probes,) * 3)


SEEDS = [one if one % 7 == 0 else pytest.param(one, marks=pytest.mark.more) for one in range(105)]


@pytest.mark.parametrize("seed", SEEDS)
def test_rules_hold_whatever_happens(seed: int) -> None:
    dice, happenings = random.Random(seed), _happenings(seed)
    world = World()
    retraining: Retraining | None = None
    told: dict[str, set[str]] = {}
    for _ in range(60):
        for _ in range(dice.choice((0, 0, 1, 2))):  # two between two looks, as a manifest with an annotation is
            dice.choice(happenings)(world, dice)
        if dice.random() < 0.2:
            world.look(crash_after=dice.randrange(7))
        world.run(dice.choice((1.0, 15.0, 40.0)))
        state = read_state(world.status)
        _has_no_more_than_its_step(world, state)
        _is_recorded_once(world)
        _is_searched_within_bounds(state)
        _is_retrained_by_one(world, retraining, state.retraining)
        retraining = state.retraining
        _is_told_once(told, state)
        contradicts_nothing(world.body, world.now)
        assert read_state(write_state(state)) == state, "the status loses something on its way through JSON"
    # When everything is well again and the user asks for it, every rollout ends.
    world.problems.clear()
    world.crashed.clear()
    world.sampler, world.route, world.router_hears, world.annotations = passes, Route(), True, {}
    world.invalid = None
    world.unasked, world.wrong, world.unanswered, world.signatures, world.digests = False, {}, {}, {}, {}
    world.change(spec("9"))
    world.run(900)
    assert read_state(world.status).phase is Phase.HEALTHY
    assert world.weights == {world.wanted: 100}
    assert set(world.pods) == {world.wanted}, "pods of other versions are left over"


@pytest.mark.parametrize("seed", range(4))
def test_requests_of_clients_never_take_a_version_back(seed: int) -> None:
    """Whatever share is invalid, and when: also with a severity that only an older CRD let in."""
    dice = random.Random(seed)
    shares = dict.fromkeys("1234", 0.02)
    world = World()
    world.sampler = remembers(shares)
    metric = {**INVALID, "severity": ("minor", "minor", "info", "critical")[seed % 4]}
    told = set()
    for number in (*"12", *dice.choices("1234", k=4)):
        world.change(limited(number, metric, watch={"rollBackWithin": "72h"}))
        for _ in range(dice.randint(8, 12)):
            shares[dice.choice("1234")] = dice.choice((0.0, 0.02, 0.2, 0.9))
            world.run(dice.choice((10.0, 120.0)))
            state = read_state(world.status)
            assert state.last_rollback is None
            assert state.manual_rollback is None
            told.add(world.status["reason"])
            assert world.status.get("diagnosis", {}).get("trouble") != "BadModel"
    if metric["severity"] == "minor":
        assert "DataDrift" in told
