"""Durations and quantities as people write them in resources, read into plain numbers.

Resources hold no floats: a float in JSON is printed differently by every client that touches it. The
same two formats as in Kubernetes itself, so that nobody learns a new one. The schema has checked the text; what is
refused here never passed an API server.
"""

import re
from decimal import Decimal
from functools import lru_cache
from typing import Final

_SECONDS: Final = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_DURATION: Final = re.compile(r"(?:[0-9]+(?:ms|s|m|h))+")
_DURATION_PART: Final = re.compile(r"([0-9]+)(ms|s|m|h)")

_FACTORS: Final = {
    "": Decimal(1),
    **{
        suffix: Decimal(10) ** power
        for suffix, power in zip("numkMGTPE", (-9, -6, -3, 3, 6, 9, 12, 15, 18), strict=True)
    },
    **{suffix: Decimal(1024) ** power for power, suffix in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"), start=1)},
}
_QUANTITY: Final = re.compile(
    r"(?P<number>[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)(?P<suffix>[numkMGTPE]|[KMGTPE]i)?"
)


@lru_cache(maxsize=1024)  # the few texts of a spec are read at every look
def parse_duration(text: str) -> float:
    """Read a duration such as `1h30m`, `90s` or `500ms` into seconds. Raises ValueError with what to write instead."""
    if not _DURATION.fullmatch(text):
        raise ValueError(f"{text!r} is no duration: write whole numbers with h, m, s or ms, for example 1h30m or 500ms")
    return sum(int(number) * _SECONDS[unit] for number, unit in _DURATION_PART.findall(text))


def parse_quantity(text: str) -> float:
    """Read a Kubernetes quantity such as `0.95`, `500m` or `2Gi`. Raises ValueError with what to write instead."""
    match = _QUANTITY.fullmatch(text)
    if not match:
        raise ValueError(f'{text!r} is no quantity: write a number as text, for example "0.95", "500m" or "2Gi"')
    return float(Decimal(match["number"]) * _FACTORS[match["suffix"] or ""])
