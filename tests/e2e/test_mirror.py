"""Copies of requests: as many as asked for, each counted, and no client's answer is changed by what becomes of them."""

import math
import time

import pytest

from tests.e2e.conftest import Apply
from tests.e2e.fraud import ERRORS, NAME
from tests.e2e.install import Installation
from tests.e2e.shop import Shop
from tests.e2e.traffic import Traffic

PERCENT = 20
SECONDS = 60.0
SHADOW = {"shadow": {"mirror": PERCENT, "bake": "5s", "then": "Hold"}}


def attempts(serin: Installation, shop: Shop) -> dict[str, float]:
    """Requests that each snapshot has got so far, copies among them."""
    chosen = f'envoy_serin_attempts{{serin_namespace="{shop.namespace}",serin_attempt="first"}}'
    return serin.measured(f"sum by (serin_snapshot) ({chosen})", "serin_snapshot")


@pytest.mark.timeout(900)
def test_a_fifth_is_copied_and_every_client_has_stables_answer(
    serin: Installation, shop: Shop, version: Apply, traffic: Traffic
) -> None:
    stable = shop.status(NAME)["stable"]["snapshot"]
    version("2", strategy=SHADOW, analysis={"minimumDetectableEffect": "5"}, metrics=[ERRORS])
    status = shop.wait(NAME, "copied to", lambda one: one.get("traffic", {}).get("mirror"))
    candidate = status["candidate"]["snapshot"]
    assert status["traffic"]["mirror"] == {"snapshot": candidate, "percent": PERCENT}
    assert status["traffic"]["weights"] == {stable: 100}
    shop.until("counted", lambda: attempts(serin, shop).get(candidate))
    time.sleep(5.0)  # the route is everywhere
    before = attempts(serin, shop)
    time.sleep(SECONDS)
    after = attempts(serin, shop)
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


FAULTS = {
    "fails and dawdles": {"error-ratio": "0.5", "slow-ratio": "0.5", "slow-seconds": "20"},
    "hangs": {"slow-ratio": "1", "slow-seconds": "600"},
    "dies": {"crash-after": "30"},
}


@pytest.mark.timeout(900)
@pytest.mark.parametrize("what", FAULTS)
def test_no_client_meets_a_version_that(what: str, shop: Shop, version: Apply, traffic: Traffic) -> None:
    """Counted from the first copy on: while its pods start, a busy node may take the processor from stable's."""
    stable = shop.status(NAME)["stable"]["snapshot"]
    usual = traffic.wait_for("enough to compare with", lambda seen: seen.requests > 200)
    version("3", config=FAULTS[what], strategy=SHADOW, metrics=[ERRORS])
    shop.wait(NAME, "copied to", lambda one: one["traffic"].get("mirror"))
    begun = time.time()
    if what == "hangs":
        traffic.wait_for("long enough", lambda seen: seen.requests > 20 * traffic.rate, 90)
        assert shop.status(NAME)["traffic"].get("mirror"), "what does not answer does not pass"
        shop.annotate(NAME, f"serin.dev/abort={begun}")
    rollback = shop.wait_rolled_back(NAME)
    assert rollback["to"] == stable
    traffic.wait_for("without copies", lambda seen: seen.requests > 2 * traffic.rate)
    summary = traffic.summary(since=begun)
    assert (summary.failures, summary.shielded, set(summary.snapshots)) == (0, 0, {stable}), summary
    print(f"{rollback['reason']} after {time.time() - begun:.0f} s with copies")
    print(f"p99 before {usual.quantile(0.99) * 1000:.0f} ms, with copies {summary.quantile(0.99) * 1000:.0f} ms")
