"""What people read: `status` and `explain` in one frame of each state, every other sentence once, `list`, `history`.

The states are those that the stories lead to, so phases and reasons are the planner's own. To accept new texts:
SERIN_WRITE_GOLDEN=1 pytest tests/unit/cli, then read the diff as a user would.
"""

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console, RenderableType

from serin.api.snapshots import read_snapshot
from serin.api.state import Phase
from serin.cli import show
from serin.explain.sentences import explain
from tests.narratives import stories
from tests.narratives.film import Frame, film
from tests.narratives.stories import Story, named
from tests.narratives.world import START
from tests.unit.explain.frames import all_frames, first_of_each_state, is_held, without_numbers
from tests.unit.golden import compare

pytestmark = pytest.mark.stories

GOLDEN = Path(__file__).parent / "golden"
AREAS = {
    Phase.INITIALIZING: "serving",
    Phase.HEALTHY: "serving",
    Phase.STARTING: "rollout",
    Phase.PROGRESSING: "rollout",
    Phase.PAUSED: "paused",
    Phase.PROMOTING: "rollout",
    Phase.ROLLING_BACK: "rolling_back",
}


def area(frame: Frame) -> str:
    """By phase; a rollout that something holds is told apart from one that goes on."""
    return "held" if is_held(frame.facts) else AREAS[frame.facts.state.phase]


def printed(*parts: RenderableType) -> str:
    """As in a pipe: nothing is wrapped."""
    out = io.StringIO()
    console = Console(file=out, width=10_000, highlight=False, emoji=False, markup=False)
    for part in parts:
        console.print(part)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())


def told(name: str, frame: Frame) -> str:
    title = f"━━━ {frame.state}, {frame.now - START:.0f}s into {name}"
    sentences = printed(show.paragraphs(explain(frame.facts)))
    return "\n".join([title, printed(show.status(frame.facts)), "", *sentences.splitlines()[1:]])


@pytest.mark.parametrize("name", sorted({*AREAS.values(), "held"}))
def test_status_and_explain_in_each_state(name: str) -> None:
    texts = [told(story, frame) for story, frame in first_of_each_state().values() if area(frame) == name]
    compare(GOLDEN / f"{name}.txt", "\n\n".join(texts) + "\n")


def test_every_other_sentence() -> None:
    """What `explain` says in some story and in none of the frames above, each with the first frame that says it.

    Headlines and reasons are left out: tests/unit/explain/test_stories.py has all of them.
    """
    known = {without_numbers(one) for _, frame in first_of_each_state().values() for one in explain(frame.facts)}
    found = []
    for name, frame in all_frames():
        for sentence in explain(frame.facts)[1:]:
            if (kind := without_numbers(sentence)) in known or sentence.startswith("Why: "):
                continue
            known.add(kind)
            found.append(f"━━━ {frame.state}, {frame.now - START:.0f}s into {name}\n{sentence}")
    compare(GOLDEN / "other_sentences.txt", "\n".join(found) + "\n")


def test_list_at_the_end_of_every_story() -> None:
    ends = [replace(film(story)[-1].facts, namespace=name) for name, story in named()]
    compare(GOLDEN / "list.txt", printed(show.listing(ends, namespaces=True)) + "\n")


@pytest.mark.parametrize("story", [stories.bad_candidate_again_and_retry, stories.goes_back_and_retries])
def test_history(story: Story) -> None:
    last = film(story)[-1]
    past = [read_snapshot(one) for one in last.snapshots]
    compare(GOLDEN / f"history_{story.__name__}.txt", printed(show.history(last.facts, past)) + "\n")
