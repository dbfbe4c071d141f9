"""From an observation to the question that evaluation answers."""

from serin.evaluation.evaluate import Assessment, Case, evaluate, measure
from serin.evaluation.samples import measured_subject
from serin.rollout.model import Observation
from serin.rollout.strategies.table import strategy_of
from serin.rollout.watching import schedule_of, without_goal


def assess(seen: Observation) -> Assessment:
    """Judge what is under evaluation; or else measure stable when that is due. Raises InvalidSpec."""
    rollout, spec = seen.state.judged, seen.deployment.spec
    if rollout is None:
        alone = measured_subject(seen.state)
        return measure(spec, alone, seen.samples) if alone else Assessment()
    strategy, interval = strategy_of(spec), seen.samples.interval
    schedule, settled = strategy.schedule(), None
    if seen.state.rollout:
        settled = strategy.settled_at(rollout.stage)
    elif holdback := spec.holdback:
        spec = without_goal(spec, schedule.deciding)
        schedule = schedule_of(holdback)
    else:
        return Assessment()
    case = Case(
        spec=spec,
        rollout=rollout,
        split=seen.state.split,
        schedule=schedule,
        settled_at=None if settled is None else settled + interval,
        samples=seen.samples,
        pods={name: workload.ready for name, workload in seen.workloads.items()},
        ready={name: workload.newest for name, workload in seen.workloads.items()},
        elsewhere=_elsewhere(seen, rollout.stable, "stable" if seen.state.rollout else "the version before"),
    )
    return evaluate(case)


def _elsewhere(seen: Observation, baseline: str, called: str) -> tuple[str, ...]:
    """What is wrong with the router or with the pods of what is compared with."""
    found = []
    if problem := seen.route.problem():
        found.append(problem.message)
    workload = seen.workloads.get(baseline)
    if workload and workload.ready < workload.desired and workload.problem:
        found.append(f"{called} has {workload.ready} of {workload.desired} pods: {workload.problem}")
    return tuple(found)
