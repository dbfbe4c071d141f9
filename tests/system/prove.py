"""Every write of every story with every fault: `make prove`. It says what it has played, and every rule that broke.

For every ten of these plays, one with two faults is drawn: all pairs would be a hundred million.
`python -m tests.system.prove [SHARE]`: a share (0 to 1) of all plays, drawn by SERIN_SEED.
"""

import os
import random
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from typing import Final

from tests.simulation.api.faults import Fault
from tests.system.plays import ends, perform, smooth, struck
from tests.system.stories import STORIES

FAULTS: Final = (
    Fault.DIE_BEFORE,
    Fault.DIE_AFTER,
    Fault.LOST,
    Fault.CONFLICT,
    Fault.INVALID,
    Fault.TOO_MANY,
    Fault.INTERNAL,
    Fault.TIMEOUT,
)

PAIRS: Final = 10  # plays with one fault for each with two
SOON: Final = 6  # writes: half of all second faults come within so many, when the first is being made up for

Play = tuple[str, tuple[tuple[int, Fault], ...]]  # a story, and at which writes it has which fault


def plays() -> list[Play]:
    """Every story, write and fault."""
    return [
        (story, ((number, fault),))
        for story in STORIES
        for number in range(1, smooth(story).writes + 1)
        for fault in FAULTS
    ]


def pair(story: str, chance: random.Random) -> Play:
    """A story with two faults, of whichever kinds."""
    writes = smooth(story).writes
    first = chance.randint(1, writes)
    second = first + chance.randint(1, SOON if chance.random() < 0.5 else max(SOON, writes - first))
    return story, ((first, chance.choice(FAULTS)), (second, chance.choice(FAULTS)))


def attempt(play: Play) -> tuple[Play, list[str], int]:
    """One play: what was wrong, and how many writes the rules have looked at."""
    story, places = play
    found = perform(story, struck(*places))
    return play, [*found.broken, *ends(story, found)], found.commits


def main(share: float = 1.0) -> int:
    """0 when no rule is broken."""
    chance = random.Random(int(os.environ.get("SERIN_SEED", "1")))
    everything = plays()
    chosen = everything if share >= 1.0 else chance.sample(everything, max(1, int(share * len(everything))))
    print(f"{len(chosen)} of {len(everything)} plays: {len(STORIES)} stories, {len(FAULTS)} faults", flush=True)
    chosen += [pair(chance.choice(list(STORIES)), chance) for _ in range(len(chosen) // PAIRS)]
    began, looked, wrong = time.monotonic(), 0, 0
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for number, (play, broken, commits) in enumerate(pool.map(attempt, chosen, chunksize=8), 1):
            looked += commits
            wrong += bool(broken)
            if broken:
                story, places = play
                where = " and ".join(f"{fault} at write {write}" for write, fault in places)
                print(f"{story}, {where}:", *broken, sep="\n    ", flush=True)
            if number % 500 == 0:
                print(f"{number} plays, {time.monotonic() - began:.0f} s", flush=True)
    print(f"{len(chosen)} plays, {looked} writes looked at, {wrong} plays with a broken rule")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main(float(sys.argv[1]) if len(sys.argv) > 1 else 1.0))
