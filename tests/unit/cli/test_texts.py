"""What people read, state by state: `status`, `explain` and `history` of every story, compared with golden files.

To accept new texts: SERIN_WRITE_GOLDEN=1 pytest tests/unit/cli, then read the diff as a user would.
"""

import io
import os
from pathlib import Path

import pytest
from rich.console import Console, RenderableType

from serin.cli import sentences, show
from tests.narratives.stories import Story, named
from tests.narratives.world import START
from tests.unit.cli.frames import Frame, film

GOLDEN = Path(__file__).parent / "golden"


def printed(*parts: RenderableType, width: int = 150) -> str:
    out = io.StringIO()
    console = Console(file=out, width=width, highlight=False, emoji=False, markup=False)
    for part in parts:
        console.print(part)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())


def told(frame: Frame) -> str:
    facts = frame.facts
    title = f"━━━ {frame.now - START:.0f}s: {facts.state.phase.value}, {facts.reason}"
    parts = [title, printed(show.status(facts)), "", printed(show.paragraphs(sentences.explain(facts)))]
    return "\n".join(parts)


def all_told(story: Story) -> str:
    frames = film(story)
    past = printed(show.history(frames[-1].facts, frames[-1].snapshots))
    row = printed(show.listing([frames[-1].facts], namespaces=False))
    ends = f"━━━ at the end: list and history\n{row}\n\n{past}"
    return "\n\n".join([*(told(frame) for frame in frames), ends]) + "\n"


@pytest.mark.parametrize("story", [pytest.param(story, id=name) for name, story in named()])
def test_texts_of_every_story(story: Story) -> None:
    path = GOLDEN / f"{story.__name__}.txt"
    text = all_told(story)
    if os.environ.get("SERIN_WRITE_GOLDEN"):
        path.write_text(text)
    assert text == path.read_text()
