"""A plan in the making: actions and events as the planner finds them, put into the safe order at the end."""

import math
from dataclasses import dataclass, field, replace
from typing import Any

from serin.api.conditions import Reason
from serin.api.json import JsonObject
from serin.api.state import State
from serin.evaluation.evaluate import Assessment
from serin.rollout.model import Action, Note, Observation, Plan
from serin.rollout.strategies.base import Strategy


@dataclass(slots=True)
class PlanBuilder:
    """Collects what one look decides.

    `state` is replaced as decisions fall; `why` is the sentence that sums them up; `pods` maps a snapshot that runs to
    the pods that it should have; `proof` maps one to the ready pods that live reads must show before traffic rises.
    `unwritten`: as in Plan.
    """

    seen: Observation
    assessment: Assessment
    strategy: Strategy
    state: State
    why: Note = field(default_factory=lambda: Note(Reason.SERVING, ""))
    actions: list[Action] = field(default_factory=list)
    events: list[Note] = field(default_factory=list)
    pods: dict[str, int] = field(default_factory=dict)
    proof: dict[str, int] = field(default_factory=dict)
    requeues: list[float] = field(default_factory=list)
    unwritten: JsonObject | None = None

    def update(self, **fields: Any) -> None:
        """Decide these fields of `state`; it stays the same object when they are so already. Any: as in `replace`."""
        if any(getattr(self.state, name) != value for name, value in fields.items()):
            self.state = replace(self.state, **fields)

    def act(self, action: Action) -> None:
        """Add an action; its place among the others is its own `order`."""
        self.actions.append(action)

    def add_event(self, reason: Reason, message: str, *, warning: bool = False) -> None:
        """Add what is worth an Event."""
        self.events.append(Note(reason, message, warning=warning))

    def sum_up(self, why: Note, *, event: bool = False) -> None:
        """Set the sentence that sums the look up. `event`: it is worth an Event too."""
        self.why = why
        if event:
            self.events.append(why)

    def requeue_after(self, seconds: float | None) -> None:
        """Ask to be called again after this many seconds (None, infinite: not at all); the earliest wins.

        What is not in the future has had its look, which is this one: looks at it would follow each other without end.
        """
        if seconds is not None and 0.0 < seconds < math.inf:
            self.requeues.append(seconds)

    def plan(self) -> Plan:
        """The finished plan. Actions of the same order keep the order in which they were found."""
        actions = tuple(sorted(self.actions, key=lambda action: action.order))
        return Plan(actions, tuple(self.events), min(self.requeues, default=None), self.unwritten)
