"""The shadow: copies of requests alone, then everything at once, or a person's word.

It is a canary whose one share is of copies: the same gates, the same evidence, the same way to a promotion.
"""

from enum import StrEnum

from serin.api.fields import Field
from serin.rollout.strategies.canary import Canary, PauseStep, Step, read_mirror


class Then(StrEnum):
    """What comes when the copies have shown that the candidate is as good."""

    PROMOTE = "Promote"
    HOLD = "Hold"  # wait for approval; copies go on


def read_shadow(settings: Field) -> Canary:
    """`spec.strategy.shadow`, defaults included. Raises InvalidSpec."""
    steps: tuple[Step, ...] = (read_mirror(settings),)
    if settings["then"].one_of(Then) is Then.HOLD:
        steps = (*steps, PauseStep())
    return Canary(steps, settings.duration_of("maxDuration"), mirror="spec.strategy.shadow.mirror")
