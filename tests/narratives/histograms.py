"""A story of histograms: how requests were distributed is recorded on both versions of a promotion."""

from typing import Any

from serin.analysis.types import DistributionTick, HistogramTick, Tick
from serin.evaluation.samples import SampleRequest
from tests.narratives.world import World, passes, spec

ANSWERS = {"counts": "answers_total{ {{.version}} }", "by": "label"}
METRICS: list[dict[str, Any]] = [
    *spec()["metrics"],
    {"name": "latency", "template": {"name": "request-latency"}, "severity": "major"},
    {
        "name": "answers",
        "distribution": {"counts": "answers_total{ {{.version}} }", "by": "label"},
        "severity": "major",
    },
]


def distributed(world: World, asked: SampleRequest) -> Tick:
    """A candidate that is as quick as stable, and answers as stable does."""
    match asked.metric.name:
        case "latency":
            return HistogramTick(world.now, (0.01, 0.1, 1.0), (500, 450, 50, 0), (9_500, 8_550, 950, 0))
        case "answers":
            return DistributionTick(world.now, (970, 30), (18_430, 570), categories=("legit", "fraud"))
    return passes(world, asked)


def distributions_are_recorded_at_the_promotion(world: World) -> None:
    world.spec, world.sampler = spec(metrics=METRICS), distributed
    world.run(20)
    world.change(spec("2", metrics=METRICS))
    world.run(300)
    for snapshot in world.snapshots.values():
        for one in snapshot.records[-1].histograms:
            pairs = zip(one.values, one.counts, strict=True)
            told = ", ".join(f"{value} {count}" for value, count in pairs)
            bounds = f" (bounds in {one.unit})" if one.ordered else ""
            world.tell(f"sees: {snapshot.name} {snapshot.records[-1].occasion}, {one.name}: {told}{bounds}")


ALL = (distributions_are_recorded_at_the_promotion,)
