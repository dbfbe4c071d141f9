"""Every story, word for word: golden files are read in review as the specification of what users will see.

To write them anew after a change that is meant: SERIN_WRITE_GOLDEN=1 make test-stories, then read the diff.
"""

import os
from pathlib import Path

import pytest

from tests.narratives.film import film, played
from tests.narratives.stories import Story, named
from tests.narratives.told import contradicts_nothing

pytestmark = pytest.mark.stories

GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize(("name", "story"), [pytest.param(*one, id=one[0]) for one in named()])
def test_story(name: str, story: Story) -> None:
    told = played(story).told
    golden = GOLDEN / f"{name}.txt"
    if os.environ.get("SERIN_WRITE_GOLDEN"):
        golden.write_text(told)
    assert told == golden.read_text(), f"the story differs from {golden.name}"


@pytest.mark.parametrize(("name", "story"), [pytest.param(*one, id=one[0]) for one in named()])
def test_what_is_told_contradicts_nothing(name: str, story: Story) -> None:
    assert name
    for frame in film(story):
        contradicts_nothing(frame.body, frame.now)


def test_no_golden_file_is_left_over() -> None:
    assert {path.stem for path in GOLDEN.glob("*.txt")} == {name for name, _ in named()}
