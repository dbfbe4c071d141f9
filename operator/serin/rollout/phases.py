"""The phases of a model deployment, as one table.

Two rules. First, *phase is a summary, never an instruction*: the planner decides from snapshots, workloads, route and
evidence, and then names the result; nothing reads the phase back to choose what to do. Second, *every phase can fall
back to Healthy in one step*, because lowering the candidate's traffic waits for nothing.

    Initializing ──► Healthy ◄──────────────┬───────────────┐
                        │                   │               │
                        ▼                   │               │
                     Starting ──► Progressing ──► Promoting ┘
                        ▲             ▲  │           │  ▲
                        │             │  ▼           ▼  │
                        └──────────── Paused ◄──────────┘

    any of them but Initializing ──► RollingBack ──► Healthy
"""

from typing import Final

from serin.api.status import Phase

# Phase -> phases that one look may lead to. Staying is always allowed.
TRANSITIONS: Final[dict[Phase, frozenset[Phase]]] = {
    Phase.INITIALIZING: frozenset({Phase.HEALTHY}),
    Phase.HEALTHY: frozenset(  # a candidate's pods may still be there
        {Phase.STARTING, Phase.PROGRESSING, Phase.PAUSED, Phase.ROLLING_BACK}
    ),
    Phase.STARTING: frozenset({Phase.PROGRESSING, Phase.PAUSED, Phase.PROMOTING, Phase.ROLLING_BACK, Phase.HEALTHY}),
    Phase.PROGRESSING: frozenset({Phase.PAUSED, Phase.PROMOTING, Phase.STARTING, Phase.ROLLING_BACK, Phase.HEALTHY}),
    Phase.PAUSED: frozenset({Phase.PROGRESSING, Phase.PROMOTING, Phase.STARTING, Phase.ROLLING_BACK, Phase.HEALTHY}),
    Phase.PROMOTING: frozenset({Phase.HEALTHY, Phase.STARTING, Phase.PAUSED, Phase.ROLLING_BACK}),
    Phase.ROLLING_BACK: frozenset({Phase.HEALTHY}),
}


def allowed(before: Phase, after: Phase) -> bool:
    """Whether the table lets one look lead from `before` to `after`."""
    return before is after or after in TRANSITIONS[before]
