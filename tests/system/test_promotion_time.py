"""A promotion waits for every Envoy, whichever replica of the operator it asks, and for nothing besides."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from serin.api.status import read_state
from serin.cluster import kinds
from tests.simulation import clock
from tests.system.stage import Stage, play

AT_ONCE = 0.01  # seconds that an Envoy takes for a route


@dataclass
class Times:
    """When the candidate got everything, when it was stable, and the looks between the two."""

    moved: float = 0.0
    promoted: float = 0.0
    asked: list[float] = field(default_factory=list)  # when one replica asked another

    def see(self, commit: Any) -> None:
        after = commit.after or {}
        state = read_state(after.get("status") or {}) if after.get("kind") == kinds.MODEL_DEPLOYMENT.name else None
        if state is None or state.stable is None:
            return
        if state.candidate and state.split.of(state.candidate) == 100 and not self.moved:
            self.moved = clock.now()
        elif self.moved and not state.candidate and not self.promoted:
            self.promoted = clock.now()

    @property
    def waited(self) -> float:
        return self.promoted - self.moved


def promoted(replicas: int, lag: float) -> Times:
    """Promote one version. `replicas`: of the operator; `lag`: seconds that each Envoy takes for a route."""
    times = Times()

    async def story(stage: Stage) -> None:
        for envoy in stage.envoys:
            envoy.lag = lag
        stage.create("shop")
        await stage.serves("shop", "1")
        stage.server.store.listen(times.see)
        get = stage.network.get

        async def counted(source: str, address: str, path: str) -> Any:
            times.asked.append(clock.now())
            return await get(source, address, path)

        stage.network.get = counted  # type: ignore[method-assign]
        stage.upgrade("shop", "2")
        await stage.serves("shop", "2")

    play(lambda: Stage(replicas=replicas), story)
    return times


@pytest.mark.parametrize("replicas", [1, 2])
def test_it_is_promoted_as_soon_as_every_envoy_has_taken_the_route(replicas: int) -> None:
    times = promoted(replicas, AT_ONCE)
    assert 0.0 < times.waited < 0.8


def test_it_waits_for_the_slowest_envoy_and_not_much_longer() -> None:
    assert 1.5 <= promoted(2, 1.5).waited < 2.5


def test_replicas_ask_each_other_often_only_while_a_route_is_on_its_way() -> None:
    times = promoted(2, AT_ONCE)
    on_the_way = [at for at in times.asked if times.moved <= at <= times.promoted]
    before = [at for at in times.asked if times.moved - 10.0 <= at < times.moved]
    assert 1 <= len(on_the_way) <= 8
    assert len(before) <= 12, "each asks the other, every two seconds"
