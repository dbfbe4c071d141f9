"""What a pod answered to a golden probe, compared with what is expected: the first difference, in words.

Of an answer only what is expected is looked at: a map may have more keys (an id, a model version), a list may not have
more entries. So the work is bounded by what the user wrote, however much a pod answers. A number may be off by the
tolerance; whether it is written as a whole one does not matter.
"""

import hashlib
import json
from collections.abc import Sequence
from typing import Any, Final

from serin.api.integrity import GoldenProbe
from serin.api.text import shortened

# Bytes of an answer that is looked at: known answers are small.
LONGEST_ANSWER: Final = 262_144
# Characters that are quoted of a value, and of where it is.
_QUOTED, _LONGEST_PLACE = 60, 120
_MISSING: Final = object()
# Hexadecimal digits of a fingerprint, and decimal digits of a number in it.
_FINGERPRINT, _DIGITS = 16, 6


def difference(probe: GoldenProbe, answer: bytes) -> str:
    """How an answer first differs from what is expected; "" when it does not."""
    if len(answer) > LONGEST_ANSWER:
        return f"the answer is longer than {LONGEST_ANSWER // 1024} KiB"
    try:
        found = json.loads(answer)
    except (ValueError, RecursionError):
        return f"the answer is no JSON: {_quoted(answer[: 4 * _QUOTED].decode(errors='replace'))}"
    return _compare(json.loads(probe.expected), found, probe.tolerance, "")


def fingerprint(answers: Sequence[tuple[GoldenProbe, bytes]]) -> str:
    """A hash of golden probes and of what was answered to them, as far as it is expected and JSON.

    Two versions with the same one have given the same answers to the same questions, to six digits.
    """
    rows = [
        [probe.name, probe.path, json.loads(probe.body), _part(json.loads(probe.expected), json.loads(answer))]
        for probe, answer in answers
    ]
    text = json.dumps(rows, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:_FINGERPRINT]


def _part(expected: Any, found: Any) -> Any:
    """What of an answer is expected: an id, or a time, differs from answer to answer."""
    if isinstance(expected, dict) and isinstance(found, dict):
        return {key: _part(value, found.get(key)) for key, value in expected.items()}
    if isinstance(expected, list) and isinstance(found, list):
        return [_part(one, other) for one, other in zip(expected, found, strict=False)]
    if not _is_number(found):
        return found
    try:
        return f"{found:.{_DIGITS}g}"
    except OverflowError:  # a whole number that is too large for a float
        return str(found)


def _compare(expected: Any, found: Any, tolerance: float, place: str) -> str:
    """`place`: where in the answer, "" for all of it. No deeper than `expected`, whose depth is bounded."""
    if isinstance(expected, dict) and isinstance(found, dict):
        return _compare_maps(expected, found, tolerance, place)
    if isinstance(expected, list) and isinstance(found, list):
        return _compare_lists(expected, found, tolerance, place)
    if _is_number(expected) and _is_number(found):
        # An integer of any size is compared exactly; NaN is near nothing.
        same = found == expected or _off(found, expected) <= tolerance
        within = f" within {tolerance:g}" if tolerance else ""
        return "" if same else f"{_called(place)} is {_quoted(found)}, expected {_quoted(expected)}{within}"
    if type(expected) is type(found) and expected == found:
        return ""
    return f"{_called(place)} is {_quoted(found)}, expected {_quoted(expected)}"


def _compare_maps(expected: dict[str, Any], found: dict[str, Any], tolerance: float, place: str) -> str:
    for key, value in expected.items():
        inner = f"{place}.{key}" if place else key
        there = found.get(key, _MISSING)
        if there is _MISSING:
            return f"{_called(inner)} is missing, expected {_quoted(value)}"
        if different := _compare(value, there, tolerance, inner):
            return different
    return ""


def _compare_lists(expected: list[Any], found: list[Any], tolerance: float, place: str) -> str:
    if len(expected) != len(found):
        return f"{_called(place)} has {len(found)} entries, expected {len(expected)}"
    pairs = enumerate(zip(expected, found, strict=True))
    inner = (_compare(one, other, tolerance, f"{place}[{index}]") for index, (one, other) in pairs)
    return next(filter(None, inner), "")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _off(found: float, expected: float) -> float:
    """How far apart two numbers are; infinitely, when one of them is too large to say."""
    try:
        return abs(float(found) - float(expected))
    except OverflowError:
        return float("inf")


def _called(place: str) -> str:
    return shortened(place, _LONGEST_PLACE) if place else "the answer"


def _quoted(value: Any) -> str:
    """A value as JSON, cut. Only its beginning is written out: a pod may have answered anything."""
    if isinstance(value, dict):
        return "a map" if value else "{}"
    if isinstance(value, list):
        return f"a list of {len(value)}" if value else "[]"
    if isinstance(value, str):
        value = value[: _QUOTED + 1]
    try:
        return shortened(json.dumps(value), _QUOTED)
    except ValueError:
        return "a number with too many digits"
