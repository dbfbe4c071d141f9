"""What probes see of a process whose parts stand still, and of one that only waits for others."""

import asyncio

import aiohttp
from aiohttp import web

from serin.controller import replica, watch
from serin.controller.clocks import Clocks
from serin.controller.health import serving_strangers
from serin.controller.operator import Operator
from serin.controller.replica import Replica
from serin.controller.settings import parse
from serin.controller.telemetry import Telemetry
from serin.controller.watch import Watches
from tests.cluster.ports import free_port

FLAGS = ["--prometheus-url", "http://127.0.0.1:9"]


class Hands:
    """A monotonic clock that a test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def made(hands: Hands) -> Replica:
    return Replica(parse(FLAGS), Telemetry(), clocks=Clocks(hands, hands, hands))


async def test_a_leader_whose_looks_never_end_is_unhealthy_and_a_standby_is_not() -> None:
    hands = Hands()
    one = made(hands)
    one._queue.add(("shop", "fraud"))
    hands.now += replica._STUCK_SECONDS + 1.0
    assert one.stuck() == "", "nobody decides here"
    one._deciding = True
    assert "no look at a model deployment has ended in 601 s" in one.stuck()

    async def fails(_key: tuple[str, str]) -> None:
        raise ConnectionError

    working = asyncio.create_task(one._queue.run(fails, 1))
    await asyncio.sleep(0.1)
    assert one.stuck() == "", "a look that fails has ended"
    working.cancel()


async def test_an_operator_says_which_of_its_parts_stands_still() -> None:
    operator = Operator(parse(FLAGS))
    assert operator._not_healthy() == ""
    operator._watches = Watches(None, operator._replica.cache, operator._telemetry, ())  # type: ignore[arg-type]
    assert operator._not_healthy() == ""
    path = "/api/v1/pods"
    operator._watches._lists._asked[path] = operator._watches._lists._clock() - watch._SILENT_SECONDS - 1.0
    assert operator._not_healthy() == f"nothing was asked for at {path} in 901 s"


async def test_whoever_holds_connections_takes_none_from_others_and_not_for_long() -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(text=await request.text())

    app = web.Application()
    app.router.add_post("/", answer)
    async with (
        serving_strangers(app, free_port(), most=4, seconds=1.0) as port,
        aiohttp.ClientSession() as session,
    ):
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(8)]
        async with session.post(f"http://127.0.0.1:{port}/", data=b"one") as response:
            assert await response.text() == "one"
        begun = asyncio.get_running_loop().time()
        assert [await asyncio.wait_for(reader.read(), 0.5) for reader, _ in held[:5]] == [b""] * 5, "the oldest go"
        assert asyncio.get_running_loop().time() - begun < 0.5
        assert [await asyncio.wait_for(reader.read(), 10.0) for reader, _ in held[5:]] == [b""] * 3, "and none stays"
        for _, writer in held:
            writer.close()
