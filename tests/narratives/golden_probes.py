"""Stories of integrity: a version shows that it is the right model before any client's request reaches it."""

from serin.api import names
from serin.api.signature import Signature, Tensor
from serin.rollout.model import Digests
from tests.narratives.bisections import both
from tests.narratives.world import FITTING, PROBES, RUNNING, World, ab_test, bandit, spec, users_buy, variants

WRONG = "y[0] is 0.93, expected 0.12 within 0.01"
GREEN = {"blueGreen": {"preview": {"replicas": 1}, "approve": "Auto", "holdback": 1, "bake": "60s", "keep": "0s"}}
COPIES = {"shadow": {"mirror": 20, "bake": "60s", "then": "Promote"}}


def answers_as_expected(world: World) -> None:
    """Pods are asked before the first weight, and those of each step before it rises."""
    world.unasked = True
    _applied(world)
    world.run(20)
    world.unasked = False
    world.run(300)


def wrong_answer_before_any_traffic(world: World) -> None:
    _answers_wrongly(world, _applied(world))
    world.change(spec("1", **PROBES))
    world.run(20)


def wrong_answer_of_green(world: World) -> None:
    _answers_wrongly(world, _applied(world, strategy=GREEN))


def wrong_answer_of_a_shadow(world: World) -> None:
    _answers_wrongly(world, _applied(world, strategy=COPIES))


def wrong_answer_of_an_arm(world: World) -> None:
    """The other arm goes on."""
    world.spec = ab_test("1") | PROBES
    world.run(20)
    world.sampler = users_buy(0.1, 0.1)
    wanted = world.change(ab_test("2", variants=variants("3")) | PROBES)
    world.wrong[wanted] = WRONG
    world.run(60)


def wrong_answer_under_traffic(world: World) -> None:
    """A pod is asked again while its version has traffic: its answers have changed."""
    wanted = _applied(world)
    world.run(40)
    _answers_wrongly(world, wanted)


def wrong_answer_in_a_holdback(world: World) -> None:
    wanted = _applied(world, watch={"holdback": {"weight": 5, "for": "1h"}})
    world.run(300)
    _answers_wrongly(world, wanted)


def no_answer_to_a_golden_probe(world: World) -> None:
    """It is waited for, as for a pod that is not ready, and no longer than that."""
    wanted = _applied(world)
    world.unanswered[wanted] = "the answer is 404: no model fraud", world.now + 6
    world.run(700)


def promoted_before_it_has_answered(world: World) -> None:
    """A person may go on without an answer; a wrong one still ends it."""
    world.unasked = True
    _applied(world)
    world.run(20)
    world.annotate(names.ANNOTATION_PROMOTE)
    world.run(30)


def goes_back_without_being_asked(world: World) -> None:
    """Whoever goes back waits for nothing: the version before is not on trial."""
    _applied(world)
    world.run(300)
    world.unasked = True
    world.annotate(names.ANNOTATION_ROLLBACK_TO, "previous")
    world.run(60)


def arm_of_a_bandit_is_asked_first(world: World) -> None:
    world.spec = bandit("1") | PROBES
    world.run(20)
    wanted = world.change(bandit("2") | PROBES)
    _answers_wrongly(world, wanted)


def golden_probe_points_to_the_model(world: World) -> None:
    """Model and runtime are new, and the new model answers wrongly: the old one is tried first on the new runtime."""
    world.spec = both("1", "registry.test/fraud:1") | PROBES
    world.run(20)
    wanted = world.change(both("2") | PROBES)
    world.wrong[wanted] = WRONG
    world.run(200)


CHECKED = {"runtime": "mlserver", "integrity": {"every": "5m", "signature": "Required", "digest": "Required"}}


def takes_and_runs_what_it_should(world: World) -> None:
    """Pods of both versions are asked for their signature before the first weight."""
    world.spec = spec(**CHECKED)
    world.run(20)
    world.unasked = True
    world.change(spec("2", **CHECKED))
    world.run(20)
    world.unasked = False
    world.run(300)


def takes_another_input_than_stable(world: World) -> None:
    world.spec = spec(**CHECKED)
    world.run(20)
    wanted = world.change(spec("2", **CHECKED))
    world.signatures[wanted] = Signature((Tensor("x", "FP64", (-1, 4)),), FITTING.outputs)
    world.run(30)


def does_not_say_its_signature(world: World) -> None:
    """It is waited for, as for a pod that is not ready, and no longer than that."""
    world.spec = spec(**CHECKED)
    world.run(20)
    wanted = world.change(spec("2", **CHECKED))
    world.signatures[wanted] = None
    world.run(700)


def stable_does_not_say_its_signature(world: World) -> None:
    """That is not held against the candidate: it waits."""
    world.spec = spec(runtime="mlserver")
    world.run(20)
    world.signatures[world.status["stable"]["snapshot"]] = None
    world.change(spec("2", **CHECKED))
    world.run(700)


def runs_another_image_than_it_declares(world: World) -> None:
    world.spec = spec(**CHECKED)
    world.run(20)
    wanted = world.change(spec("2", **CHECKED))
    said = "container model runs sha256:bbbbbbbbbbbb…, the template has sha256:aaaaaaaaaaaa… (pod fraud-x)"
    world.digests[wanted] = Digests({"model": f"sha256:{'b' * 64}"}, said)
    world.run(30)


def does_not_say_which_model_it_has(world: World) -> None:
    world.spec = spec(**CHECKED)
    world.run(20)
    wanted = world.change(spec("2", **CHECKED))
    world.digests[wanted] = Digests(unknown="nothing in pod fraud-x says the digest of its model")
    world.run(30)


def image_changes_in_a_holdback(world: World) -> None:
    """A pod that comes later pulls what the tag names by then."""
    watched = CHECKED | {"watch": {"holdback": {"weight": 5, "for": "1h"}}}
    world.spec = spec(**watched)
    world.run(20)
    wanted = world.change(spec("2", **watched))
    world.run(300)
    world.digests[wanted] = Digests(RUNNING.images, "container model runs another image than in pod fraud-x")
    world.run(30)


def _applied(world: World, **changes: object) -> str:
    """Version 1 serves, and version 2 is applied; answers its snapshot."""
    world.spec = spec(**PROBES, **changes)
    world.run(20)
    return world.change(spec("2", **PROBES, **changes))


def _answers_wrongly(world: World, wanted: str) -> None:
    world.wrong[wanted] = WRONG
    world.run(30)


ALL = (
    answers_as_expected,
    wrong_answer_before_any_traffic,
    wrong_answer_of_green,
    wrong_answer_of_a_shadow,
    wrong_answer_of_an_arm,
    wrong_answer_under_traffic,
    wrong_answer_in_a_holdback,
    no_answer_to_a_golden_probe,
    promoted_before_it_has_answered,
    goes_back_without_being_asked,
    arm_of_a_bandit_is_asked_first,
    golden_probe_points_to_the_model,
    takes_and_runs_what_it_should,
    takes_another_input_than_stable,
    does_not_say_its_signature,
    stable_does_not_say_its_signature,
    runs_another_image_than_it_declares,
    does_not_say_which_model_it_has,
    image_changes_in_a_holdback,
)
