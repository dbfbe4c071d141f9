"""What Argo CD shows of each story: its health check runs on the status that the real planner wrote, look by look."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from serin.api import names
from serin.rollout.model import Plan
from tests.argocd import Health, health
from tests.narratives import stories
from tests.narratives.stories import Story, named
from tests.narratives.world import World, fails, passes, spec

GOLDEN = Path(__file__).parent / "argocd.txt"


@dataclass
class Watched(World):
    """A world that Argo CD looks at after every change: by the user, and by Serin."""

    seen: list[Health] = field(default_factory=list)

    def change(self, new: Mapping[str, Any]) -> str:
        wanted = super().change(new)
        self._show()
        return wanted

    def look(self, *, crash_after: int | None = None) -> Plan:
        made = super().look(crash_after=crash_after)
        self._show()
        return made

    def _show(self) -> None:
        now = health(self.body)
        if not self.seen or self.seen[-1].status != now.status:
            self.seen.append(now)

    @property
    def states(self) -> list[str]:
        return [one.status for one in self.seen]


def watched(story: Story) -> Watched:
    world = Watched()
    story(world)
    return world


def test_every_story_as_argo_cd_shows_it() -> None:
    lines = []
    for name, story in named():
        world = watched(story)
        lines += [f"{name}: {' '.join(world.states)}", f"    {_told(world, health(world.body).message)}"]
    told = "\n".join(lines) + "\n"
    if os.environ.get("SERIN_WRITE_GOLDEN"):
        GOLDEN.write_text(told)
    assert told == GOLDEN.read_text(), f"Argo CD shows something else than {GOLDEN.name} says"


def _told(world: World, line: str) -> str:
    for snapshot in {*world.snapshots, *world.pods}:
        line = line.replace(snapshot, world.nickname(snapshot))
    return line


UP = ["Progressing", "Healthy"]


@pytest.mark.parametrize(
    ("story", "states", "words"),
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
def test_the_states_that_matter_most(story: Story, states: list[str], words: str) -> None:
    world = watched(story)
    assert world.states == states
    assert words in health(world.body).message


def test_a_spec_that_serin_has_not_seen_is_never_shown_as_healthy() -> None:
    world = Watched()
    world.run(20)
    assert health(world.body).status == "Healthy"
    world.judge = fails
    world.change(spec("2"))
    assert health(world.body) == Health("Progressing", "Serin has not looked at this generation yet")


def test_a_resource_without_a_status_is_progressing() -> None:
    assert health(World().body).status == "Progressing"


def test_a_rollback_stays_degraded_until_somebody_acts_and_putting_git_back_is_enough() -> None:
    world = watched(stories.bad_candidate)
    world.run(3600)
    assert world.states[-1] == "Degraded"
    assert "WorseThanStable" in health(world.body).message
    world.judge = passes
    world.change(spec("1"))
    world.run(20)
    assert world.states[-2:] == ["Progressing", "Healthy"]


def test_waiting_for_approval_is_suspended_and_says_how_to_approve() -> None:
    world = Watched()
    world.run(20)
    world.change(spec("2", strategy={"canary": {"steps": [{"weight": 5, "bake": "10s"}, {"pause": {}}]}}))
    world.run(60)
    shown = health(world.body)
    assert shown.status == "Suspended"
    assert names.ANNOTATION_APPROVE in shown.message
