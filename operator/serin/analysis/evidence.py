"""Evidence as JSON: what each module reads back, with the errors for all that is not as it was written.

Evidence is kept in the resource's status, which people can edit and older versions have written. A part that does not
read is `Unreadable`; the engine then starts with new evidence. This module also checks the numbers of ticks.
"""

import math
from collections.abc import Mapping
from enum import StrEnum
from itertools import pairwise
from typing import Final

import numpy as np

from serin.analysis.hypergeometric import Floats
from serin.analysis.types import Arm, HistogramTick, Json, NoDataReason
from serin.api.conditions import Reason
from serin.api.verdicts import FAILURES

Evidence = Mapping[str, Json]


class Kind(StrEnum):
    """Which module wrote the evidence."""

    RATIO = "ratio"
    LATENCY = "latency"
    LIMIT = "limit"
    VALUE = "value"
    SPLIT = "split"
    DRIFT = "drift"
    REFERENCE = "reference"
    MEAN = "mean"
    GOAL = "goal"
    BANDIT = "bandit"
    PAST = "past"
    SLICED = "sliced"


class Unreadable(Exception):
    """A part of the evidence is not what this version writes."""


class Unusable(Exception):
    """A tick's numbers are invalid; the text says why, in a sentence for users."""

    def __init__(self, reason: NoDataReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


# Larger numbers are nobody's: their squares would not be finite.
_LARGEST: Final = 1e75
# Every count up to this is exact as a float.
_MOST: Final = 2.0**53


def floats(evidence: Evidence, key: str, length: int | None = None) -> list[float]:
    """A list of finite numbers, none of them beyond what can be reckoned with."""
    value = evidence.get(key)
    if not isinstance(value, list) or (length is not None and len(value) != length):
        raise Unreadable(f"{key}: expected a list of {length} numbers")
    numbers = [item for item in value if (type(item) is float or type(item) is int) and abs(item) <= _LARGEST]
    if len(numbers) != len(value):
        raise Unreadable(f"{key}: expected finite numbers, got {value!r}")
    return [float(one) for one in numbers]


def array(evidence: Evidence, key: str, length: int | None = None) -> Floats:
    """The same, as an array."""
    return np.array(floats(evidence, key, length), dtype=np.float64)


def counts(evidence: Evidence, key: str, length: int | None = None) -> list[float]:
    """A list of counts: none is negative."""
    return check_counts(key, floats(evidence, key, length))


def check_counts(key: str, numbers: list[float]) -> list[float]:
    """The same numbers; raises `Unreadable` when one of them cannot be a count."""
    if not all(0.0 <= one <= _MOST for one in numbers):
        raise Unreadable(f"{key}: expected counts, got {numbers}")
    return numbers


def count_array(evidence: Evidence, key: str, length: int | None = None) -> Floats:
    """The same, as an array."""
    return np.array(counts(evidence, key, length), dtype=np.float64)


def proven(evidence: Evidence) -> str:
    """The failing verdict that is proven; empty: none is."""
    found = word(evidence, "failed")
    if found and found not in FAILURES:
        raise Unreadable(f"failed: expected a failing verdict, got {found!r}")
    return found


def number(evidence: Evidence, key: str) -> float:
    """One finite number."""
    return floats({key: [evidence.get(key)]}, key, 1)[0]


def word(evidence: Evidence, key: str) -> str:
    """A string."""
    value = evidence.get(key)
    if not isinstance(value, str):
        raise Unreadable(f"{key}: expected a string, got {value!r}")
    return value


def words(evidence: Evidence, key: str) -> tuple[str, ...]:
    """A list of different strings."""
    value = evidence.get(key)
    if not isinstance(value, list) or any(not isinstance(one, str) for one in value) or len({*value}) != len(value):
        raise Unreadable(f"{key}: expected a list of different strings, got {value!r}")
    return tuple(str(one) for one in value)


def check_count(what: str, value: float) -> None:
    """Raise `Unusable` unless the value is finite, whole and not negative."""
    if not math.isfinite(value):
        raise Unusable(Reason.NOT_A_NUMBER, f"{what}: {value} is not a number that can be counted")
    if value < 0 or value != int(value):
        raise Unusable(Reason.PARTIAL, f"{what}: a count is a whole number, 0 or more, got {value}")


def check_arm(name: str, arm: Arm) -> None:
    """Raise `Unusable` unless both counts are counts and no more are bad than there are."""
    check_count(f"{name}'s requests", arm.requests)
    check_count(f"{name}'s bad requests", arm.bad)
    if arm.bad > arm.requests:
        message = f"{name}: {arm.bad} bad requests of only {arm.requests}; the two queries count different things"
        raise Unusable(Reason.PARTIAL, message)


def check_histogram(tick: HistogramTick) -> None:
    """Raise `Unusable` unless the bounds ascend and both arms have one count per bucket."""
    if not all(map(math.isfinite, tick.bounds)):
        raise Unusable(Reason.NOT_A_NUMBER, f"bucket bounds must be finite numbers, got {tick.bounds}")
    if any(high <= low for low, high in pairwise(tick.bounds)):
        raise Unusable(Reason.PARTIAL, f"bucket bounds must ascend, got {tick.bounds}")
    for name, counts in (("the candidate", tick.candidate), ("stable", tick.stable)):
        if len(counts) != len(tick.bounds) + 1:
            message = f"{name}: {len(counts)} buckets where the bounds make {len(tick.bounds) + 1}"
            raise Unusable(Reason.PARTIAL, message)
        for value in counts:
            check_count(f"{name}'s requests in a bucket", value)
