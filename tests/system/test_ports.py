"""Version 2 listens elsewhere and speaks another protocol: clients notice neither it nor the way back."""

import asyncio
from dataclasses import replace
from typing import Any

from serin.api.names import ANNOTATION_ROLLBACK_TO
from serin.cluster import kinds
from serin.cluster.protocol import Kind
from tests.system.stage import GOOD, Stage, play
from tests.system.stories import BAD, REST

PLACE = ("shop", "fraud")


def _template(port: int) -> dict[str, Any]:
    ports = [{"containerPort": port}]
    return {"spec": {"containers": [{"name": "model", "image": "registry.test/model:2", "ports": ports}]}}


def _read(stage: Stage, kind: Kind, name: str) -> Any:
    record = stage.server.store.get(kind, ("shop", name))
    assert record is not None
    return record.body


def _clients_port(stage: Stage) -> int:
    [port] = _read(stage, kinds.SERVICE, "fraud")["spec"]["ports"]
    return int(port["port"])


async def _first(stage: Stage, **second: Any) -> int:
    """Version 1 serves at 8080 over HTTP/1.1; then version 2, at 9000 over HTTP/2, is asked for.

    Answers how many requests had met nobody until version 1 served.
    """
    stage.qualities["shop", "2"] = replace(stage.qualities.get(("shop", "2"), GOOD), http2=True)
    stage.create("shop")
    await stage.serves("shop", "1")
    await asyncio.sleep(5.0)
    assert _clients_port(stage) == 8080
    stage.change("shop", model={"version": "2"}, template=_template(9000), protocol="HTTP2", **second)
    return stage.clients[PLACE].seen.nobody


async def promoted_and_taken_back(stage: Stage) -> None:
    lost = await _first(stage)
    first = stage.state("shop").stable
    ports = set[int]()
    while stage.state("shop").stable == first:
        ports.add(_clients_port(stage))
        await asyncio.sleep(1.0)
    await stage.serves("shop", "2")
    second = str(stage.state("shop").stable)
    [inside] = _read(stage, kinds.SERVICE, second)["spec"]["ports"]
    assert inside["port"] == 9000
    await asyncio.sleep(REST)
    ports.add(_clients_port(stage))
    stage.annotate("shop", ANNOTATION_ROLLBACK_TO, f"{first}@1")
    await stage.serves("shop", "1")
    await asyncio.sleep(REST)
    assert ports | {_clients_port(stage)} == {8080}
    seen = stage.clients[PLACE].seen
    assert seen.nobody == lost
    assert seen.failed - lost < seen.requests / 100, "no more than both versions fail by themselves"


async def shielded_and_rolled_back(stage: Stage) -> None:
    stage.qualities["shop", "2"] = BAD
    lost = await _first(stage)
    await stage.until(lambda: stage.state("shop").last_rollback)
    await stage.serves("shop", "1")
    await asyncio.sleep(REST)
    assert _clients_port(stage) == 8080
    seen = stage.clients[PLACE].seen
    assert seen.shielded, "stable answers over its own protocol"
    assert seen.nobody == lost
    assert seen.failed - lost < seen.requests / 100


async def port_of_the_users(stage: Stage) -> None:
    await _first(stage, service={"port": 80, "type": "NodePort"})
    await stage.until(lambda: _clients_port(stage) == 80)
    await stage.serves("shop", "2")
    assert _read(stage, kinds.SERVICE, "fraud")["spec"]["type"] == "NodePort"
    stage.change("shop", service=None)
    await asyncio.sleep(REST)
    assert _clients_port(stage) == 80, "the port that clients have stays"


def test_a_promotion_and_the_way_back_leave_the_clients_port_and_lose_nothing() -> None:
    play(Stage, promoted_and_taken_back)


def test_what_the_candidate_fails_stable_answers_over_its_own_protocol() -> None:
    play(Stage, shielded_and_rolled_back)


def test_the_port_that_users_write_is_the_clients() -> None:
    play(Stage, port_of_the_users)
