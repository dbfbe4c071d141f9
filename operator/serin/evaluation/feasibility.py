"""The spec as the rehearsal sees it: its steps with a weight, and whether the measured traffic suffices for them."""

from collections.abc import Mapping

from serin.analysis import feasibility
from serin.analysis.traffic import Stage, Traffic
from serin.analysis.types import Policy
from serin.api.conditions import Reason
from serin.api.spec import ModelDeploymentSpec, PauseStep
from serin.api.verdicts import BLOCKING


def stages(spec: ModelDeploymentSpec) -> tuple[Stage, ...]:
    """Every step in which the candidate has traffic; a pause for a time goes on with the weight before it.

    A pause until approval lasts as long as it lasts, and is left out.
    """
    found: list[Stage] = []
    weight = 0
    for number, step in enumerate(spec.canary.steps, 1):
        if isinstance(step, PauseStep):
            if weight and step.seconds is not None:
                found.append(Stage(number, weight, step.seconds))
            continue
        weight = step.weight
        found.append(Stage(number, weight, step.bake, step.min_requests))
    return tuple(found)


def feasible(
    spec: ModelDeploymentSpec, policies: Mapping[str, Policy], traffic: Mapping[str, Traffic]
) -> tuple[Reason, str] | None:
    """Whether this traffic suffices for this policy, as a condition says it; None: nothing is known.

    `traffic`: of ratio metrics, as measured when the rollout began.
    """
    deciding = [one for one in policies.values() if one.severity in BLOCKING]
    found = feasibility.assess(deciding, traffic, stages(spec))
    if not found:
        return None
    low, message = feasibility.shortfall(found, spec.canary.max_duration)
    return (Reason.TRAFFIC_TOO_LOW if low else Reason.TRAFFIC_SUFFICES), message
