"""Copies of requests: as many as asked for, each counted, and no client's answer is changed by what becomes of them."""

import math
import time
from collections.abc import Callable

import pytest

from tests.e2e.conftest import Apply
from tests.e2e.fraud import ERRORS, NAME
from tests.e2e.shop import Shop
from tests.e2e.traffic import Traffic

PERCENT = 20
SECONDS = 60.0
SHADOW = {"shadow": {"mirror": PERCENT, "bake": "5s", "then": "Hold"}}
ReadMetrics = Callable[[str], dict[str, float]]


def attempts(shop: Shop, read: ReadMetrics) -> dict[str, float]:
    """Requests that each snapshot has got so far, copies among them."""
    chosen = f'envoy_serin_attempts{{serin_namespace="{shop.namespace}",serin_attempt="first"}}'
    return read(f"sum by (serin_snapshot) ({chosen})".replace(" ", "%20"))


@pytest.mark.timeout(900)
def test_a_fifth_is_copied_and_every_client_has_stables_answer(
    shop: Shop, version: Apply, traffic: Traffic, read_metrics: ReadMetrics
) -> None:
    stable = shop.status(NAME)["stable"]["snapshot"]
    version("2", strategy=SHADOW, analysis={"minimumDetectableEffect": "5"}, metrics=[ERRORS])
    status = shop.wait(NAME, "copied to", lambda one: one.get("traffic", {}).get("mirror"))
    candidate = status["candidate"]["snapshot"]
    assert status["traffic"]["mirror"] == {"snapshot": candidate, "percent": PERCENT}
    assert status["traffic"]["weights"] == {stable: 100}
    shop.until("counted", lambda: attempts(shop, read_metrics).get(candidate))
    time.sleep(5.0)  # the route is everywhere
    before = attempts(shop, read_metrics)
    time.sleep(SECONDS)
    after = attempts(shop, read_metrics)
    copies, requests = (after[one] - before[one] for one in (candidate, stable))
    share = PERCENT / 100
    print(f"{copies:.0f} copies of {requests:.0f} requests: {copies / requests:.1%}")
    assert requests > SECONDS * traffic.rate / 2
    assert abs(copies - share * requests) < 4 * math.sqrt(requests * share * (1 - share))
    shop.wait(NAME, "held", lambda one: one.get("reason") == "WaitingForApproval")
    summary = traffic.summary()
    assert set(summary.snapshots) == {stable}, "nobody but stable answers"
    shop.annotate(NAME, f"serin.dev/approve={time.time():.0f}")
    shop.wait_serving(NAME, "2")
    assert traffic.stop().failures == 0


@pytest.mark.timeout(900)
def test_no_client_meets_a_version_that_fails_and_dawdles(shop: Shop, version: Apply, traffic: Traffic) -> None:
    stable = shop.status(NAME)["stable"]["snapshot"]
    begun = time.time()
    usual = traffic.wait_for("enough to compare with", lambda seen: seen.requests > 200)
    faults = {"error-ratio": "0.5", "slow-ratio": "0.5", "slow-seconds": "20"}
    version("3", config=faults, strategy=SHADOW, metrics=[ERRORS])
    rollback = shop.wait_rolled_back(NAME)
    assert rollback["to"] == stable
    summary = traffic.summary(since=begun)
    assert (summary.failures, set(summary.snapshots)) == (0, {stable}), summary
    assert not any(one.shielded for one in traffic.answers)
    print(f"p99 before {usual.quantile(0.99) * 1000:.0f} ms, with copies {summary.quantile(0.99) * 1000:.0f} ms")
