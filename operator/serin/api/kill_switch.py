"""The kill switch: which versions must not answer now, and what clients get in their place.

It is read from annotation and spec alone, by the planner and by every replica that serves the router. So it works while
the rest of the spec cannot be read, while nobody decides, and without Prometheus. Reading it never fails.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Self

from serin.api.fields import Field, InvalidSpec
from serin.api.names import ANNOTATION_KILL_SWITCH


class KillSwitch(StrEnum):
    """How much is switched off, the least first."""

    OFF = "Off"
    CANDIDATE = "Candidate"  # everything goes to stable, and no other version starts
    ALL = "All"  # no version answers: the fallback does


_STRICTNESS: Final = tuple(KillSwitch)
_BY_WORD: Final = {one.lower(): one for one in KillSwitch} | {"false": KillSwitch.OFF}


@dataclass(frozen=True, slots=True)
class Killed:
    """What the resource says. `by`: where it says so, in words that a sentence can go on with; "" while it is off."""

    level: KillSwitch = KillSwitch.OFF
    by: str = ""

    def __bool__(self) -> bool:
        return self.level is not KillSwitch.OFF


OFF: Final = Killed()


@dataclass(frozen=True, slots=True)
class FixedAnswer:
    """An answer that the router gives itself."""

    status: int
    content_type: str
    body: str

    @classmethod
    def read(cls, field: Field) -> Self:
        """From the field that describes it, defaults included."""
        return cls(*(field[key].value for key in ("status", "contentType", "body")))

    def __str__(self) -> str:
        return f"clients get a fixed answer with status {self.status} (spec.fallback.answer)"


@dataclass(frozen=True, slots=True)
class FallbackService:
    """A Service of the deployment's own namespace that answers in the place of every version."""

    name: str
    port: int

    def __str__(self) -> str:
        return f"Service {self.name} answers at port {self.port} (spec.fallback.service)"


Fallback = FixedAnswer | FallbackService


def read_kill_switch(annotations: Mapping[str, Any], spec: Mapping[str, Any]) -> Killed:
    """What annotation and spec say: the stricter of the two.

    A word in the annotation that is unknown counts as Candidate: whoever sets it in a hurry means to stop something.
    """
    word, given = annotations.get(ANNOTATION_KILL_SWITCH), spec.get("killSwitch")
    asked = Killed()
    if isinstance(word, str):
        level = _BY_WORD.get(word.strip().lower())
        unknown = "" if level else ", which is taken for Candidate: write Off, Candidate or All"
        asked = Killed(level or KillSwitch.CANDIDATE, f"annotation {ANNOTATION_KILL_SWITCH}={word[:40]}{unknown}")
    written = next((Killed(one, "spec.killSwitch") for one in KillSwitch if one == given), OFF)
    found = max((written, asked), key=lambda one: _STRICTNESS.index(one.level))
    return found if found else OFF


def read_fallback(spec: Mapping[str, Any], deployment: str) -> Fallback | None:
    """What answers with the kill switch at All, None: 503 in plain words. Raises InvalidSpec."""
    if not spec.get("fallback"):
        return None
    field = Field(spec["fallback"], "spec.fallback")
    service, answer = field.get("service"), field.get("answer")
    if (service is None) == (answer is None):
        raise InvalidSpec("spec.fallback: write exactly one of service: {name: ..., port: ...} and answer: {body: ...}")
    if service is None:
        return FixedAnswer.read(field["answer"])
    name = service["name"].value
    if name == deployment:
        raise InvalidSpec(
            f"spec.fallback.service.name: {name} is the Service of this very ModelDeployment: write another one"
        )
    return FallbackService(name, service["port"].value)
