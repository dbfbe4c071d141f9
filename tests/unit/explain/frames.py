"""Every state that the stories bring a deployment into, as a person would meet it: real plans, real statuses."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from serin.api import names
from serin.api.conditions import ROUTINE
from serin.api.json import JsonObject
from serin.api.state import Phase
from serin.api.status import read_status
from serin.api.times import rfc3339, rfc3339_whole
from serin.explain.facts import Facts, gather
from serin.rollout.model import RecordSnapshot
from tests.narratives.stories import Story, named
from tests.narratives.world import World


@dataclass(frozen=True)
class Frame:
    """One moment: the resource and its snapshots, as the API server would give them."""

    now: float
    body: JsonObject
    snapshots: tuple[JsonObject, ...]

    @property
    def facts(self) -> Facts:
        return gather(self.body, self.now)

    @property
    def state(self) -> str:
        """Phase and reason: two frames of the same state differ in details only."""
        return f"{self.facts.state.phase.value}-{self.facts.reason}"


@dataclass
class Filmed(World):
    """A world that keeps a frame whenever it comes to rest in another state than before."""

    frames: list[Frame] = field(default_factory=list)
    recorded: dict[str, JsonObject] = field(default_factory=dict)
    _last: tuple[object, ...] = ()

    def _apply(self, action: Any) -> None:
        super()._apply(action)
        if isinstance(action, RecordSnapshot) and action.name in self.snapshots:
            self.recorded[action.name] = action.status

    def settle(self, limit: int = 20) -> None:
        super().settle(limit)
        status = read_status(self.status)
        state = status.state
        index = state.rollout.stage.index if state.rollout else None
        shown = (state.phase, status.reason, index, state.candidate, state.last_rollback is None)
        if shown != self._last:
            self._last = shown
            self.film()

    def film(self) -> None:
        head = {"apiVersion": names.API_VERSION, "kind": names.MODEL_DEPLOYMENT}
        body = {**head, **self.body}
        body["metadata"]["creationTimestamp"] = rfc3339_whole(1_700_000_000.0)
        self.frames.append(Frame(self.now, body, tuple(self._snapshot(name) for name in self.snapshots)))

    def _snapshot(self, name: str) -> JsonObject:
        one = self.snapshots[name]
        content = {key: value for key, value in one.content.items() if value is not None}
        hashes = names.dimension_hashes(one.content)
        return {
            "apiVersion": names.API_VERSION,
            "kind": names.MODEL_SNAPSHOT,
            "metadata": {
                "name": name,
                "namespace": "shop",
                "creationTimestamp": rfc3339(one.created),
                "labels": {names.LABEL_MODEL_DEPLOYMENT: "fraud"},
            },
            "spec": {"modelDeployment": "fraud", "content": content, "hashes": hashes},
            "status": self.recorded.get(name, {}),
        }


@cache
def film(story: Story) -> tuple[Frame, ...]:
    """The frames of a story, and the moment at which it ends."""
    world = Filmed()
    story(world)
    world.film()
    return tuple(world.frames)


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
