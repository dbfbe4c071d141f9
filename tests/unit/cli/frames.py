"""Every state that the stories bring a deployment into, as a person would meet it: real plans, real statuses."""

from dataclasses import dataclass, field
from functools import cache
from typing import Any

from serin.api import names
from serin.api.json import JsonObject
from serin.api.times import rfc3339, rfc3339_whole
from serin.cli.facts import Facts, gather
from tests.narratives.stories import Story
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


@dataclass
class Filmed(World):
    """A world that keeps a frame whenever it comes to rest in another state than before."""

    frames: list[Frame] = field(default_factory=list)
    recorded: dict[str, JsonObject] = field(default_factory=dict)
    _last: tuple[Any, ...] = ()

    def _apply(self, action: Any) -> None:
        super()._apply(action)
        if type(action).__name__ == "RecordSnapshot" and action.name in self.snapshots:
            self.recorded[action.name] = action.status

    def settle(self, limit: int = 20) -> None:
        super().settle(limit)
        state = tuple(self.status.get(key) for key in ("phase", "reason"))
        step = self.status.get("step") or {}
        shown = (*state, step.get("index"), self.candidate, "lastRollback" in self.status)
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
