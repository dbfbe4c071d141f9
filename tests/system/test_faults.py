"""A story with one fault or two, whichever, at any write: it ends as without, and no rule is broken on the way.

All writes with all faults are some ten thousand plays: `make prove`. Here they are sampled, by a seed that the
environment may set (SERIN_SEED), evenly over stories and faults.
"""

import os
import random

import pytest

from tests.simulation.api.faults import Fault
from tests.system.plays import Nth, ends, perform, smooth
from tests.system.prove import FAULTS, attempt, pair
from tests.system.stories import STORIES

SEED = int(os.environ.get("SERIN_SEED", "20261125"))
EACH = 1  # faults of each story: a play takes seconds, and there are sixty stories
PAIRS = len(STORIES) // 3


def cases() -> list[tuple[str, Fault, float]]:
    """Story, fault, and how far into its writes (0 to 1)."""
    chance, found = random.Random(SEED), []
    choices = list(FAULTS)
    for number, story in enumerate(STORIES):
        for turn in range(EACH):
            found.append((story, choices[(number * EACH + turn) % len(choices)], chance.random()))
    return found


@pytest.mark.parametrize(("story", "fault", "where"), cases())
def test_one_fault_changes_nothing(story: str, fault: Fault, where: float) -> None:
    writes = smooth(story).writes
    number = 1 + int(where * writes)
    found = perform(story, Nth(number, fault))
    assert [*found.broken, *ends(story, found)] == [], f"{fault} at write {number} of {writes}"


@pytest.mark.parametrize("story", random.Random(SEED).sample(list(STORIES), PAIRS))
def test_two_faults_change_nothing(story: str) -> None:
    (_, places), broken, _ = attempt(pair(story, random.Random(f"{SEED} {story}")))
    assert broken == [], " and ".join(f"{fault} at write {number}" for number, fault in places)
