"""What probes see of a process whose parts stand still, and of one that only waits for others."""

import asyncio

from serin.controller import replica, watch
from serin.controller.clocks import Clocks
from serin.controller.operator import Operator
from serin.controller.replica import Replica
from serin.controller.settings import parse
from serin.controller.telemetry import Telemetry
from serin.controller.watch import Watches

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
