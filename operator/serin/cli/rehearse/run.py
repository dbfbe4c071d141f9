"""The verb: read the files, know or measure the traffic, simulate, tell."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from serin.analysis.rehearsal import LONGEST
from serin.analysis.rehearsal import rehearse as simulate
from serin.analysis.traffic import Traffic
from serin.cli.connection import Connection
from serin.cli.exit_codes import Exit, Stop
from serin.cli.output import console, dump, put
from serin.cli.rehearse import measure, plan, show
from serin.evaluation.feasibility import feasible
from serin.metrics.answers import Ask
from serin.metrics.promql import Matcher

_GUARDRAILS_SECONDS: Final = 3600.0


def rehearse(
    files: Sequence[Path],
    guess: tuple[float, float] | None,
    connection: Connection | None,
    prometheus: str | None,
    *,
    runs: int,
    seed: int,
    output: str | None,
) -> Exit:
    """Rehearse every ModelDeployment of the files, and print what came out.

    `guess`: requests per second and share of bad ones; None: measure them through `connection`, or at `prometheus`.
    NO when one of them cannot work with its traffic.
    """
    found = []
    ask, router = _asker(connection, prometheus) if connection else (None, ())
    for one in plan.read(files):
        if ask is None or connection is None:
            rate, bad = guess or (math.nan, math.nan)
            traffic: Mapping[str, Traffic] = dict.fromkeys(one.policies, Traffic(rate, bad))
        else:
            traffic = measure.traffic(one, one.namespace or connection.namespace, ask, connection.now(), router)
        found.append(_rehearse(one, traffic, runs, seed))
    if output:
        dump([show.as_json(one) for one in found], output)
    else:
        for shown in found:
            put(show.text(shown))
    return Exit.NO if any(one.cannot_work for one in found) else Exit.DONE


def _asker(connection: Connection, prometheus: str | None) -> tuple[Ask, tuple[Matcher, ...]]:
    return (measure.at_address(prometheus), ()) if prometheus else measure.through_cluster(connection)


def _rehearse(one: plan.Plan, traffic: Mapping[str, Traffic], runs: int, seed: int) -> show.Rehearsed:
    worlds, left = plan.worlds(one, traffic)
    if not worlds:
        why = "; ".join(f"{name}: {reason}" for name, reason in left.items())
        raise Stop(Exit.NO, f"{one.name} has no metric that can be rehearsed: {why}")
    schedule = one.schedule
    stages = schedule.stages
    if schedule.deciding:  # of an experiment only the guardrails are rehearsed, and days of them look like an hour
        stages = tuple(replace(stage, bake=min(stage.bake, _GUARDRAILS_SECONDS)) for stage in stages)
    with console(error=True).status(f"simulating {runs} rollouts of {one.name}"):
        longest = schedule.max_duration or LONGEST
        answer = simulate(worlds, stages, one.interval, runs=runs, seed=seed, longest=longest)
    shown = {world.policy.metric: traffic[world.policy.metric] for world in worlds if world.policy.metric in traffic}
    return show.Rehearsed(one, stages, shown, answer, feasible(one.policies, shown, schedule), left)
