"""The phases of a model deployment, as one table that names them.

Two rules. First, *phase is a summary, never an instruction*: the planner decides from snapshots, workloads, route and
evidence, and then this table names the result; nothing reads the phase back to choose what to do. Second, *every phase
can fall back to Healthy in one look*, because lowering the candidate's traffic waits for nothing.

    Initializing ──► Healthy ◄──────────────┬───────────────┐
                        │                   │               │
                        ▼                   │               │
                     Starting ──► Progressing ──► Promoting ┘
                        ▲             ▲  │           │  ▲
                        │             │  ▼           ▼  │
                        └──────────── Paused ◄──────────┘

    any of them but Initializing ──► RollingBack ──► Healthy
    Healthy ──► Promoting, when a user asks for a version and to promote it at once
    Promoting ──► Progressing, when a user adds steps to a rollout that has passed all it had
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from serin.api.conditions import Reason
from serin.api.state import Phase, State

_PAUSES: Final = frozenset({Reason.PAUSED_BY_USER, Reason.WAITING_FOR_APPROVAL, Reason.WAITING})


@dataclass(frozen=True, slots=True)
class _Decided:
    """What a look has come to. `last_stage`: index after the last stage of the strategy."""

    state: State
    reason: Reason
    last_stage: int

    @property
    def has_passed(self) -> bool:
        """Whether every stage of the rollout has passed."""
        return self.state.rollout is not None and self.state.rollout.stage.index >= self.last_stage

    @property
    def has_traffic(self) -> bool:
        """Whether the candidate has traffic."""
        return self.state.candidate is not None and self.state.split.is_asked(self.state.candidate)


# The first line that holds names the phase.
PHASES: Final[tuple[tuple[Phase, Callable[[_Decided], bool]], ...]] = (
    (Phase.INITIALIZING, lambda decided: decided.state.stable is None),
    (Phase.ROLLING_BACK, lambda decided: decided.state.manual_rollback is not None),
    (Phase.HEALTHY, lambda decided: decided.state.rollout is None),
    (Phase.PAUSED, lambda decided: decided.reason in _PAUSES),
    (Phase.PROMOTING, lambda decided: decided.has_passed),
    (Phase.PROGRESSING, lambda decided: decided.has_traffic),
    (Phase.STARTING, lambda _: True),
)


def phase_of(state: State, reason: Reason, last_stage: int) -> Phase:
    """Name the phase. `reason`: why it is as it is; `last_stage`: index after the last stage of the strategy."""
    decided = _Decided(state, reason, last_stage)
    return next(phase for phase, holds in PHASES if holds(decided))
