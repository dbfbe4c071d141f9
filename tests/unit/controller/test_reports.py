"""Who writes reports of rollbacks: when, how often, and what an answer of the API server means for the next one."""

import asyncio
import copy
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from serin.api.json import JsonObject
from serin.api.names import Key, key_of
from serin.api.times import rfc3339
from serin.cluster import kinds
from serin.cluster.cache import ObjectCache
from serin.cluster.protocol import Conflict, Kind, Refused, Retryable
from serin.controller.reports import MOST_REPORTS, ReportWriter
from tests.narratives import stories
from tests.narratives.film import film
from tests.unit.background import in_background
from tests.unit.jumping_time import in_jumping_time, now

END = film(stories.bad_candidate)[-1]
LAST = END.facts.state.last_rollback
assert LAST is not None
AT = LAST.at
CLIENTS = {"exposed": 40, "failed": 2, "shielded": 8, "since": rfc3339(AT - 60.0), "until": rfc3339(AT + 15.0)}


class ApiServer:
    """Keeps ConfigMaps; `errors` are raised first, one after the other, of the deployments that they are about."""

    def __init__(self) -> None:
        self.made: list[tuple[JsonObject, float]] = []
        self.asked = 0
        self.errors: dict[str, list[Exception]] = {}
        self.events: list[JsonObject] | Exception = []

    async def pod_warnings(self, _namespace: str) -> AsyncIterator[tuple[list[JsonObject], bool]]:
        if isinstance(self.events, Exception):
            raise self.events
        yield self.events, False

    async def create(self, body: JsonObject) -> JsonObject:
        self.asked += 1
        if waiting := self.errors.get(body["metadata"]["namespace"]):
            raise waiting.pop(0)
        self.made.append((body, now()))
        return body


class Rig:
    """Version 2 was rolled back `age` seconds ago in each namespace, and has `times` records of that.

    `counted`: whether it is known what it was for clients.
    """

    def __init__(self, *namespaces: str, age: float = 0.0, times: int = 1, counted: bool = True) -> None:
        self.cache, self.server = ObjectCache(), ApiServer()
        self.writer = ReportWriter(self.server, self.cache, clock=lambda: AT + age + now())  # type: ignore[arg-type]
        for namespace in namespaces or ("shop",):
            self.cache.put(kinds.MODEL_DEPLOYMENT, _counted(_moved(END.body, namespace), counted))
            for one in END.snapshots:
                self.cache.put(kinds.MODEL_SNAPSHOT, _rolled_back(_moved(one, namespace), times))

    @property
    def places(self) -> list[str]:
        """Namespaces that have a report, in the order in which these were written."""
        return [body["metadata"]["namespace"] for body, _ in self.server.made]


def _moved(body: JsonObject, namespace: str) -> JsonObject:
    found = copy.deepcopy(body)
    found["metadata"] |= {"namespace": namespace, "uid": f"{namespace}-{body['metadata']['uid']}"}
    return found


def _counted(body: JsonObject, counted: bool) -> JsonObject:
    if counted:
        body["status"]["lastRollback"]["clients"] = CLIENTS
    return body


def _rolled_back(snapshot: JsonObject, times: int) -> JsonObject:
    """With this many records of it in place of one."""
    records = snapshot["status"].get("records", [])
    found = [one for one in records if one["occasion"] == "RolledBack"]
    snapshot["status"] = {**snapshot["status"], "records": [*records, *found * (times - 1)]}
    return snapshot


@asynccontextmanager
async def running(rig: Rig) -> AsyncIterator[Rig]:
    async with in_background(rig.writer.run()):
        yield rig


@in_jumping_time
async def test_a_report_is_written_once_when_the_story_is_over() -> None:
    async with running(Rig()) as rig:
        rig.writer.note(("shop", "fraud"), "RolledBack", "it is told")
        await asyncio.sleep(29.0)
        assert rig.server.asked == 0, "what the router and the records say then is a part of it"
        rig.writer.note(("shop", "fraud"), "Restored", "it is told later")
        await asyncio.sleep(30.0)
        [(body, _)] = rig.server.made
        assert "it is told later" in body["data"]["report.md"]
        for _ in range(20):
            rig.writer.note(("shop", "fraud"), "Serving", "more is told")
            await asyncio.sleep(60.0)
        assert rig.server.asked == 1


@in_jumping_time
async def test_a_report_waits_two_minutes_for_what_clients_got() -> None:
    async with running(Rig(counted=False)) as rig:
        await asyncio.sleep(115.0)
        assert rig.server.asked == 0
        await asyncio.sleep(20.0)
        assert rig.server.asked == 1, "Prometheus gives no answer, and the report says so"


@in_jumping_time
async def test_a_report_is_written_when_it_is_known_what_clients_got() -> None:
    async with running(Rig(counted=False)) as rig:
        await asyncio.sleep(60.0)
        body = _counted(_moved(END.body, "shop"), counted=True)
        body["metadata"]["resourceVersion"] += "0"
        rig.cache.put(kinds.MODEL_DEPLOYMENT, body)
        await asyncio.sleep(11.0)
        assert rig.server.asked == 1
        assert "40 requests of clients" in rig.server.made[0][0]["data"]["report.md"]


@in_jumping_time
async def test_with_a_web_page_a_report_leads_to_it() -> None:
    rig = Rig()
    clock = lambda: AT + now()  # noqa: E731
    rig.writer = ReportWriter(rig.server, rig.cache, dashboard="https://serin.example", clock=clock)  # type: ignore[arg-type]
    assert LAST is not None
    page = f"https://serin.example/in/shop/fraud/report/{LAST.source}"
    async with running(rig):
        await asyncio.sleep(60.0)
    data = rig.server.made[0][0]["data"]
    assert f"\n<{page}>\n" in data["report.md"]
    assert f'<a href="{page}">' in data["report.html"]


@in_jumping_time
async def test_a_report_has_what_pods_had_to_say_also_of_those_that_are_gone() -> None:
    assert LAST is not None
    rig, name = Rig(), f"{LAST.source}-6b8f-x7k2p"
    ended = {"exitCode": 137, "reason": "OOMKilled", "finishedAt": rfc3339(AT - 5.0)}
    metadata = {"namespace": "shop", "name": name, "uid": name, "resourceVersion": "1"}
    metadata["labels"] = {"serin.dev/model-deployment": "fraud"}  # type: ignore[assignment]
    statuses = [{"name": "model", "lastState": {"terminated": ended}}]
    pod: JsonObject = {"metadata": metadata, "status": {"containerStatuses": statuses}}
    rig.cache.put(kinds.POD, pod)
    regarding = {"kind": "Pod", "name": name}
    told = {"type": "Warning", "reason": "BackOff", "note": "Back-off restarting", "regarding": regarding}
    rig.server.events = [{**told, "eventTime": rfc3339(AT - 4.0)}]
    async with running(rig):
        await asyncio.sleep(15.0)
        rig.cache.drop(kinds.POD, {**pod, "metadata": {**metadata, "resourceVersion": "2"}})
        await asyncio.sleep(45.0)
    text = rig.server.made[0][0]["data"]["report.md"]
    assert f"| -5s | OOMKilled | 1 | 1 | {name}: container model exited with code 137 |" in text
    assert f"| -4s | BackOff | 1 | 1 | {name}: Back-off restarting |" in text


@in_jumping_time
async def test_without_events_a_report_is_written_all_the_same_and_says_so() -> None:
    for error in (Refused("events is forbidden", 403), Retryable("no answer")):
        rig = Rig()
        rig.server.events = error
        async with running(rig):
            await asyncio.sleep(45.0)
        [(body, _)] = rig.server.made
        assert f"Events of its pods could not be read: {error.message}" in body["data"]["report.md"]


@in_jumping_time
async def test_an_old_rollback_was_a_former_leaders_to_tell_of() -> None:
    for age, reports in ((3500.0, 1), (3700.0, 0)):
        async with running(Rig(age=age)) as rig:
            await asyncio.sleep(60.0)
            assert len(rig.server.made) == reports


@in_jumping_time
async def test_a_version_that_is_tried_again_and_again_has_a_few() -> None:
    for times, reports in ((MOST_REPORTS, 1), (MOST_REPORTS + 1, 0)):
        async with running(Rig(times=times)) as rig:
            await asyncio.sleep(120.0)
            assert len(rig.server.made) == reports


@in_jumping_time
async def test_what_has_no_answer_is_asked_again_and_what_is_refused_is_not() -> None:
    async with running(Rig("a", "b", "c", "d", "e")) as rig:
        rig.server.errors = {
            "a": [Retryable("no answer"), Retryable("no answer")],
            "b": [Refused("exceeded quota: configmaps", 403)],
            "c": [ValueError("a defect")],
            "d": [Conflict("already exists", 409)],
        }
        await asyncio.sleep(600.0)
        assert rig.places == ["e", "a"], "nobody's report waits for another's"
        assert rig.server.asked == 7


@in_jumping_time
async def test_a_report_has_room_in_a_config_map() -> None:
    async with running(Rig()) as rig:
        for _ in range(10):
            rig.writer.note(("shop", "fraud"), "RolledBack", "ü" * 200_000)
        await asyncio.sleep(60.0)
        [(body, _)] = rig.server.made
        assert sum(len(text.encode()) for text in body["data"].values()) < 1_000_000


@in_jumping_time
async def test_what_is_told_is_kept_of_so_many_deployments() -> None:
    rig = Rig()
    for number in range(2_500):
        rig.writer.note(("shop", f"m{number}"), "Serving", "it serves")
        rig.writer.note(("shop", "fraud"), "Serving", "it serves")
    assert len(rig.writer._notes) == 2_000
    assert len(rig.writer._notes["shop", "fraud"]) == 60
    assert ("shop", "m0") not in rig.writer._notes, "the one of which nothing was told for longest"


class CountingCache(ObjectCache):
    """Tells which deployments were read."""

    def __init__(self) -> None:
        super().__init__()
        self.read: list[Key] = []

    def get(self, kind: Kind, namespace: str, name: str) -> JsonObject | None:
        if kind == kinds.MODEL_DEPLOYMENT:
            self.read.append((namespace, name))
        return super().get(kind, namespace, name)

    def all(self, kind: Kind) -> tuple[JsonObject, ...]:
        found = super().all(kind)
        self.read += map(key_of, found)
        return found


@in_jumping_time
async def test_what_is_told_of_one_makes_it_read_no_other() -> None:
    cache = CountingCache()
    rig = Rig("a", "b", "c")
    for body in rig.cache.all(kinds.MODEL_DEPLOYMENT):
        cache.put(kinds.MODEL_DEPLOYMENT, body)
    rig.writer = ReportWriter(rig.server, cache, clock=lambda: AT + 7200.0 + now())  # type: ignore[arg-type]
    async with running(rig):
        await asyncio.sleep(60.0)
        assert {namespace for namespace, _ in cache.read} == {"a", "b", "c"}, "a former leader's rollbacks"
        cache.read.clear()
        rig.writer.note(("b", "fraud"), "Promoting", "all traffic")
        await asyncio.sleep(60.0)
        assert cache.read == [("b", "fraud")]
