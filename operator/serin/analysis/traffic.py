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

    A pause for a time is a stage at the weight before it: traffic goes on, and evidence with it. `copies`: the
    candidate gets copies of so many percent, and stable answers everything.
    """

    number: int
    weight: int
    bake: float
    min_requests: int = 0
    copies: bool = False

    @property
    def share(self) -> float:
        """What the candidate is asked, as a share of the clients' requests."""
        return self.weight / 100.0

    @property
    def stable_share(self) -> float:
        """What stable is asked, as a share of the clients' requests."""
        return 1.0 if self.copies else 1.0 - self.share

    @property
    def part(self) -> float:
        """The candidate's part of what both versions are asked together."""
        return self.share / (self.share + self.stable_share)

    @property
    def asks(self) -> str:
        """Its share in words."""
        return f"copies of {self.weight}%" if self.copies else f"{self.weight}%"
