"""What Argo CD shows of each story: its health check runs on the status that the real planner wrote, look by look."""

import os
from itertools import groupby
from pathlib import Path

import pytest

from serin.api import names
from tests.argocd import Health, health
from tests.narratives import stories
from tests.narratives.film import Film, Filmed, played
from tests.narratives.stories import Story, named
from tests.narratives.world import World, fails, passes, spec

pytestmark = pytest.mark.stories

GOLDEN = Path(__file__).parent / "argocd.txt"


def states(world: Filmed | Film) -> list[str]:
    """What Argo CD shows, one after the other."""
    seen = (health(body).status for body in world.shown)
    return [state for state, _ in groupby(seen)]


def test_every_story_as_argo_cd_shows_it() -> None:
    lines = []
    for name, story in named():
        film = played(story)
        lines += [f"{name}: {' '.join(states(film))}", f"    {_told(film, health(film.body).message)}"]
    told = "\n".join(lines) + "\n"
    if os.environ.get("SERIN_WRITE_GOLDEN"):
        GOLDEN.write_text(told)
    assert told == GOLDEN.read_text(), f"Argo CD shows something else than {GOLDEN.name} says"


def _told(film: Film, line: str) -> str:
    for snapshot, nickname in film.nicknames.items():
        line = line.replace(snapshot, nickname)
    return line


UP = ["Progressing", "Healthy"]


@pytest.mark.parametrize(
    ("story", "wanted", "words"),
    [
        (stories.good_candidate, [*UP, *UP], "Serving"),
        (stories.bad_candidate, [*UP, "Progressing", "Degraded"], "RejectedContent"),
        (stories.candidate_template_refused, [*UP, "Progressing", "Degraded"], "PodTemplateRefused"),
        (stories.first_version_never_ready, ["Progressing", "Degraded"], "ProgressDeadlineExceeded"),
        (stories.paused_by_user, [*UP, "Progressing", "Suspended", "Progressing", "Healthy"], "Serving"),
        (stories.stable_unhealthy, [*UP, "Progressing", "Degraded", "Progressing", "Healthy"], "Serving"),
        (stories.no_traffic, [*UP, "Progressing"], "NoTraffic"),
    ],
)
def test_the_states_that_matter_most(story: Story, wanted: list[str], words: str) -> None:
    film = played(story)
    assert states(film) == wanted
    assert words in health(film.body).message


def test_a_spec_that_serin_has_not_seen_is_never_shown_as_healthy() -> None:
    world = Filmed()
    world.run(20)
    assert health(world.body).status == "Healthy"
    world.judge = fails
    world.change(spec("2"))
    assert health(world.body) == Health("Progressing", "Serin has not looked at this generation yet")


def test_a_resource_without_a_status_is_progressing() -> None:
    assert health(World().body).status == "Progressing"


def test_a_rollback_stays_degraded_until_somebody_acts_and_putting_git_back_is_enough() -> None:
    world = Filmed()
    stories.bad_candidate(world)
    world.run(3600)
    assert states(world)[-1] == "Degraded"
    assert "WorseThanStable" in health(world.body).message
    world.judge = passes
    world.change(spec("1"))
    world.run(20)
    assert states(world)[-2:] == ["Progressing", "Healthy"]


def test_waiting_for_approval_is_suspended_and_says_how_to_approve() -> None:
    world = Filmed()
    world.run(20)
    world.change(spec("2", strategy={"canary": {"steps": [{"weight": 5, "bake": "10s"}, {"pause": {}}]}}))
    world.run(60)
    shown = health(world.body)
    assert shown.status == "Suspended"
    assert names.ANNOTATION_APPROVE in shown.message
