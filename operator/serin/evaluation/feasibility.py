"""Whether the measured traffic suffices for what the strategy plans."""

from collections.abc import Mapping
from dataclasses import dataclass

from serin.analysis import feasibility
from serin.analysis.traffic import Stage, Traffic
from serin.analysis.types import Policy
from serin.api.conditions import Reason
from serin.api.verdicts import BLOCKING
from serin.evaluation.goals import AskedGoal
from serin.evaluation.rewards import AskedReward


@dataclass(frozen=True, slots=True)
class Schedule:
    """What a strategy plans, as far as evidence depends on it.

    `stages`: those in which an arm has traffic. `expected_seconds`: how long evidence is gathered if nothing has to
    wait. `max_duration`: seconds after which the rollout is given up, None: never. `goal`, `reward`: what decides in an
    experiment.
    """

    stages: tuple[Stage, ...]
    expected_seconds: float
    max_duration: float | None = None
    goal: AskedGoal | None = None
    reward: AskedReward | None = None

    @property
    def deciding(self) -> str:
        """Name of the metric that decides in an experiment, and so is no guardrail; "" when there is none."""
        return next((one.metric for one in (self.goal, self.reward) if one), "")


def feasible(
    policies: Mapping[str, Policy], traffic: Mapping[str, Traffic], schedule: Schedule
) -> tuple[Reason, str] | None:
    """Whether this traffic suffices for this policy, as a condition says it; None: nothing is known.

    `traffic`: of ratio metrics, as measured when the rollout began.
    """
    deciding = [one for one in policies.values() if one.severity in BLOCKING]
    found = feasibility.assess(deciding, traffic, schedule.stages)
    if not found:
        return None
    low, message = feasibility.shortfall(found, schedule.max_duration)
    return (Reason.TRAFFIC_TOO_LOW if low else Reason.TRAFFIC_SUFFICES), message
