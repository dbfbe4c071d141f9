"""What is known before a rollout: the steps that it will take, and the traffic that it will meet."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Traffic:
    """What a ratio metric counts: requests per second of all versions together, and the share of them that is bad."""

    rate: float
    bad: float


@dataclass(frozen=True, slots=True)
class Stage:
    """One step with a weight: its `number` among all steps from 1, `weight` in percent, `bake` in seconds.

    A pause for a time is a stage at the weight before it: traffic goes on, and evidence with it.
    """

    number: int
    weight: int
    bake: float
    min_requests: int = 0

    @property
    def share(self) -> float:
        """The candidate's share of the requests."""
        return self.weight / 100.0
