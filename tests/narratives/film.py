"""Every story, played once: what was written, what was told, and each state that it brings a deployment into."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from serin.api import names
from serin.api.json import JsonObject
from serin.api.status import read_status
from serin.api.times import rfc3339, rfc3339_whole
from serin.explain.facts import Facts, gather
from serin.rollout.model import Plan, RecordSnapshot, WriteStatus
from tests.narratives.stories import Story
from tests.narratives.world import World
from tests.together import kept


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
    """A world that keeps a frame whenever it comes to rest in another state than before, and all that readers see."""

    frames: list[Frame] = field(default_factory=list)
    shown: list[JsonObject] = field(default_factory=list)  # the resource after every change by the user and by Serin
    recorded: dict[str, JsonObject] = field(default_factory=dict)
    written: list[tuple[str, JsonObject]] = field(default_factory=list)  # every status, with its kind
    _last: tuple[object, ...] = ()

    def _apply(self, action: Any) -> None:
        super()._apply(action)
        if isinstance(action, WriteStatus):
            self.written.append((names.MODEL_DEPLOYMENT, action.status))
        elif isinstance(action, RecordSnapshot):
            self.written.append((names.MODEL_SNAPSHOT, action.status))
            if action.name in self.snapshots:
                self.recorded[action.name] = action.status

    def change(self, new: Mapping[str, Any]) -> str:
        wanted = super().change(new)
        self._show()
        return wanted

    def look(self, *, crash_after: int | None = None) -> Plan:
        made = super().look(crash_after=crash_after)
        self._show()
        return made

    def _show(self) -> None:
        now = self.body
        if not self.shown or self.shown[-1] != now:
            self.shown.append(now)

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
                "uid": one.uid,
                "resourceVersion": one.resource_version,
                "creationTimestamp": rfc3339(one.created),
                "labels": {names.LABEL_MODEL_DEPLOYMENT: "fraud"},
            },
            "spec": {"modelDeployment": "fraud", "content": content, "hashes": hashes},
            "status": self.recorded.get(name, {}),
        }


@dataclass(frozen=True)
class Film:
    """What is left of a story that was played to its end. Not to be changed: all tests of a run share it.

    `told`: its golden text. `shown`, `written`: as Filmed has them. `nicknames`: of the snapshots, as in that text.
    """

    told: str
    frames: tuple[Frame, ...]
    shown: tuple[JsonObject, ...]
    written: tuple[tuple[str, JsonObject], ...]
    nicknames: Mapping[str, str]

    @property
    def body(self) -> JsonObject:
        """The resource at the end."""
        return self.shown[-1]


@cache
def played(story: Story) -> Film:
    """A story that was played to its end, once for all tests of a run."""
    return kept(f"{story.__module__}.{story.__qualname__}", lambda: _play(story))


def _play(story: Story) -> Film:
    world = Filmed()
    story(world)
    world.film()
    nicknames = {name: world.nickname(name) for name in (*world.snapshots, *world.pods)}
    told = "\n".join(world.story) + "\n"
    return Film(told, tuple(world.frames), (*world.shown, world.body), tuple(world.written), nicknames)


def film(story: Story) -> tuple[Frame, ...]:
    """The frames of a story, and the moment at which it ends."""
    return played(story).frames
