"""Numbers for people to read, each from the operator's own metrics: printed, with bounds only where a promise is."""

import json
import re
import time

import pytest

from serin.api.names import SYSTEM_NAMESPACE
from serin.api.times import parse_rfc3339
from tests.e2e.conftest import Apply
from tests.e2e.fraud import NAME
from tests.e2e.install import Installation
from tests.e2e.shop import Shop
from tests.e2e.traffic import Traffic

pytestmark = pytest.mark.alone

IDLE_SECONDS = 30
QUIET_SECONDS = 10
# There at any load: each replica writes the Lease, and reads every five minutes what tokens are signed with.
AT_ANY_LOAD = ("Lease", "JSONWebKeySet")
WRITES = ("apply", "patch", "create", "delete", "patch_status", "create_event")
SAMPLE = re.compile(r"^(serin_\w+?)(\{.*\})? ([0-9.eE+-]+)$")


def _samples(serin: Installation) -> dict[str, float]:
    """Every sample of all replicas, summed by its name and labels."""
    total: dict[str, float] = {}
    for pod in serin.pods("serin-operator"):
        path = f"/api/v1/namespaces/{SYSTEM_NAMESPACE}/pods/{pod}:8080/proxy/metrics"
        for line in serin.cluster.kubectl("get", "--raw", path).splitlines():
            if found := SAMPLE.match(line):
                key = found[1] + (found[2] or "")
                total[key] = total.get(key, 0.0) + float(found[3])
    return total


def _requests(before: dict[str, float], after: dict[str, float]) -> dict[str, int]:
    """Requests to the API server by verb and kind, watches and AT_ANY_LOAD left out."""
    found: dict[str, int] = {}
    for key, value in after.items():
        name = re.match(r'serin_api_requests_total\{code="\d+",kind="(\w+)",verb="(\w+)"\}', key)
        grown = int(value - before.get(key, 0.0))
        if name and grown and name[1] not in AT_ANY_LOAD and name[2] != "watch":
            found[f"{name[2]} {name[1]}"] = found.get(f"{name[2]} {name[1]}", 0) + grown
    return found


def _is_quiet(serin: Installation) -> bool:
    """Whether nothing of earlier tests is left, and nothing was written for a while."""
    namespaces = json.loads(serin.cluster.kubectl("get", "namespaces", "-o", "json"))["items"]
    if any("deletionTimestamp" in one["metadata"] for one in namespaces):
        return False
    if len(serin.cluster.kubectl("get", "md", "-A", "-o", "name").split()) > 1:
        return False
    before = _samples(serin)
    time.sleep(QUIET_SECONDS)
    return not _requests(before, _samples(serin))


def test_an_idle_deployment_costs_no_request(serin: Installation, shop: Shop) -> None:
    # What earlier tests have deleted must be gone, and what this one has begun be settled.
    shop.until("quiet", lambda: _is_quiet(serin))
    before = _samples(serin)
    time.sleep(IDLE_SECONDS)
    found = _requests(before, _samples(serin))
    print(f"requests in {IDLE_SECONDS} idle seconds, without {AT_ANY_LOAD}: {found or 'none'}")
    assert not found


def test_requests_of_a_rollback_and_its_time(serin: Installation, shop: Shop, version: Apply, traffic: Traffic) -> None:
    before = _samples(serin)
    version("2", config={"error-ratio": "1"}, steps=({"weight": 50, "bake": "60s"},), shield="Off")
    rollback = shop.wait_rolled_back(NAME)
    time.sleep(2)
    after = _samples(serin)
    candidate = rollback["from"]
    found = _requests(before, after)
    print(f"requests of a whole rollout that is rolled back: {sum(found.values())}: {found}")
    for name, what in (
        ("serin_tick_seconds", "one collection of evidence"),
        ("serin_reconcile_seconds", "one look: observe, plan, apply"),
        ('serin_api_request_seconds{verb="patch_status"}', "one status write"),
        ("serin_route_propagation_seconds", "from the write to Envoy's word that it has it"),
    ):
        stem, _, labels = name.partition("{")
        suffix = f"{{{labels}" if labels else ""
        count = after.get(f"{stem}_count{suffix}", 0) - before.get(f"{stem}_count{suffix}", 0)
        seconds = after.get(f"{stem}_sum{suffix}", 0) - before.get(f"{stem}_sum{suffix}", 0)
        print(f"{what}: {seconds / count * 1000:.0f} ms on average of {count:.0f}" if count else f"{what}: none")
    last = max((one.at for one in traffic.answers if one.snapshot == candidate), default=0.0)
    print(f"the candidate's last answer was sent {last - parse_rfc3339(rollback['at']):+.2f} s from the decision")
    assert sum(found.values()) > 0
