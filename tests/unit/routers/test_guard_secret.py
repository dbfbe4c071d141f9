"""The Secret that operator and guard share, on a simulated API server: who fills it, and what is said without it."""

import asyncio
import base64
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from serin.api.json import JsonObject
from serin.cluster import kinds
from serin.routers.envoy.guard_secret import GuardSecret
from tests.simulation import clock
from tests.simulation.api import faults
from tests.simulation.api.faults import Fault
from tests.simulation.api.resources import NAMESPACE
from tests.simulation.api.rest import Rest
from tests.simulation.cluster import SimulatedCluster

SYSTEM = "serin-system"


class Replica:
    """One replica's view of the Secret. `told`: how often it has changed."""

    def __init__(self, control_plane: Rest, plan: faults.Plan = faults.nothing) -> None:
        self.client = SimulatedCluster(control_plane, plan=plan)
        self.told = 0
        self.secret = GuardSecret(SYSTEM, lambda: self.client, self._changed)

    def _changed(self) -> None:
        self.told += 1


Main = Callable[[Rest], Coroutine[Any, Any, None]]


def simulated(main: Main, data: JsonObject | None, *, there: bool = True) -> None:
    async def run() -> None:
        control_plane = Rest(seed=1)
        control_plane.server.create(NAMESPACE, "", {"metadata": {"name": SYSTEM}}, manager="helm")
        if there:
            body = {"metadata": {"name": "serin-guard"}, "type": "Opaque", **({"data": data} if data else {})}
            control_plane.server.create(kinds.SECRET, SYSTEM, body, manager="helm")
        await main(control_plane)

    clock.run(run)


def stored(control_plane: Rest) -> JsonObject:
    return control_plane.server.get(kinds.SECRET, SYSTEM, "serin-guard")


def test_replicas_that_begin_at_once_have_one_key() -> None:
    async def main(control_plane: Rest) -> None:
        replicas = [Replica(control_plane) for _ in range(3)]
        await asyncio.gather(*(one.secret.look() for one in replicas))
        [key] = {one.secret.key for one in replicas}
        assert base64.b64decode(stored(control_plane)["data"]["key"]) == key
        assert len(key) == 32
        assert [(one.told, one.secret.problem) for one in replicas] == [(1, "")] * 3

    simulated(main, None)


def test_a_key_that_is_there_is_read_and_one_that_is_taken_away_made_anew() -> None:
    async def main(control_plane: Rest) -> None:
        replica = Replica(control_plane)
        await replica.secret.look()
        assert replica.secret.key == b"a" * 32
        assert stored(control_plane)["metadata"].get("labels") is None
        await replica.client.delete(kinds.SECRET, SYSTEM, "serin-guard", uid=stored(control_plane)["metadata"]["uid"])
        control_plane.server.create(kinds.SECRET, SYSTEM, {"metadata": {"name": "serin-guard"}}, manager="helm")
        await replica.secret.look()
        assert replica.secret.key not in (b"", b"a" * 32)
        assert replica.told == 2

    simulated(main, {"key": base64.b64encode(b"a" * 32).decode()})


@pytest.mark.parametrize(
    ("there", "data", "fault", "said"),
    [
        (False, None, None, "the Secret serin-system/serin-guard is missing, which the chart makes"),
        (True, None, Fault.FORBIDDEN, "the Secret serin-system/serin-guard cannot be read or written: "),
        (True, None, Fault.INTERNAL, "the Secret serin-system/serin-guard cannot be read or written: "),
        (True, {"key": base64.b64encode(b"short").decode()}, None, "has under key what is no key (it has 5 bytes"),
    ],
)
def test_without_a_key_it_is_said_why_once(
    there: bool, data: JsonObject | None, fault: Fault | None, said: str
) -> None:
    async def main(control_plane: Rest) -> None:
        replica = Replica(control_plane, faults.matching(fault, 100) if fault else faults.nothing)
        for _ in range(3):
            await replica.secret.look()
        assert replica.secret.key == b""
        assert said in replica.secret.problem
        assert replica.told == 1

    simulated(main, data, there=there)


def test_a_key_that_was_read_stays_while_the_api_server_is_away() -> None:
    async def main(control_plane: Rest) -> None:
        replica = Replica(control_plane)
        await replica.secret.look()
        control_plane.stop()
        await replica.secret.look()
        assert (replica.secret.key, replica.secret.problem) == (b"a" * 32, "")
        assert replica.told == 1

    simulated(main, {"key": base64.b64encode(b"a" * 32).decode()})


def test_nobody_waits_long_for_the_first_look() -> None:
    async def main(control_plane: Rest) -> None:
        replica = Replica(control_plane, faults.matching(Fault.NEVER_SENT, 100))
        running = asyncio.create_task(replica.secret.run())
        begun = asyncio.get_running_loop().time()
        await replica.secret.looked(1.0)
        assert asyncio.get_running_loop().time() - begun == pytest.approx(1.0)
        assert replica.secret.key == b""
        running.cancel()
        other = Replica(control_plane)
        running = asyncio.create_task(other.secret.run())
        await other.secret.looked(1.0)
        assert other.secret.key
        running.cancel()

    simulated(main, None)
