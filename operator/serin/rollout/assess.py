"""From an observation to the question that evaluation answers."""

from serin.evaluation.evaluate import Assessment, Case, evaluate
from serin.rollout.model import Observation
from serin.rollout.strategies.table import strategy_of


def assess(seen: Observation) -> Assessment:
    """Judge what is under evaluation; an empty assessment when nothing is. Raises InvalidSpec."""
    rollout = seen.state.rollout
    if rollout is None:
        return Assessment()
    strategy, interval = strategy_of(seen.deployment.spec), seen.samples.interval
    settled = strategy.settled_at(rollout.stage)
    case = Case(
        spec=seen.deployment.spec,
        rollout=rollout,
        split=seen.state.split,
        schedule=strategy.schedule(),
        settled_at=None if settled is None else settled + interval,
        samples=seen.samples,
        pods={name: workload.ready for name, workload in seen.workloads.items()},
        ready={name: workload.newest for name, workload in seen.workloads.items()},
        elsewhere=_elsewhere(seen, rollout.stable),
    )
    return evaluate(case)


def _elsewhere(seen: Observation, stable: str) -> tuple[str, ...]:
    """What is wrong with the router or with stable's pods."""
    found = []
    if problem := seen.route.problem():
        found.append(problem.message)
    workload = seen.workloads.get(stable)
    if workload and workload.ready < workload.desired and workload.problem:
        found.append(f"stable has {workload.ready} of {workload.desired} pods: {workload.problem}")
    return tuple(found)
