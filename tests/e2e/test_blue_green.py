"""Blue/green under load: green answers nobody before the switch, and no client notices what moves."""

import asyncio
import time

import pytest

from tests.e2e.conftest import Apply
from tests.e2e.fraud import ERRORS, NAME
from tests.e2e.models.image import PORT
from tests.e2e.models.train import Cases
from tests.e2e.shop import Shop
from tests.e2e.traffic import Traffic, answered_by

GREEN = {"approve": "Manual", "holdback": 10, "bake": "15s", "keep": "10m"}


@pytest.mark.timeout(900)
async def test_a_switch_a_switch_back_and_a_promotion_lose_nothing(
    shop: Shop, version: Apply, traffic: Traffic, cases: Cases
) -> None:
    blue = shop.status(NAME)["stable"]["snapshot"]
    analysis = {"minimumDetectableEffect": "5"}
    version("2", strategy={"blueGreen": GREEN}, metrics=[ERRORS], analysis=analysis)
    status = shop.wait(NAME, "to be tried", lambda one: one.get("reason") == "WaitingForApproval")
    green = status["candidate"]["snapshot"]
    seen = [await answered_by(traffic.url, cases, **{"x-serin-preview": "true"}) for _ in range(20)]
    assert set(seen[10:]) == {green}
    past_the_router = f"http://{shop.address(f'{NAME}-preview')}:{PORT}"
    assert await answered_by(past_the_router, cases) == ""
    await asyncio.sleep(5)
    approved = time.time()
    assert set(traffic.summary(until=approved).snapshots) == {blue}, "green answers nobody before the switch"
    shop.annotate(NAME, f"serin.dev/approve={approved}")
    shop.wait(NAME, "switched", lambda one: one["traffic"]["weights"].get(green) == 90)
    traffic.wait_for("switched", lambda one: one.share(green) > 0.7 and one.requests > 100)

    shop.annotate(NAME, f"serin.dev/abort={time.time()}")
    shop.wait(NAME, "back", lambda one: not one.get("candidate"))
    traffic.wait_for("back", lambda one: set(one.snapshots) == {blue} and one.requests > 100)

    shop.annotate(NAME, f"serin.dev/retry={time.time()}")
    shop.wait(NAME, "to be tried again", lambda one: one.get("reason") == "WaitingForApproval")
    shop.annotate(NAME, f"serin.dev/approve={time.time()}")
    status = shop.wait(NAME, "promoted", lambda one: one["stable"]["snapshot"] == green)
    assert blue in status["kept"]
    traffic.wait_for("all green", lambda one: set(one.snapshots) == {green} and one.requests > 100)

    asked = time.time()
    shop.annotate(NAME, f"serin.dev/rollback-to=previous@{asked}")
    shop.wait(NAME, "blue again", lambda one: one["stable"]["snapshot"] == blue)
    print(f"the way back took {time.time() - asked:.1f} s")
    assert traffic.stop().failures == 0
