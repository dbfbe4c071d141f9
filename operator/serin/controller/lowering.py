"""Lowered traffic whose write does not succeed: served from memory, and carried out before anything else is planned.

Weights live in the status, so while the API server is away, slow or refuses, a decision to lower traffic would change
nothing. What was decided then goes to the router at once. It is kept until its write has succeeded, or is found to be
out of date: the deployment is in another version by now, or another replica holds the Lease. Only what a plan lowers is
ever served so, and only by the replica that leads at that moment. Losing the term because nobody can be asked does not
end it: that would raise traffic again, which nobody has decided.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import structlog

from serin.api.names import Key
from serin.api.status import read_state
from serin.rollout.model import Observation, Order, Plan, WriteStatus
from serin.routers.base import Lowered, Router

log: Final = structlog.get_logger("serin.lowering")


@dataclass(frozen=True, slots=True)
class _Decided:
    seen: Observation
    plan: Plan


class Lowering:
    """Plans that lower traffic and are not written yet, by deployment. `routers`: who serves them meanwhile."""

    def __init__(self, routers: Iterable[Router] = ()) -> None:
        self._routers = tuple(routers)
        self._decided: dict[Key, _Decided] = {}

    def __len__(self) -> int:
        """How many deployments are served from memory."""
        return len(self._decided)

    def begin(self, seen: Observation, plan: Plan) -> None:
        """The write of `plan` has failed, or takes long: its weights are served from now on."""
        one, lowered = seen.deployment, _lowered(seen, plan)
        if lowered is None or one.key in self._decided:
            return
        self._decided[one.key] = _Decided(seen, plan)
        weights = dict(read_state(lowered.status).split.weights)
        log.warning("weights.lowered-in-memory", namespace=one.namespace, deployment=one.name, weights=weights)
        self._serve(one.key, lowered)

    def end(self, key: Key) -> None:
        """It is written, or out of date."""
        if self._decided.pop(key, None) is not None:
            self._serve(key, None)

    def clear(self) -> None:
        """Another replica decides now."""
        for key in list(self._decided):
            self.end(key)

    def of(self, seen: Observation) -> tuple[Observation, Plan] | None:
        """What was decided about just this deployment, and from which observation; None when it is out of date.

        It is so as well when nobody is left to serve what it gives them, and the candidate could.
        """
        decided, one = self._decided.get(seen.deployment.key), seen.deployment
        if decided is None:
            return None
        before = decided.seen.deployment
        if (before.uid, before.resource_version) != (one.uid, one.resource_version) or _serves_nobody(seen, decided):
            self.end(one.key)
            return None
        return decided.seen, decided.plan

    def _serve(self, key: Key, lowered: Lowered | None) -> None:
        for router in self._routers:
            router.lower(key, lowered)


def _lowered(seen: Observation, plan: Plan) -> Lowered | None:
    """What the plan's status says, when its write lowers traffic."""
    for action in plan.actions:
        if isinstance(action, WriteStatus) and action.order is Order.LOWER:
            return Lowered(seen.deployment.uid, seen.deployment.resource_version, action.status)
    return None


def _serves_nobody(seen: Observation, decided: _Decided) -> bool:
    """Whether the snapshots that keep traffic have no ready pod, while one that loses it has some."""
    lowered = _lowered(decided.seen, decided.plan)
    serving = read_state(lowered.status).split.serving() if lowered else ()
    lost = set(seen.state.split.serving()) - set(serving)
    return not any(map(seen.ready, serving)) and any(map(seen.ready, lost))
