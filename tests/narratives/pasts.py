"""Stories of what serves beside its own past: worse than it used to be, and whose doing that is."""

from collections.abc import Mapping
from typing import Any

from serin.analysis.types import (
    CONCENTRATION,
    Arm,
    MeanTick,
    Moments,
    PastTick,
    RatioTick,
    ReferenceTick,
    Stretch,
    Tick,
)
from serin.evaluation.samples import SampleRequest
from tests.narratives.limits import RECALL, limited, sees_after, served
from tests.narratives.world import Sampler, World

HISTORY: dict[str, Any] = {
    **{key: one for key, one in RECALL.items() if key != "limit"},
    "against": "history",
    "window": "10m",
}
SNAPSHOT = {**HISTORY, "against": "snapshot"}
ANSWERS: dict[str, Any] = {
    "name": "answers",
    "distribution": {
        "counts": "answers_total{ {{.version}} }",
        "by": "label",
        "reference": {"legit": 9_000, "fraud": 1_000},
    },
    "against": "reference",
    "severity": "minor",
}


def remembers(missed: Mapping[str, float], usual: float = 0.02, coverage: float = 1.0) -> Sampler:
    """Versions of the model miss these shares now; in all earlier windows about the usual one was missed."""

    def sample(world: World, asked: SampleRequest) -> Tick:
        share = missed[world.snapshots[asked.subject].model_version]
        if asked.past:
            ends = range(len(asked.past.moments))
            earlier = tuple(Stretch(10_000, usual + 0.001 * (one % 3 - 1), 1.0) for one in ends) or None
            return PastTick(world.now, Stretch(10_000, share, coverage), asked.past.slot, earlier, "share")
        if asked.metric.name == "answers":
            fraud = int(10_000 * share)
            live = (10_000 - fraud, fraud, 0)
            return ReferenceTick(world.now, live, (9_000, 1_000, 0), (), ("legit", "fraud", "other"))
        if asked.metric.name == "missed":
            return RatioTick(world.now, Arm(1_000, int(1_000 * share)), Arm(1_000, int(1_000 * share)))
        return RatioTick(world.now, Arm(20_000, 20), Arm(380_000, 380))

    return sample


def _served(
    world: World, metric: Mapping[str, Any], share: float = 0.02, watch: Mapping[str, Any] | None = None
) -> dict[str, float]:
    """Versions 1 and 2 have served with this metric, and 2 is just promoted; what they miss, which may be changed."""
    shares = {"1": share, "2": share}
    world.sampler = remembers(shares)
    served(world, "1", "2", metrics=[metric], watch=watch)
    return shares


def new_version_is_worse_than_the_weeks_before(world: World) -> None:
    shares = _served(world, HISTORY)
    sees_after(world, 300, tick=60)
    sees_after(world, 600, tick=60)
    shares["2"] = 0.04
    world.tell("the world: version 2 misses 4% from now on")
    sees_after(world, 300, tick=30)


def world_moves_when_the_version_is_old(world: World) -> None:
    shares = _served(world, HISTORY, watch={"rollBackWithin": "10m"})
    world.run(1200, tick=60)
    shares["2"] = 0.04
    world.tell("the world: what version 2 gets is harder from now on")
    sees_after(world, 300, tick=60)
    shares["2"] = 0.02
    sees_after(world, 300, tick=60)


def worse_than_in_its_first_day(world: World) -> None:
    shares = _served(world, SNAPSHOT)
    sees_after(world, 60, tick=60)
    sees_after(world, 86_400, tick=600)
    shares["2"] = 0.04
    world.tell("the world: version 2 misses 4% from now on")
    sees_after(world, 1200, tick=60)


INVALID: dict[str, Any] = {
    "name": "invalid-inputs",
    "template": {"name": "invalid-inputs"},
    "against": "day",
    "severity": "minor",
    "window": "10m",
}


def more_requests_are_invalid_than_the_day_before(world: World) -> None:
    """A rise is the data's doing: it is told, a rollout goes on all the same, and nothing goes back."""
    shares = _served(world, INVALID, watch={"rollBackWithin": "24h"})
    sees_after(world, 900, tick=60)
    shares["2"] = 0.2
    world.tell("the world: one in five requests is invalid from now on")
    sees_after(world, 300, tick=60)
    shares["3"] = 0.2
    world.change(limited("3", INVALID, watch={"rollBackWithin": "24h"}))
    world.run(600, tick=10)
    shares["3"] = 0.02
    sees_after(world, 1200, tick=60)


def worse_for_a_moment_only(world: World) -> None:
    shares = _served(world, {**HISTORY, "for": "10m"})
    world.run(900, tick=60)
    shares["2"] = 0.04
    sees_after(world, 300, tick=60)
    shares["2"] = 0.02
    sees_after(world, 900, tick=60)


def past_has_too_little_data(world: World) -> None:
    world.sampler = remembers({"1": 0.02, "2": 0.04}, coverage=0.5)
    served(world, "1", "2", metrics=[HISTORY])
    sees_after(world, 900, tick=60)


def answers_move_from_the_reference_while_it_serves(world: World) -> None:
    shares = _served(world, ANSWERS, share=0.1)
    sees_after(world, 300, tick=60)
    shares["2"] = 0.4
    world.tell("the world: four in ten answers are fraud from now on")
    sees_after(world, 3600, tick=60)


VARIETY: dict[str, Any] = {
    "name": "variety",
    "concentration": {"counts": "shown_total{ {{.version}} }", "by": "item"},
    "severity": "major",
    "against": "history",
    "window": "10m",
}


def shows(alike: Mapping[str, float]) -> Sampler:
    """Two answers of a version are the same in this share of cases; in the weeks before in 4%."""

    def sample(world: World, asked: SampleRequest) -> Tick:
        share = alike[world.snapshots[asked.subject].model_version]
        if asked.past:
            earlier = tuple(
                Stretch(10_000, 0.04 + 0.001 * (one % 3 - 1), 1.0) for one in range(len(asked.past.moments))
            )
            return PastTick(world.now, Stretch(10_000, share, 1.0), asked.past.slot, earlier or None, CONCENTRATION)
        if asked.metric.name == "variety":
            noise = 1.0 + 0.02 * (-1) ** int(world.now / 10)
            mine, theirs = Moments(100, 100 * share * noise), Moments(1_900, 1_900 * 0.04)
            return MeanTick(world.now, mine, theirs, CONCENTRATION)
        return RatioTick(world.now, Arm(20_000, 20), Arm(380_000, 380))

    return sample


def answers_become_ever_the_same(world: World) -> None:
    alike = {"1": 0.04, "2": 0.04, "3": 0.09}
    world.sampler = shows(alike)
    served(world, "1", "2", metrics=[VARIETY], watch={"rollBackWithin": "10m"})
    sees_after(world, 1200, tick=60)
    alike["2"] = 0.07
    world.tell("the world: version 2 shows ever fewer things from now on")
    sees_after(world, 300, tick=60)
    world.change(limited("3", VARIETY))
    world.run(100, tick=10)


def minor_breach_lasts_and_counts_as_major(world: World) -> None:
    shares = _served(world, {**RECALL, "severity": "minor", "escalateAfter": "20m"})
    shares["2"] = 0.3
    sees_after(world, 600, tick=60)
    sees_after(world, 900, tick=60)


def labels_come_late(world: World) -> None:
    shares = _served(world, {**RECALL, "labelDelay": "20m"})
    shares["2"] = 0.3
    sees_after(world, 600, tick=60)
    sees_after(world, 900, tick=60)


ALL = (
    new_version_is_worse_than_the_weeks_before,
    world_moves_when_the_version_is_old,
    worse_than_in_its_first_day,
    more_requests_are_invalid_than_the_day_before,
    worse_for_a_moment_only,
    past_has_too_little_data,
    answers_move_from_the_reference_while_it_serves,
    answers_become_ever_the_same,
    minor_breach_lasts_and_counts_as_major,
    labels_come_late,
)
