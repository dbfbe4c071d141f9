"""The states that the stories bring a deployment into, as a person would meet them."""

import re
from collections.abc import Iterator

from serin.api import names
from serin.api.conditions import ROUTINE
from serin.api.state import Phase
from serin.explain.facts import Facts
from tests.narratives.film import Frame, film
from tests.narratives.stories import named


def is_held(facts: Facts) -> bool:
    """Whether something keeps a rollout from going on as planned."""
    return facts.state.phase is Phase.PROGRESSING and facts.reason not in ROUTINE


def all_frames() -> Iterator[tuple[str, Frame]]:
    """Every frame of every story, with the story's name."""
    for name, story in named():
        for frame in film(story):
            yield name, frame


def first_of_each_state() -> dict[str, tuple[str, Frame]]:
    """For each phase and reason that the stories lead to: the first story that does, and the frame."""
    found: dict[str, tuple[str, Frame]] = {}
    for name, frame in all_frames():
        found.setdefault(frame.state, (name, frame))
    return found


_HASH = re.compile(rf"\bfraud-[a-z0-9]{{{names.HASH_LENGTH}}}\b")
_TIME = re.compile(r"\b(\d+[hms])+\b")
_NUMBER = re.compile(r"\d[\d,]*(\.\d+)?")


def without_numbers(sentence: str) -> str:
    """What two sentences have in common that differ in names, times and numbers only."""
    return _NUMBER.sub("#", _TIME.sub("T", _HASH.sub("SNAPSHOT", sentence)))
