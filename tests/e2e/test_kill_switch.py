"""The kill switch, by kubectl annotate alone, with Prometheus stopped: stable at once, then no version at all."""

import json
import time

import aiohttp
import pytest

from tests.cluster.node_cluster import NodeCluster
from tests.e2e.conftest import Apply
from tests.e2e.fraud import ERRORS, NAME
from tests.e2e.models.image import PORT
from tests.e2e.shop import Shop
from tests.e2e.traffic import Traffic

pytestmark = pytest.mark.alone

SWITCH = "serin.dev/kill-switch"
INSTEAD = {"outputs": [{"name": "label", "data": [0]}]}
# From the annotation to the router, on a busy machine.
SECONDS = 5.0


def _answering(traffic: Traffic) -> set[str] | None:
    """The versions that have answered in the last two seconds; None when too little was asked to tell."""
    newest = traffic.summary(since=time.time() - 2.0)
    return set(newest.snapshots) if newest.requests > 50 else None


@pytest.mark.timeout(900)
async def test_it_needs_neither_prometheus_nor_the_spec(
    shop: Shop, version: Apply, traffic: Traffic, own_node_cluster: NodeCluster
) -> None:
    stable = shop.status(NAME)["stable"]["snapshot"]
    answer = {"status": 200, "contentType": "application/json", "body": json.dumps(INSTEAD)}
    version("2", steps=({"weight": 50, "bake": "300s"},), metrics=[ERRORS], fallback={"answer": answer})
    shop.wait_under_traffic(NAME)
    candidate = shop.status(NAME)["candidate"]["snapshot"]
    traffic.wait_for("sent to the candidate", lambda seen: seen.snapshots[candidate] > 10)
    own_node_cluster.kill("prometheus")
    try:
        shop.annotate(NAME, f"{SWITCH}=Candidate")
        asked = time.time()
        shop.until("stable that answers everything", lambda: _answering(traffic) == {stable})
        late = [one.at for one in list(traffic.answers) if one.snapshot == candidate]
        print(f"the last request to the candidate was sent {max(late) - asked:.2f} s after kubectl had returned")
        assert max(late) - asked < SECONDS
        status = shop.wait(NAME, "held on stable", lambda one: one.get("reason") == "KillSwitch")
        assert not status.get("candidate")
        assert not status.get("lastRollback", {}).get("at", "") > shop.applied, "nothing is rejected"
        assert traffic.summary().failures == 0, traffic.summary()

        shop.annotate(NAME, f"{SWITCH}=All")
        asked = time.time()
        shop.until("fallback that answers everything", lambda: _answering(traffic) == set())
        last = max(one.at for one in list(traffic.answers) if one.snapshot)
        print(f"the last request to a version was sent {last - asked:.2f} s after kubectl had returned")
        assert last - asked < SECONDS
        assert traffic.summary().failures == 0, traffic.summary()
        url = f"http://{shop.address(NAME)}:{PORT}/anything"
        async with aiohttp.ClientSession() as session, session.post(url) as got:
            assert (got.status, got.content_type, await got.json()) == (200, "application/json", INSTEAD)
        shop.wait(NAME, "not ready", lambda one: one.get("killSwitch") == "All")

        shop.kubectl("annotate", "md", NAME, f"{SWITCH}-")
        shop.until("stable that answers again", lambda: stable in (_answering(traffic) or ()))
        shop.wait(NAME, "going on", lambda one: one.get("candidate"))
    finally:
        own_node_cluster.restart("prometheus")
    assert traffic.stop().failures == 0
