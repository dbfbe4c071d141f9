"""What each story looks like to whoever follows it: the headline and what it waits for, compared with golden files.

A line stands here once per story. To accept new ones: SERIN_WRITE_GOLDEN=1 pytest tests/unit/explain, then read the
diff as a user would.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from serin.api.state import Phase
from serin.explain.sentences import headline, waiting
from tests.narratives import stories
from tests.narratives.stories import Story, named
from tests.narratives.world import START
from tests.unit.explain.frames import Frame, film
from tests.unit.golden import compare

GOLDEN = Path(__file__).parent / "golden"
AREAS = ("serving", "promotion", "rollback", "manual_rollback")


def area(frames: Sequence[Frame]) -> str:
    """Where a story is told, by what happens in it."""
    states = [one.facts.state for one in frames]
    if any(one.phase is Phase.ROLLING_BACK for one in states):
        return "manual_rollback"
    if any(one.last_rollback for one in states):
        return "rollback"
    return "promotion" if any(one.rollout for one in states) else "serving"


def told(story: Story) -> Iterator[str]:
    """Headline and reason, whenever one of them is news; the first version's way is told by its own story."""
    said = set() if story is stories.first_version else {_words(one) for one in film(stories.first_version)}
    for frame in film(story):
        words = _words(frame)
        if words in said:
            continue
        said.add(words)
        yield f"{frame.now - START:6.0f}s  {words[0]}"
        if words[1]:
            yield f"           {words[1]}"


def _words(frame: Frame) -> tuple[str, str]:
    return headline(frame.facts), waiting(frame.facts)


@pytest.mark.parametrize("name", AREAS)
def test_what_is_said_in_the_course_of_every_story(name: str) -> None:
    parts = ["\n".join([title, *told(story)]) for title, story in named() if area(film(story)) == name]
    compare(GOLDEN / f"{name}.txt", "\n\n".join(parts) + "\n")
