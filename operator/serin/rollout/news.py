"""Which changes of a status are worth a write at once, and which may wait in memory.

What was decided is written before anything follows from it, and so is every word that people read. Numbers move with
every look at a rollout: how much evidence there is, what it says so far, when was looked last. None of them is lost by
waiting: whoever goes on from an earlier status counts again from where its evidence ends.
"""

import math
import re
from typing import Any, Final

from serin.api.json import JsonObject

# The longest that numbers wait, in seconds. With what a change of leader takes it is less than credit.LIMIT, or a wait
# would be credited less than has passed.
LONGEST: Final = 30.0

# By their keys, wherever they are in a status.
_NUMBERS: Final = frozenset(
    {"evidence", "observed", "requests", "estimate", "interval", "needed", "failsAt", "passesAt", "trail"}
)
# Nobody watches when Serin has looked.
_CLOCK: Final = "lookedAt"
# Texts quote numbers: only their words are news.
_TEXTS: Final = frozenset({"message", "note"})
_DIGITS: Final = re.compile(r"[0-9][0-9.,]*")


def is_news(before: JsonObject, after: JsonObject) -> bool:
    """Whether anything but numbers differs between two statuses."""
    return _differs(before, after, _NUMBERS | {_CLOCK})


def may_wait(before: JsonObject, after: JsonObject, *, now: float, written: float, every: float, phase: float) -> bool:
    """Whether `after` need not be written yet in the place of `before`.

    `written`: when a status was written last (unix seconds; -inf: not known). `every`: seconds between two writes of
    numbers. `phase`, 0 to 1: at which part of that time, so that many deployments do not write at the same moment.
    """
    if is_news(before, after):
        return False
    period = min(every, LONGEST) if _differs(before, after, {_CLOCK}) else LONGEST
    return period > 0.0 and not math.isinf(written) and _turn(now, period, phase) == _turn(written, period, phase)


def _turn(at: float, period: float, phase: float) -> int:
    return math.floor(at / period + phase)


def _differs(before: Any, after: Any, ignored: frozenset[str] | set[str], key: str = "") -> bool:
    if isinstance(before, dict) and isinstance(after, dict):
        keys = before.keys() | after.keys()
        return any(_differs(before.get(one), after.get(one), ignored, one) for one in keys if one not in ignored)
    if isinstance(before, list) and isinstance(after, list):
        return len(before) != len(after) or any(
            _differs(one, other, ignored, key) for one, other in zip(before, after, strict=True)
        )
    if key in _TEXTS and ignored >= _NUMBERS and isinstance(before, str) and isinstance(after, str):
        return before != after and _DIGITS.sub("", before) != _DIGITS.sub("", after)
    return bool(before != after)
