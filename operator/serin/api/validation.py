"""`spec.rollback.validation`: a Job of the user's that compares, before a rollback, its target with what serves.

The contract. The Job finds both versions in its environment, as Services that answer. It ends with exit code 0 and, in
its termination message, JSON: `{"target": 0.93, "present": 0.81}`, where more is better unless `"better": "Lower"` is
there; or `{"accept": false, "message": "..."}`. Only such an answer can refuse a target. Whatever else happens (a Job
that cannot start, hangs, fails, or says something else) never keeps a rollback back.
"""

import json
import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from serin.api.fields import Field
from serin.api.json import JsonObject
from serin.api.text import shortened

# Bound of the schema (crds/modeldeployments.yaml); a test compares them. What Kubernetes keeps of a message is longer.
LONGEST_TEXT: Final = 1024
_QUOTED: Final = 60


@dataclass(frozen=True, slots=True)
class ValidationSpec:
    """`spec.rollback.validation`. `job`: JSON, a Job's metadata and spec. `timeout`: seconds for all of it."""

    job: JsonObject
    timeout: float


class Outcome(StrEnum):
    """What came of a validation."""

    PASSED = "Passed"
    REFUSED = "Refused"
    SKIPPED = "Skipped"  # nobody knows: the rollback goes on without it


@dataclass(frozen=True, slots=True)
class Validation:
    """One that was begun. `name`: of its Job; `since`: unix seconds. `outcome`: "" while it runs; `message`: why."""

    name: str
    since: float
    outcome: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class ValidationSeen:
    """Its Job as it is. `succeeded`: None while it has not ended. `said`: its termination message.

    `problem`: why there is no Job, or why it has failed, in words.
    """

    succeeded: bool | None = None
    said: str = ""
    problem: str = ""


class NoAnswer(ValueError):
    """What a Job has said is no answer; how it begins, in words."""


def read_validation(field: Field | None) -> ValidationSpec | None:
    """From the settings, defaults included. Raises InvalidSpec."""
    return None if field is None else ValidationSpec(field["job"].value, field["timeout"].duration())


def read_answer(said: str) -> tuple[bool, str]:
    """Whether the target is accepted, and why in words. Raises NoAnswer."""
    try:
        found = json.loads(said)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        quoted = f"it said {json.dumps(shortened(said, _QUOTED), ensure_ascii=False)}" if said else "it said nothing"
        raise NoAnswer(f'{quoted}, and no JSON such as {{"target": 0.93, "present": 0.81}}')
    told = found.get("message")
    words = _words(told) if isinstance(told, str) else ""
    if isinstance(found.get("accept"), bool):
        return found["accept"], words or f"accept is {str(found['accept']).lower()}"
    target, present = _score(found, "target"), _score(found, "present")
    lower = found.get("better", "Higher")
    if lower not in ("Higher", "Lower"):
        raise NoAnswer("better is neither Higher nor Lower")
    worse = target > present if lower == "Lower" else target < present
    scores = f"target {target:.6g}, present {present:.6g}{', less is better' if lower == 'Lower' else ''}"
    return not worse, f"{scores}: {words}" if words else scores


def _words(told: str) -> str:
    """What a Job says, as it may stand in a message: JSON can also say half a character, which no text can hold."""
    return shortened("".join(one if one.isprintable() else " " for one in told).strip(), LONGEST_TEXT // 2)


def _score(found: dict[str, Any], key: str) -> float:
    value = found.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise NoAnswer(f"there is no number {key} in what it said")
    try:
        score = float(value)
    except OverflowError:
        score = math.inf
    if not math.isfinite(score):
        raise NoAnswer(f"{key} is no finite number")
    return score
