"""Good candidates that are slow by their node's doing: what the bench (tests/bench) found wrong."""

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest

from serin.analysis import engine
from serin.api.verdicts import Verdict
from tests.bench.analysis import LATENCY, WORLDS

ON_A_SLOW_NODE = next(name for name in WORLDS if "30 % slower, as" in name and name.endswith(" 5 requests/s"))


@pytest.mark.parametrize("seed", [1043, 1087, 1137, 1253, 1301, 1319, 1373, 1394])
def test_a_handful_of_requests_on_a_slow_node_rolls_nothing_back(seed: int) -> None:
    """Of 400 half hours these were rolled back at the first look that counts, by five requests of the candidate."""
    world, rng = WORLDS[ON_A_SLOW_NODE], np.random.default_rng([seed, *ON_A_SLOW_NODE.encode()])
    drawn = world.draw(rng)
    policy = replace(LATENCY, warmup=world.warmup, slowest_pod=drawn.slowest_pod())
    assert policy.slowest_pod > 1.3, "stable's pods show the node"
    evidence = None
    for tick in islice(drawn.ticks(), 20):
        judgement = engine.fold(policy, evidence, tick)
        evidence = judgement.evidence
        assert judgement.verdict.verdict not in (Verdict.FAIL_MINOR, Verdict.FAIL_CRITICAL)
