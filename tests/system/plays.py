"""Plays a story once without a fault and as often as wanted with some, and says what differs."""

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import structlog

from serin.api.names import MODEL_DEPLOYMENT
from serin.cluster import kinds
from tests.simulation.api import faults
from tests.simulation.api.faults import Fault, Request
from tests.system.frozen import unchangeable
from tests.system.invariants import Rules
from tests.system.stage import Stage, play
from tests.system.stories import ENDS, STAGES, STORIES
from tests.together import kept

PLACES = (("shop", "fraud"), ("bank", "fraud"))
ERRORS = ("look.failed", "tick.failed", "estimate.failed", "deployment.unreadable", "route.unreadable")


@dataclass(frozen=True)
class Outcome:
    """What a story has led to. `requests`: those of the operator; `broken`: rules and errors, in words."""

    end: tuple[object, ...]
    requests: tuple[Request, ...]
    broken: tuple[str, ...]
    commits: int
    seconds: float

    @property
    def writes(self) -> int:
        """How many of the requests may change something."""
        return sum(1 for one in self.requests if one.write)


class Nth:
    """The fault at the n-th write of all lives of all replicas together, once.

    A Deployment or a Job is not answered with 422: that means that its pod template can never run, so it rightly ends a
    rollout, and what waits for the Job.
    """

    def __init__(self, number: int, fault: Fault) -> None:
        self._left, self._fault = number, fault

    def __call__(self, request: Request) -> Fault | None:
        if request.write:
            self._left -= 1
            if self._left == 0:
                template = self._fault is Fault.INVALID and request.kind in (kinds.DEPLOYMENT, kinds.JOB)
                return None if template else self._fault
        return None


def struck(*places: tuple[int, Fault]) -> faults.Plan:
    """A fault at each of these writes, by their numbers; one that is struck is not counted for the faults after it."""
    return faults.first_of(*(Nth(number, fault) for number, fault in places))


def each_other(fault: Fault) -> faults.Plan:
    """The fault at every other write of a ModelDeployment's status: each of them succeeds when it is tried again."""
    struck: set[str] = set()

    def plan(request: Request) -> Fault | None:
        if (request.kind.name, request.subresource) != (MODEL_DEPLOYMENT, "status"):
            return None
        place = f"{request.namespace}/{request.name}"
        if place in struck:
            struck.discard(place)
            return None
        struck.add(place)
        return fault

    return plan


def perform(
    story: str, plan: faults.Plan = faults.nothing, prepare: Callable[[Stage], None] = lambda _: None, **stage: Any
) -> Outcome:
    """Play a story with these faults; never raises for what the operator does wrong."""
    recorder = faults.Recorder(plan)
    found: dict[str, Any] = {}

    async def watched(one: Stage) -> None:
        rules = found["rules"] = Rules(one, 3 if plan is faults.nothing else math.inf)
        one.watch, one.gives_up = rules.serves, lambda: bool(rules.broken)
        prepare(one)
        try:
            await STORIES[story](one)
        except AssertionError as error:
            rules.broken.append(str(error))
        found["end"] = tuple(rules.end(place) for place in PLACES)
        found["seconds"] = asyncio.get_running_loop().time()

    with structlog.testing.capture_logs() as logs, unchangeable():
        play(lambda: Stage(plan=recorder, **{**STAGES.get(story, {}), **stage}), watched)
    rules: Rules = found["rules"]
    errors = tuple(f"{line['event']}: {line.get('exc_info')}" for line in logs if line["event"] in ERRORS)
    return Outcome(found["end"], tuple(recorder.requests), (*rules.finish(), *errors), rules.checked, found["seconds"])


def ends(story: str, found: Outcome) -> list[str]:
    """How the end of a story differs from what it is without a fault, place by place."""
    wanted = ENDS.get(story, {})
    shown = {}
    for (namespace, _), (phase, serving, stable, candidate, why, pods, *_rest) in zip(PLACES, found.end, strict=True):
        shown[namespace] = (str(phase.value), serving, stable, candidate, why, pods)
    usual = {"bank": ("Healthy", {"2": 100}, "2", None, "", {"2": 2}), **wanted}
    return [f"{place} ends as {shown[place]}, not as {end}" for place, end in usual.items() if shown[place] != end]


@cache
def smooth(story: str) -> Outcome:
    """The story without a fault, played once in a run."""
    return kept(f"system.{story}", lambda: perform(story))
