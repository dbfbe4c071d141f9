"""Takes the answers that people look at from the guard, and keeps them as ReviewItems, or sends them to a webhook.

The replica that decides is the only one that listens. Whoever reaches its port may send anything, so an item is taken
when it proves that it comes from the router's configuration of a deployment, is of a version of it, and has nothing but
what its spec names. Nothing of an item is logged, or in an Event.

All of it is beside the looks, and bounded: bytes of an item, one of a version in a while, items under way of a
deployment and of a namespace, requests to the API server at once. A webhook that hangs keeps its own namespace's items
waiting alone. It is asked once: what it does not take is counted, told, and gone.
"""

import asyncio
import hmac
import secrets
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final
from weakref import WeakValueDictionary

import orjson
import structlog
from aiohttp import web

from serin.api import names
from serin.api.conditions import Reason
from serin.api.fields import Field, InvalidSpec
from serin.api.guard_review import LARGEST_ITEM, Item, ReviewGuard, Taken, item_proof, read_item, read_review
from serin.api.json import JsonObject
from serin.api.names import Key
from serin.cluster import kinds
from serin.cluster.cache import ObjectCache
from serin.cluster.client import KubernetesCluster
from serin.cluster.protocol import ClusterError, Conflict, Gone
from serin.controller.health import serving_strangers
from serin.controller.report import Records
from serin.controller.telemetry import ReviewOutcome, Telemetry
from serin.controller.webhooks import Format, NotTaken, Post, Webhook, cloud_event, post, webhook_of

log: Final = structlog.get_logger("serin.reviews")

# Items under way: of one deployment, of a namespace, and of all.
MOST_OF_ONE: Final = 2
MOST_OF_NAMESPACE: Final = 16
MOST: Final = 1024
# The guard's processes give one item with each.
MOST_CONNECTIONS: Final = 128
_REQUESTS: Final = 4
_READ_SECONDS: Final = 3.0
_AGAIN_SECONDS: Final = 10.0
# Versions of which it is known when the last item was taken.
_KNOWN: Final = 16_384
# Several processes of the guard have clocks of their own.
_EARLY: Final = 0.9
_PAGE: Final = 500
_LETTERS: Final = "bcdfghjklmnpqrstvwxz2456789"  # as in names.content_hash


class _NotTaken(Exception):
    """An item is not taken: this is the HTTP status."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class ReviewIntake:
    """`run` until cancelled. `events`: tells the deployment's owner what was not sent. `send`: to a webhook."""

    def __init__(
        self,
        cluster: KubernetesCluster,
        cache: ObjectCache,
        events: Records,
        telemetry: Telemetry,
        webhooks: Mapping[str, Webhook],
        *,
        port: int,
        send: Post = post,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cluster, self._cache, self._events, self._telemetry = cluster, cache, events, telemetry
        self._webhooks, self._port, self._send, self._clock = webhooks, port, send, clock
        self._under_way = Counter[Key]()
        self._of_namespace = Counter[str]()
        self._tasks = set[asyncio.Task[None]]()
        self._last: OrderedDict[tuple[Key, str], float] = OrderedDict()
        self._left_out: OrderedDict[Key, int] = OrderedDict()
        self._requests = asyncio.Semaphore(_REQUESTS)
        self._places: WeakValueDictionary[tuple[str, str], asyncio.Semaphore] = WeakValueDictionary()

    async def run(self) -> None:
        """Listen. Whatever goes wrong here ends nothing else of the operator: it is tried again."""
        app = web.Application(client_max_size=LARGEST_ITEM)
        app.router.add_post("/", self._on_request)
        try:
            while True:
                try:
                    async with serving_strangers(app, self._port, most=MOST_CONNECTIONS, seconds=_READ_SECONDS):
                        await asyncio.Event().wait()
                except Exception as error:
                    log.warning("reviews.not-listening", port=self._port, error=type(error).__name__)
                    await asyncio.sleep(_AGAIN_SECONDS)
        finally:
            for task in self._tasks:
                task.cancel()

    async def _on_request(self, request: web.Request) -> web.Response:
        try:
            async with asyncio.timeout(_READ_SECONDS):
                item = read_item(orjson.loads(await request.read()))
            return web.Response(status=self.take(item))
        except (ValueError, TimeoutError):
            return web.Response(status=400)

    def take(self, item: Item) -> int:
        """Begin to keep an item; an HTTP status: 202 when it is taken, 429 when the version had one a moment ago."""
        try:
            key, how, body = self._known(item)
            if self._under_way[key] >= MOST_OF_ONE or self._of_namespace[key[0]] >= MOST_OF_NAMESPACE:
                raise _NotTaken(503)
            if len(self._tasks) >= MOST:
                raise _NotTaken(503)
            self._take_turn(key, how, item.snapshot)
        except _NotTaken as error:
            if error.status == 503:
                self._telemetry.review_items.labels(ReviewOutcome.LEFT_OUT).inc()
            return error.status
        self._under_way[key] += 1
        self._of_namespace[key[0]] += 1
        task = asyncio.get_running_loop().create_task(self._run(key, how, body, item))
        self._tasks.add(task)

        def done(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            _less(self._under_way, key)
            _less(self._of_namespace, key[0])
            if not task.cancelled() and (error := task.exception()):  # a defect
                log.error("review.failed", namespace=key[0], deployment=key[1], error=type(error).__name__)

        task.add_done_callback(done)
        return 202

    def _known(self, item: Item) -> tuple[Key, ReviewGuard, JsonObject]:
        """Whose it is. Raises _NotTaken."""
        namespace, _, name = item.name.partition("/")
        body = self._cache.get(kinds.MODEL_DEPLOYMENT, namespace, name)
        proof = item_proof(str(body["metadata"]["uid"])) if body else ""
        if body is None or not hmac.compare_digest(item.proof.encode(errors="replace"), proof.encode()):
            raise _NotTaken(404)
        how = review_of(body)
        snapshot = self._cache.get(kinds.MODEL_SNAPSHOT, namespace, item.snapshot)
        if how is None or snapshot is None or snapshot["spec"].get("modelDeployment") != name:
            raise _NotTaken(404)
        if not all(one.path in how.named(one.part) for one in item.fields) or len(item.fields) > _most_fields(how):
            raise _NotTaken(400)
        return (namespace, name), how, body

    def _take_turn(self, key: Key, how: ReviewGuard, snapshot: str) -> None:
        version, now = (key, snapshot), self._clock()
        last = self._last.get(version)
        if last is not None and now - last < _EARLY * 3600.0 / how.per_hour:
            raise _NotTaken(429)
        self._last[version] = now
        self._last.move_to_end(version)
        if len(self._last) > _KNOWN:
            self._last.popitem(last=False)

    async def _run(self, key: Key, how: ReviewGuard, body: JsonObject, item: Item) -> None:
        self._miss(key, item.left_out)
        try:
            made = await self._keep(key, how, body, item)
        except ClusterError as error:
            # A rejected object may quote what is in it, so the API server's words are not logged.
            log.warning("review.not-kept", namespace=key[0], deployment=key[1], status=error.status)
            made = None
        if made is None:
            self._telemetry.review_items.labels(ReviewOutcome.LEFT_OUT).inc()
            self._miss(key, 1)
        elif how.webhook:
            await self._send_to(key, how.webhook, body, item, made)
        else:
            self._telemetry.review_items.labels(ReviewOutcome.KEPT).inc()

    async def _keep(self, key: Key, how: ReviewGuard, body: JsonObject, item: Item) -> JsonObject | None:
        """The object; None when there is no room for it. Raises ClusterErrors."""
        async with self._requests:
            selector = f"{names.LABEL_MODEL_DEPLOYMENT}={key[1]}"
            there = await self._cluster.list_metadata(kinds.REVIEW_ITEM, key[0], selector, _PAGE)
            for one in victims(there, len(there) - how.keep + 1):
                metadata = one["metadata"]
                try:
                    await self._cluster.delete(
                        kinds.REVIEW_ITEM,
                        key[0],
                        metadata["name"],
                        uid=metadata["uid"],
                        resource_version=metadata["resourceVersion"],
                    )
                except (Conflict, Gone):
                    return None  # somebody labels it right now
                if names.LABEL_REVIEWED not in labels_of(one):
                    self._telemetry.review_items.labels(ReviewOutcome.GAVE_WAY).inc()
                    self._miss(key, 1)
            if len(there) >= how.keep and not victims(there, 1):
                return None  # all of them have a label that is not counted yet
            left_out = self._left_out.get(key, 0)
            made = await self._cluster.create(_object(key, how, body, item, left_out))
            self._miss(key, -left_out)
            return made

    async def _send_to(self, key: Key, name: str, body: JsonObject, item: Item, made: JsonObject) -> None:
        try:
            webhook = webhook_of(self._webhooks, name, key[0])
            if webhook.format is not Format.CLOUD_EVENTS:
                raise NotTaken(f"it takes no CloudEvents ({webhook.format}): name one that does")
            async with self._places.setdefault((key[0], name), asyncio.Semaphore(1)):
                await self._send(webhook, _event(key, item, made))
        except NotTaken as error:
            why = f"an answer for people was not sent: webhook {name}: {error}"
            log.warning("review.not-sent", namespace=key[0], deployment=key[1], why=str(error))
            self._events.record(body, Reason.REVIEW_NOT_SENT.value, why, warning=True)
            self._telemetry.review_items.labels(ReviewOutcome.NOT_SENT).inc()
            self._miss(key, 1)
            await self._take_back(key, made)
        else:
            self._telemetry.review_items.labels(ReviewOutcome.SENT).inc()

    async def _take_back(self, key: Key, made: JsonObject) -> None:
        """Delete an item of which nobody knows what was answered."""
        metadata = made["metadata"]
        try:
            await self._cluster.delete(kinds.REVIEW_ITEM, key[0], metadata["name"], uid=metadata["uid"])
        except ClusterError as error:
            log.warning("review.not-deleted", namespace=key[0], deployment=key[1], status=error.status)

    def _miss(self, key: Key, count: int) -> None:
        """So many more that nobody will see, of which the next item tells."""
        found = max(self._left_out.pop(key, 0) + count, 0)
        if found:
            self._left_out[key] = found
        if len(self._left_out) > _KNOWN:
            self._left_out.popitem(last=False)


def review_of(body: JsonObject) -> ReviewGuard | None:
    """Of a ModelDeployment; None: nobody looks at its answers, or its spec cannot be read."""
    guard = body["spec"].get("guard")
    try:
        return read_review(Field(guard, "spec.guard")) if guard else None
    except InvalidSpec:
        return None


def labels_of(item: JsonObject) -> Mapping[str, str]:
    """The labels of an object."""
    return item["metadata"].get("labels") or {}


def victims(items: Sequence[JsonObject], count: int) -> Sequence[JsonObject]:
    """So many items that give way to new ones: counted ones first, then the oldest of the version that has the most.

    None whose label is not counted yet: what somebody has said is not lost for want of room.
    """
    if count <= 0:
        return ()
    by_age = sorted(items, key=lambda one: (str(one["metadata"].get("creationTimestamp")), one["metadata"]["name"]))
    counted = [one for one in by_age if is_counted(one)]
    waiting = [one for one in by_age if names.LABEL_REVIEWED not in labels_of(one)]
    found = counted[:count]
    while len(found) < count and waiting:
        most, _ = Counter(labels_of(one).get(names.LABEL_SNAPSHOT) for one in waiting).most_common(1)[0]
        first = next(one for one in waiting if labels_of(one).get(names.LABEL_SNAPSHOT) == most)
        waiting.remove(first)
        found.append(first)
    return found


def is_counted(item: JsonObject) -> bool:
    """Whether what a person says of it has been dealt with."""
    return labels_of(item).get(names.LABEL_COUNTED) not in (None, BEGUN)


BEGUN: Final = "begun"


def _most_fields(how: ReviewGuard) -> int:
    return len(how.request) + len(how.answer)


def _less(counts: Counter[Any], name: Any) -> None:
    counts[name] -= 1
    if counts[name] <= 0:
        del counts[name]


def _object(key: Key, how: ReviewGuard, body: JsonObject, item: Item, left_out: int) -> JsonObject:
    end = "".join(secrets.choice(_LETTERS) for _ in range(names.HASH_LENGTH))
    sure = {"confidence": _written(item.confidence)} if item.confidence is not None else {}
    what = {"webhook": how.webhook} if how.webhook else {"fields": list(map(_field, item.fields))}
    return {
        "apiVersion": kinds.REVIEW_ITEM.api_version,
        "kind": kinds.REVIEW_ITEM.name,
        "metadata": {
            "namespace": key[0],
            "name": f"{key[1]}-{end}",
            "labels": {names.LABEL_MODEL_DEPLOYMENT: key[1], names.LABEL_SNAPSHOT: item.snapshot},
            "ownerReferences": [names.owner_reference(key[1], str(body["metadata"]["uid"]))],
        },
        "spec": {
            "modelDeployment": key[1],
            "snapshot": item.snapshot,
            **sure,
            **({"leftOut": left_out} if left_out else {}),
            **what,
        },
    }


def _field(one: Taken) -> JsonObject:
    return {"of": one.part, "path": one.path} | ({} if one.value is None else {"value": one.value})


def _written(confidence: float) -> str:
    return f"{confidence:.6g}"


def _event(key: Key, item: Item, made: JsonObject) -> JsonObject:
    """A CloudEvent: what was asked and answered, and which object is to be labelled."""
    sure = {"confidence": item.confidence} if item.confidence is not None else {}
    data = {
        "namespace": key[0],
        "modelDeployment": key[1],
        "snapshot": item.snapshot,
        "reviewItem": made["metadata"]["name"],
        **sure,
        "fields": list(map(_field, item.fields)),
    }
    at = datetime.now(UTC).timestamp()
    return cloud_event(key, "review.requested", at, item.snapshot, str(made["metadata"]["uid"]), data)
