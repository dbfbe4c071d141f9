"""Evidence that may be looked at after every tick: mixtures of e-processes whose start is unknown.

An e-value is a number whose mean under the null hypothesis is at most 1; products over ticks are again e-values, and
by Ville's inequality the running product ever reaches 1/alpha with probability at most alpha, however often one looks.
The candidate's effect is unknown, so several sizes run side by side; so is the moment at which it begins, so most
of the mass starts at once and the rest enters tick by tick. A mixture of e-processes is an e-process whatever its
weights, as long as they do not depend on the tick that they weigh.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from serin.analysis.hypergeometric import Floats
from serin.analysis.types import Json

WAITING_AT_START = 0.25
PRIOR: Floats = np.array([0.4, 0.4, 0.2])  # of a small, a large and a huge effect
MIXTURE_COST = -math.log(0.4 * (1.0 - WAITING_AT_START))  # nats: the weight of a single effect
LOG_ZERO = -1.0e9  # stands for the logarithm of 0: JSON has no infinity
# Parts of a nat in which many weights are kept. Of the mass that waits far less than a thousandth enters in a tick.
WEIGHT_PARTS, WAITING_PARTS = 1e3, 1e6
FAINTEST = -60.0  # nats of a kept weight: millions of looks that add so much add less than rounding down takes away


@dataclass(frozen=True)  # no slots: they leave no room for what is computed once
class Mixture:
    """Log-weights of e-processes that have started, shape (...,), and the log mass that has not.

    Weights and waiting mass sum to 1 before the first tick.
    """

    started: Floats
    waiting: float

    @cached_property
    def log_e(self) -> float:
        """Logarithm of the evidence now."""
        highest = max(float(self.started.max()), self.waiting)
        return highest + math.log(float(np.exp(self.started - highest).sum()) + math.exp(self.waiting - highest))

    def as_list(self) -> list[Json]:
        """As JSON: the started weights, then the waiting mass."""
        return [*self.started.ravel().tolist(), self.waiting]

    @classmethod
    def of(cls, numbers: list[float]) -> "Mixture":
        """From what `as_list` gave (flat)."""
        return cls(np.array(numbers[:-1]), numbers[-1])

    def rounded(self) -> "Mixture":
        """Short enough to store. Done when the weights change, so that the evidence says the same after a restart.

        Rounded down, so that it stays an e-process however many ticks there are.
        """
        started = np.maximum(self.started, FAINTEST)
        return Mixture(_down(started, WEIGHT_PARTS), float(_down(np.float64(self.waiting), WAITING_PARTS)))

    def as_short_list(self) -> list[Json]:
        """A rounded one as JSON: whole numbers are short."""
        started: list[Json] = np.rint(WEIGHT_PARTS * self.started).astype(int).tolist()
        return [*started, round(WAITING_PARTS * self.waiting)]

    @classmethod
    def of_short_list(cls, numbers: list[float]) -> "Mixture":
        """From what `as_short_list` gave."""
        return cls(np.array(numbers[:-1]) / WEIGHT_PARTS, numbers[-1] / WAITING_PARTS)


def begin(prior: Floats) -> Mixture:
    """A mixture before its first tick; `prior` sums to 1, one entry per alternative."""
    return Mixture(np.log(prior * (1.0 - WAITING_AT_START)), math.log(WAITING_AT_START))


def advance(mixture: Mixture, log_e: Floats, prior: Floats, hazard: float) -> Mixture:
    """One tick later: a part `hazard` of the waiting mass enters, then each alternative takes its e-value.

    `log_e`: one per alternative, same shape as `prior`.
    """
    entering = np.log(prior) + (mixture.waiting + math.log(hazard))
    started = np.logaddexp(mixture.started, entering) + log_e
    waiting = mixture.waiting + math.log1p(-hazard) if hazard < 1.0 else LOG_ZERO
    return Mixture(np.maximum(started, LOG_ZERO), max(waiting, LOG_ZERO))


def _down(logs: Floats | np.float64, parts: float) -> Floats:
    """In whole parts; what is in whole parts already stays, whatever its last binary digit is."""
    return np.asarray(np.floor(parts * logs + 1e-6) / parts, dtype=np.float64)
