"""One replica's requests: the protocol's words and errors, and what each fault leaves behind."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from serin.api.json import JsonObject
from serin.cluster import kinds
from serin.cluster.protocol import Cluster, Conflict, Gone, Refused, Retryable
from tests.simulation import clock
from tests.simulation.api import faults
from tests.simulation.api.faults import Fault
from tests.simulation.api.resources import NAMESPACE
from tests.simulation.api.rest import Rest
from tests.simulation.cluster import ProcessDied, SimulatedCluster

Main = Callable[[Rest], Coroutine[Any, Any, None]]


def simulated(main: Main) -> None:
    async def run() -> None:
        control_plane = Rest(seed=1)
        control_plane.server.create(NAMESPACE, "", {"metadata": {"name": "shop"}}, manager="kubectl")
        await main(control_plane)

    clock.run(run)


def service(name: str = "iris", port: int = 80, **labels: str) -> JsonObject:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"namespace": "shop", "name": name, "labels": labels},
        "spec": {"ports": [{"name": "http", "port": port}]},
    }


def is_stored(control_plane: Rest, name: str = "iris") -> bool:
    return control_plane.server.store.get(kinds.SERVICE, ("shop", name)) is not None


def test_it_is_a_cluster() -> None:
    async def main(control_plane: Rest) -> None:
        cluster: Cluster = SimulatedCluster(control_plane)
        applied = await cluster.apply(service(app="x"))
        assert (await cluster.get(kinds.SERVICE, "shop", "iris"))["metadata"]["uid"] == applied["metadata"]["uid"]
        for namespace in ("shop", None):
            [listed] = await cluster.list(kinds.SERVICE, namespace, "app=x")
            assert (listed["apiVersion"], listed["kind"]) == ("v1", "Service")
        with pytest.raises(Refused, match="between 1 and 65535"):
            await cluster.apply(service(port=70000))
        with pytest.raises(Refused, match="field not declared in schema"):
            await cluster.apply({**service(), "spec": {"nonsense": True}})
        with pytest.raises(Conflict, match="the UID in the precondition"):
            await cluster.delete(kinds.SERVICE, "shop", "iris", uid="other")
        await cluster.delete(kinds.SERVICE, "shop", "iris", uid=applied["metadata"]["uid"])
        with pytest.raises(Gone, match='services "iris" not found'):
            await cluster.get(kinds.SERVICE, "shop", "iris")

    simulated(main)


def test_what_is_handed_out_is_nobody_else_s() -> None:
    async def main(control_plane: Rest) -> None:
        cluster, body = SimulatedCluster(control_plane), service(app="x")
        answer = await cluster.apply(body)
        answer["metadata"]["labels"]["app"] = body["metadata"]["labels"]["app"] = "changed"
        found = await cluster.get(kinds.SERVICE, "shop", "iris")
        found["spec"]["ports"].clear()
        assert (await cluster.get(kinds.SERVICE, "shop", "iris"))["metadata"]["labels"] == {"app": "x"}
        assert (await cluster.get(kinds.SERVICE, "shop", "iris"))["spec"]["ports"]

    simulated(main)


@pytest.mark.parametrize(
    ("fault", "error", "stored", "seconds"),
    [
        (Fault.DIE_BEFORE, ProcessDied, False, 0.0),
        (Fault.DIE_AFTER, ProcessDied, True, 0.002),
        (Fault.LOST, Retryable, True, 5.002),
        (Fault.NEVER_SENT, Retryable, False, 5.0),
        (Fault.LATE, Retryable, False, 5.0),
        (Fault.REFUSED, Retryable, False, 0.0),
        (Fault.CONFLICT, Conflict, False, 0.002),
        (Fault.INVALID, Refused, False, 0.002),
        (Fault.TOO_MANY, Retryable, False, 0.002),
        (Fault.INTERNAL, Retryable, False, 0.002),
        (Fault.UNAVAILABLE, Retryable, False, 0.002),
        (Fault.TIMEOUT, Retryable, True, 0.004),
        (Fault.FORBIDDEN, Refused, False, 0.002),
    ],
)
def test_a_fault(fault: Fault, error: type[BaseException], stored: bool, seconds: float) -> None:
    async def main(control_plane: Rest) -> None:
        cluster = SimulatedCluster(control_plane, plan=faults.at(1, fault))
        began = clock.now()
        with pytest.raises(error):
            await cluster.apply(service())
        assert is_stored(control_plane) == stored
        assert clock.now() - began == pytest.approx(seconds)
        if fault is Fault.LATE:
            await asyncio.sleep(4.0)
            assert is_stored(control_plane)

    simulated(main)


def test_every_fault_is_tried() -> None:
    [parameters] = [mark for mark in test_a_fault.pytestmark if mark.name == "parametrize"]  # type: ignore[attr-defined]
    assert {one[0] for one in parameters.args[1]} == set(Fault)


def test_the_dead_send_nothing() -> None:
    async def main(control_plane: Rest) -> None:
        cluster = SimulatedCluster(control_plane)
        under_way = asyncio.create_task(cluster.apply(service()))
        await asyncio.sleep(0.001)
        cluster.kill()
        for request in (under_way, cluster.list(kinds.POD), cluster.apply(service("other"))):
            with pytest.raises(ProcessDied):
                await request
        assert not is_stored(control_plane)
        assert not is_stored(control_plane, "other")
        other = SimulatedCluster(control_plane, "serin-1")
        assert await other.list(kinds.SERVICE) == []
        await other.apply(service())
        assert control_plane.server.store.history()[-1].who == "serin-1"

    simulated(main)


def test_a_request_that_is_given_up_may_arrive() -> None:
    async def main(control_plane: Rest) -> None:
        cluster = SimulatedCluster(control_plane)
        for number in range(40):
            request = asyncio.create_task(cluster.apply(service(f"s{number}")))
            await asyncio.sleep(0.001)
            request.cancel()
        await asyncio.sleep(1.0)
        assert 5 < sum(is_stored(control_plane, f"s{number}") for number in range(40)) < 35

    simulated(main)


def test_an_api_server_that_is_away() -> None:
    async def main(control_plane: Rest) -> None:
        cluster = SimulatedCluster(control_plane)
        control_plane.stop()
        with pytest.raises(Retryable, match="no answer from the API server to apply Service: Cannot connect"):
            await cluster.apply(service())
        assert not is_stored(control_plane)
        control_plane.start()
        await cluster.apply(service())

    simulated(main)


def test_plans_choose_their_request() -> None:
    async def main(control_plane: Rest) -> None:
        recorder = faults.Recorder(
            faults.first_of(
                faults.matching(Fault.CONFLICT, verb="apply", name="b"),
                faults.matching(Fault.INTERNAL, times=2, kind="Pod"),
                faults.at(3, Fault.TOO_MANY),
            )
        )
        cluster = SimulatedCluster(control_plane, plan=recorder)
        await cluster.apply(service("a"))
        with pytest.raises(Conflict):
            await cluster.apply(service("b"))
        with pytest.raises(Retryable, match="too many requests"):
            await cluster.apply(service("b"))
        await cluster.apply(service("b"))
        for _ in range(2):
            with pytest.raises(Retryable, match="Internal error occurred"):
                await cluster.list(kinds.POD)
        await cluster.list(kinds.POD)
        assert [str(one) for one in recorder.requests[:2]] == ["apply Service shop/a", "apply Service shop/b"]
        assert [(one.number, one.write) for one in recorder.requests[3:]] == [(4, 4), (5, 0), (6, 0), (7, 0)]

    simulated(main)


def test_chance_is_the_same_for_the_same_seed() -> None:
    request = faults.Request(1, 1, "serin-0", "get", kinds.POD, "shop", "a")
    one, same, other = (
        [plan(request) for _ in range(200)]
        for plan in (faults.sometimes(seed, 0.3, [Fault.LOST, Fault.CONFLICT]) for seed in (1, 1, 2))
    )
    assert one == same != other
    assert 30 < sum(fault is not None for fault in one) < 90


def test_a_status_write_is_quick() -> None:
    """Hundreds of writes belong to one story; this only fails when a write costs ten times what it does."""

    async def main(control_plane: Rest) -> None:
        cluster = SimulatedCluster(control_plane)
        for port in range(1, 301):
            await cluster.apply(service(port=port))
        assert control_plane.server.store.version > 300

    simulated(main)
