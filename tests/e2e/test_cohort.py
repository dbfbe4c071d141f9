"""A cohort first: who carries the header and the cookie meets the new version, and nobody else does."""

import pytest

from tests.e2e.conftest import Apply
from tests.e2e.fraud import ERRORS, NAME
from tests.e2e.models.train import Cases
from tests.e2e.shop import Shop
from tests.e2e.traffic import Traffic, answered_by

COHORT = {"x-beta": "true", "cookie": "session=7; group=beta"}
STEPS = (
    {"match": {"headers": {"x-beta": "true"}, "cookies": {"group": "beta"}}, "bake": "10s", "minRequests": 30},
    {"weight": 50, "bake": "5s"},
)


@pytest.mark.timeout(900)
async def test_a_cohort_meets_the_version_before_anybody_else(
    shop: Shop, version: Apply, traffic: Traffic, cases: Cases
) -> None:
    stable = shop.status(NAME)["stable"]["snapshot"]
    version("2", steps=STEPS, analysis={"minimumDetectableEffect": "5"}, metrics=[ERRORS])
    status = shop.wait(NAME, "sent a cohort", lambda one: one.get("traffic", {}).get("rules"))
    candidate = status["candidate"]["snapshot"]
    assert status["step"]["note"].startswith("no promise"), status["step"]
    begun = len(traffic.answers)
    await answered_by(traffic.url, cases, **COHORT)  # the route may come a moment after the status
    seen = [await answered_by(traffic.url, cases, **COHORT) for _ in range(60)]
    assert await answered_by(traffic.url, cases, **{"x-beta": "true"}) == stable
    assert set(seen[10:]) == {candidate}
    before = traffic.answers[begun:]
    assert {one.snapshot for one in before} == {stable}, "nobody else meets it before the first weight"
    shop.wait_serving(NAME, "2")
    assert traffic.stop().failures == 0
