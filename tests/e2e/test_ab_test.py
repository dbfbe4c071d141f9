"""An A/B test with 500 users: each keeps the version through restarts, and a better version ends the test by itself."""

import asyncio
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest

from serin.api.names import SYSTEM_NAMESPACE
from tests.e2e.fraud import ERRORS, NAME, fraud
from tests.e2e.install import Installation
from tests.e2e.models.image import METRICS_PORT, PORT
from tests.e2e.models.train import Cases
from tests.e2e.shop import Shop
from tests.e2e.traffic import SNAPSHOT_HEADER

USERS = tuple(f"user-{number}" for number in range(500))
AT_ONCE = 8
# What users want here is to be let through. The share of a ratio is that of `bad`, whatever that is.
APPROVED = {
    "name": "approved",
    "ratio": {"bad": 'predictions_total{label="0", {{.version}} }', "total": "predictions_total{ {{.version}} }"},
    "severity": "major",
}
GOAL = {"metric": "approved", "better": "Higher", "minimumDetectableEffect": "1.1", "per": "Request"}
FOR_EVER = {"minDuration": "24h", "maxDuration": "48h"}
SHORT = {"minDuration": "20s", "maxDuration": "600s"}


def on_trial(image: str, version: str, split: int, *, config: dict[str, str] | None = None, **times: str) -> Any:
    """The fraud model in an A/B test, with the annotations by which Prometheus finds its counter of labels."""
    test = {"split": split, "sticky": {"header": "x-user-id"}, "goal": GOAL, **times}
    body = fraud(image, version, config=config, strategy={"abTest": test}, metrics=[ERRORS, APPROVED])
    annotations = {"prometheus.io/scrape": "true", "prometheus.io/port": str(METRICS_PORT)}
    body["spec"]["template"]["metadata"] = {"annotations": annotations}
    return body


class Users:
    """Clients that say who they are. `cases`: what they send, each their own."""

    def __init__(self, address: str, cases: Cases) -> None:
        self._url, self._cases = f"http://{address}:{PORT}/v2/models/{NAME}/infer", cases

    def __call__(self) -> dict[str, str]:
        """The version that answers each user; whoever gets no answer asks again, as a router pod may have gone."""
        return asyncio.run(self._all())

    async def _all(self) -> dict[str, str]:
        room = asyncio.Semaphore(AT_ONCE)
        # A connection of its own for every request: none stays with an Envoy that ends.
        connector = aiohttp.TCPConnector(limit=AT_ONCE, force_close=True)
        async with aiohttp.ClientSession(connector=connector, trust_env=False) as session:
            found = await asyncio.gather(*(self._one(session, room, place) for place in range(len(USERS))))
        return dict(zip(USERS, found, strict=True))

    async def _one(self, session: aiohttp.ClientSession, room: asyncio.Semaphore, place: int) -> str:
        row = self._cases.rows[place % len(self._cases.rows)]
        data = {"name": "features", "datatype": "FP32", "shape": [1, len(row)], "data": row}
        for _ in range(10):
            async with room:
                try:
                    headers = {"x-user-id": USERS[place]}
                    async with session.post(self._url, json={"inputs": [data]}, headers=headers) as got:
                        if got.status == 200 and not got.headers.get("x-serin-shielded"):
                            return got.headers[SNAPSHOT_HEADER]
                except aiohttp.ClientError:
                    pass
            await asyncio.sleep(0.5)
        raise AssertionError(f"{USERS[place]} gets no answer")


@pytest.fixture
def tried(serin: Installation) -> Iterator[Shop]:
    """A namespace of the test's own: version 1 serves, and its labels are counted."""
    namespace = f"ab-{uuid.uuid4().hex[:5]}"
    serin.cluster.kubectl("create", "namespace", namespace)
    shop = Shop(serin.cluster, namespace)
    shop.apply(on_trial(serin.model, "1", 30, **FOR_EVER))
    shop.wait_serving(NAME, "1")
    yield shop
    print(f"\n{shop.story(NAME)}")
    serin.cluster.kubectl("delete", "namespace", namespace, "--wait=false")


def _moved(before: dict[str, str], after: dict[str, str]) -> dict[str, tuple[str, str]]:
    """Each user that has another version now, and which it was and is."""
    return {user: (before[user], after[user]) for user in USERS if before[user] != after[user]}


def _settled(users: Users) -> dict[str, str]:
    """Who has what, as soon as two rounds say the same: both Envoys have the route."""
    before, end = users(), time.monotonic() + 60
    while moved := _moved(before, after := users()):
        assert time.monotonic() < end, f"users go on moving: {moved}"
        before = after
    return after


@pytest.mark.timeout(900)
def test_users_stay_through_restarts_and_a_change_of_the_split_moves_them_one_way(
    serin: Installation, tried: Shop, cases: Cases
) -> None:
    stable = tried.status(NAME)["stable"]["snapshot"]
    tried.apply(on_trial(serin.model, "2", 30, **FOR_EVER))
    status = tried.wait(NAME, "shared out", lambda one: one["traffic"].get("sticky"))
    candidate = status["candidate"]["snapshot"]
    users = Users(tried.address(NAME), cases)
    first = _settled(users)
    has = [user for user in USERS if first[user] == candidate]
    print(f"{len(has)} of {len(USERS)} users have the new version at 30%")
    assert set(first.values()) == {stable, candidate}
    assert 110 <= len(has) <= 190, "four standard deviations around 150"

    for name in ("serin-operator", "serin-router"):
        before = set(serin.pods(name))
        serin.cluster.kubectl("-n", SYSTEM_NAMESPACE, "delete", "pod", *before, "--wait=false")
        tried.until(f"other pods of {name}", lambda gone=before, of=name: not gone & set(serin.pods(of)))
        serin.wait(name)
        assert _moved(first, users()) == {}, f"users who have moved as {name} was restarted"

    tried.apply(on_trial(serin.model, "2", 50, **FOR_EVER))
    # A larger share needs evidence, and what the new router counted before it was scraped first is none.
    tried.until("shared out anew", lambda: users() and tried.status(NAME)["traffic"]["weights"].get(candidate) == 50)
    grown = _settled(users)
    moved = _moved(first, grown)
    print(f"30% to 50% moves {len(moved)} users to the new version: {', '.join(moved)}")
    assert set(moved.values()) == {(stable, candidate)}, "nobody moves away from it"
    assert 64 <= len(moved) <= 136, "four standard deviations around 100"

    tried.apply(on_trial(serin.model, "2", 30, **FOR_EVER))
    tried.wait(NAME, "shared out as at first", lambda one: one["traffic"]["weights"].get(candidate) == 30)
    back = _settled(users)
    assert _moved(first, back) == {}, "the same users have it as before"
    print(f"50% to 30% moves {len(_moved(grown, back))} users back")


@pytest.mark.timeout(900)
def test_a_better_version_ends_the_test_and_serves(serin: Installation, tried: Shop, cases: Cases) -> None:
    """Version 2 lets everybody through: no probability reaches its threshold."""
    tried.apply(on_trial(serin.model, "2", 50, config={"threshold": "2"}, **SHORT))
    status = tried.wait(NAME, "shared out", lambda one: one["traffic"].get("sticky"))
    candidate = status["candidate"]["snapshot"]
    users, over = Users(tried.address(NAME), cases), threading.Event()

    def keep_asking() -> None:
        while not over.is_set():
            users()

    asking = threading.Thread(target=keep_asking, daemon=True)
    asking.start()
    try:
        tried.wait(NAME, "decided", lambda one: one["stable"]["snapshot"] == candidate or one.get("lastRollback"))
    finally:
        over.set()
        asking.join(60)
    assert tried.status(NAME)["stable"]["snapshot"] == candidate

    def notes() -> list[str]:
        events = tried.items("events.events.k8s.io")
        return [one.get("note", "") for one in events if one.get("reason") == "Promoted"]

    tried.until("Event", lambda: any("it is better: approved" in note for note in notes()))  # a moment after the status
    print(notes())
    assert set(_settled(users).values()) == {candidate}
