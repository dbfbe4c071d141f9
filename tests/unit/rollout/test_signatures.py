"""Signatures of versions on trial: what the stories in tests/narratives/golden_probes.py do not tell."""

from dataclasses import replace

from serin.api.conditions import Reason
from serin.api.spec import ModelDeploymentSpec
from serin.api.state import State
from serin.rollout.model import Signatures
from tests.narratives.golden_probes import CHECKED
from tests.narratives.world import World, spec

SAID = "input x is FP64 [-1, 4], spec.features.signature has FP32 [-1, 4] (pod fraud-x)"


class Contradicted(World):
    """A pod of what is on trial says another signature than its version declares."""

    def known_signatures(self, spec: ModelDeploymentSpec, state: State) -> dict[str, Signatures]:
        active = state.judged.active if state.judged else ()
        found = super().known_signatures(spec, state)
        return {name: replace(one, differs=SAID) if name in active else one for name, one in found.items()}


def test_a_version_whose_pods_contradict_it_is_rejected_though_it_fits_stable() -> None:
    world = Contradicted(spec=spec(**CHECKED))
    world.run(20)
    stable = world.wanted
    world.change(spec("2", **CHECKED))
    world.run(30)
    last = world.status["lastRollback"]
    assert (last["reason"], last["message"]) == (Reason.SIGNATURE_INCOMPATIBLE, SAID)
    assert world.weights == {stable: 100}
