"""What each story looks like to whoever follows it: the headline and what it waits for, compared with golden files.

What a story has in common with the beginning of an earlier one is not repeated. To accept new texts:
SERIN_WRITE_GOLDEN=1 pytest tests/unit/explain, then read the diff as a user would.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import takewhile
from pathlib import Path

import pytest

from serin.api.state import Phase
from serin.explain.sentences import headline, waiting
from tests.narratives.film import Frame, film
from tests.narratives.stories import Story, named
from tests.narratives.world import START
from tests.unit.explain.frames import is_held
from tests.unit.golden import compare

pytestmark = pytest.mark.stories

GOLDEN = Path(__file__).parent / "golden"
AREAS = ("serving", "promotion", "held", "rollback", "manual_rollback")


def area(frames: Sequence[Frame]) -> str:
    """Where a story is told, by what happens in it."""
    all_facts = [one.facts for one in frames]
    if any(one.state.phase is Phase.ROLLING_BACK for one in all_facts):
        return "manual_rollback"
    if any(one.state.last_rollback for one in all_facts):
        return "rollback"
    if any(is_held(one) for one in all_facts):
        return "held"
    return "promotion" if any(one.rollout for one in all_facts) else "serving"


@dataclass(frozen=True)
class Scene:
    """What is said from some moment on. `at`: seconds since the story began."""

    at: int
    headline: str
    waiting: str


@cache
def scenes(story: Story) -> tuple[Scene, ...]:
    """One for each state; the end only when it is another one."""
    frames = film(story)
    ends = frames[-1:] if frames[-1].state != frames[-2].state else ()
    return tuple(
        Scene(round(frame.now - START), headline(frame.facts), waiting(frame.facts)) for frame in (*frames[:-1], *ends)
    )


def told(title: str, story: Story) -> Iterator[str]:
    """A story from where it differs from those before it."""
    yield title
    begins = list(_begins_as(story))
    shared, like = max(begins, key=lambda one: one[0], default=(0, ""))
    if shared:
        yield f"        until {scenes(story)[shared - 1].at}s as {like}"
    for scene in scenes(story)[shared:]:
        yield f"{scene.at:5}s  {scene.headline}"
        if scene.waiting:
            yield f"          {scene.waiting}"


def _begins_as(story: Story) -> Iterator[tuple[int, str]]:
    """Earlier stories that have scenes in common with its beginning, and how many."""
    for title, other in takewhile(lambda one: one[1] is not story, named()):
        pairs = zip(scenes(story), scenes(other), strict=False)
        yield len(list(takewhile(lambda pair: pair[0] == pair[1], pairs))), title


@pytest.mark.parametrize("name", AREAS)
def test_what_is_said_in_the_course_of_every_story(name: str) -> None:
    parts = ["\n".join(told(title, story)) for title, story in named() if area(film(story)) == name]
    compare(GOLDEN / f"{name}.txt", "\n\n".join(parts) + "\n")
