"""Every story without a fault: it ends as it should, no rule is broken, and no request goes wrong."""

import pytest

from tests.system.plays import ends, smooth
from tests.system.stories import ENDS, STORIES


@pytest.mark.parametrize("story", STORIES)
def test_a_story_ends_as_it_should(story: str) -> None:
    found = smooth(story)
    assert [*found.broken, *ends(story, found)] == []
    assert found.commits > 100, "the rules have seen what was written"


def test_every_story_says_how_it_ends() -> None:
    assert ENDS.keys() == STORIES.keys()
