"""From an observation to the question that evaluation answers."""

import math
from dataclasses import replace

from serin.evaluation.evaluate import Assessment, Case, evaluate, measure
from serin.evaluation.limits import diagnose_limits, judge_limits, question, says_that_the_data_drifted
from serin.evaluation.samples import limited_subject, measured_subject
from serin.rollout.model import Observation
from serin.rollout.strategies.table import strategy_of
from serin.rollout.watching import schedule_of, without_goal


def assess(seen: Observation) -> Assessment:
    """Judge what is under evaluation; or else measure stable when that is due. Raises InvalidSpec."""
    rollout, spec = seen.state.judged, seen.deployment.spec
    if rollout is None:
        return _alone(seen)
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


def _alone(seen: Observation) -> Assessment:
    """Stable by itself: what it was measured to be for its record, and whether it keeps its limits."""
    spec, state = seen.deployment.spec, seen.state
    measured, limited, limits = measured_subject(state), limited_subject(state), state.held_to_limits
    found = measure(spec, measured, seen.samples) if measured else Assessment()
    if limited is None or limits is None or limits.asked != question(spec):
        return found
    workload = seen.workloads.get(limited.snapshot)
    judged = judge_limits(spec, limits, limited, seen.samples, workload.newest if workload else -math.inf, seen.now)
    crashing = workload is not None and workload.crashing  # which another version may not be
    elsewhere = () if crashing else _elsewhere(seen, limited.snapshot, "stable")
    judged = replace(judged, moved=_moved(seen))
    return replace(found, limits=judged, diagnosis=diagnose_limits(judged, elsewhere))


def _moved(seen: Observation) -> tuple[str, ...]:
    """Metrics whose breach says that the data has drifted.

    Also the one for which was gone back to what serves now: when that breaks it too, it is no version's doing.
    """
    spec, state, last = seen.deployment.spec, seen.state, seen.state.last_rollback
    within = spec.limit_policy.roll_back_within if spec.limit_policy else 0.0
    new = state.stable_since is not None and seen.now - state.stable_since <= within
    both = last.metric if last and last.target == state.stable and last.at == state.stable_since else None
    return tuple(one.name for one in spec.watched if one.name == both or says_that_the_data_drifted(one, new=new))


def _elsewhere(seen: Observation, baseline: str, called: str) -> tuple[str, ...]:
    """What is wrong with the router or with the pods of what is compared with."""
    found = []
    if problem := seen.route.problem():
        found.append(problem.message)
    workload = seen.workloads.get(baseline)
    if workload and workload.ready < workload.desired and workload.problem:
        found.append(f"{called} has {workload.ready} of {workload.desired} pods: {workload.problem}")
    return tuple(found)
