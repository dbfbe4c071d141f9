"""Faults that a version of the model can be given, each by one key of `spec.config`; without any it is healthy.

| key | what happens |
|---|---|
| error-ratio: "0.2" | that share of the requests ends in HTTP 500 |
| fails-above: "17" | requests whose first feature is larger end in HTTP 500 |
| nan-ratio: "0.05" | that share is answered with 200 and a probability that is no number |
| rejects: "true" | every request ends in HTTP 422, as if the client had made a mistake |
| slow-ratio: "0.5", slow-seconds: "0.3" | that share waits so long before it is answered |
| wrong-order: "true" | the features reach the model in another order: answers quick, well-formed and wrong |
| wrong-above: "17" | answers to requests whose first feature is larger are turned round: wrong for some clients |
| other-input: "true" | the model says that it takes FP64, which clients of the others do not send |
| not-loaded: "true" | the server is up, but its model never gets ready |
| crash-after: "30" | the process dies that many seconds after its model was loaded |

The environment variable RUNTIME_ERROR_RATIO is a fault of the runtime: it does what error-ratio does, whatever the
config is.

An incident that hits every version at once needs no fault: the client sends malformed requests (see traffic.py).
"""

from __future__ import annotations

import math
import os
import random
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Faults:
    """What goes wrong; ratios from 0 to 1, times in seconds, None is never."""

    error_ratio: float = 0.0
    fails_above: float = math.inf
    nan_ratio: float = 0.0
    rejects: bool = False
    slow_ratio: float = 0.0
    slow_seconds: float = 0.0
    wrong_order: bool = False
    wrong_above: float = math.inf
    other_input: bool = False
    not_loaded: bool = False
    crash_after: float | None = None

    @classmethod
    def read(cls, environment: Mapping[str, str] = os.environ) -> Faults:
        """Read SERIN_CONFIG_ERROR_RATIO and its like.

        Raises:
            ValueError: a value cannot be what its name says, or a slow share without a time.
        """
        after = environment.get("SERIN_CONFIG_CRASH_AFTER")
        faults = cls(
            error_ratio=max(_ratio(environment, one) for one in ("SERIN_CONFIG_ERROR_RATIO", "RUNTIME_ERROR_RATIO")),
            fails_above=float(environment.get("SERIN_CONFIG_FAILS_ABOVE", "inf")),
            nan_ratio=_ratio(environment, "SERIN_CONFIG_NAN_RATIO"),
            rejects=_flag(environment, "SERIN_CONFIG_REJECTS"),
            slow_ratio=_ratio(environment, "SERIN_CONFIG_SLOW_RATIO"),
            slow_seconds=float(environment.get("SERIN_CONFIG_SLOW_SECONDS", "0")),
            wrong_order=_flag(environment, "SERIN_CONFIG_WRONG_ORDER"),
            wrong_above=float(environment.get("SERIN_CONFIG_WRONG_ABOVE", "inf")),
            other_input=_flag(environment, "SERIN_CONFIG_OTHER_INPUT"),
            not_loaded=_flag(environment, "SERIN_CONFIG_NOT_LOADED"),
            crash_after=float(after) if after else None,
        )
        if bool(faults.slow_ratio) != bool(faults.slow_seconds):
            raise ValueError("slow-ratio and slow-seconds belong together: write both")
        return faults

    def fails(self, feature: float) -> bool:
        """Whether this request fails: by the largest of its first features, or drawn."""
        return feature > self.fails_above or random.random() < self.error_ratio

    def has_no_number(self) -> bool:
        """Draw whether this request's probability is NaN."""
        return random.random() < self.nan_ratio

    def delay(self) -> float:
        """Draw how many seconds this request waits."""
        return self.slow_seconds if random.random() < self.slow_ratio else 0.0


def _ratio(environment: Mapping[str, str], name: str) -> float:
    value = float(environment.get(name, "0"))
    if not 0 <= value <= 1:
        raise ValueError(f'{name} is {value}: write a share from 0 to 1, such as "0.2"')
    return value


def _flag(environment: Mapping[str, str], name: str) -> bool:
    value = environment.get(name, "false")
    if value not in ("true", "false"):
        raise ValueError(f'{name} is {value!r}: write "true" or "false"')
    return value == "true"
