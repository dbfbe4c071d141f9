"""Counts what people say of answers: once each, by version, as a series of the router's.

A person labels a ReviewItem with the rights that they have; the operator looks for new labels every few seconds, tells
the router, and writes what became of it. Between the two nothing can be atomic, so the order decides: first the item
says that its counting has begun, in a write that only one replica can win, then the router is told, then the item says
what was counted. Whoever dies in between leaves an item that has begun: the next leader does not count it again, and
says so. So nothing counts twice, and what may be lost is told.

Items go when they are older than the spec says, and at once when nobody looks at the deployment's answers any more.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import structlog

from serin.api import names
from serin.api.conditions import Reason
from serin.api.guard_review import Verdict
from serin.api.json import JsonObject
from serin.api.names import Key
from serin.api.times import moment
from serin.cluster import kinds
from serin.cluster.cache import ObjectCache
from serin.cluster.client import KubernetesCluster
from serin.cluster.protocol import ClusterError, Conflict, Gone
from serin.controller.report import Records
from serin.controller.review_intake import BEGUN, is_counted, labels_of, review_of
from serin.controller.telemetry import Telemetry
from serin.routers.base import Told

log: Final = structlog.get_logger("serin.reviews")

_PAUSE: Final = 5.0
_EXPIRY: Final = 600.0
# In one look, of one namespace: what is more comes with the next one, so that others have their turn.
_MOST_LABELS: Final = 20
_LONGEST: Final = 10.0
_PAGE: Final = 500
_NEW: Final = f"{names.LABEL_REVIEWED},!{names.LABEL_COUNTED}"
_UNKNOWN: Final = "unknown"  # perhaps it was counted, perhaps not
_NO_VERDICT: Final = "no-verdict"
_EXPIRED: Final = "expired"

Tell = Callable[[Key, str, str], Awaitable[Told]]
"""Tells a deployment's router of an answer of a version what a person says. Takes some seconds at most."""


@dataclass(frozen=True, slots=True)
class _Unwritten:
    """What became of an item; None: nothing, so it is counted again. `version`: it is written to this one alone."""

    what: str | None
    version: str = ""


class ReviewVerdicts:
    """`run` until cancelled. `leading` is asked before every write. `clock`: unix seconds.

    `namespaces`: to look in for what is old; none: in all. `pause`: seconds between two looks.
    """

    def __init__(
        self,
        cluster: KubernetesCluster,
        cache: ObjectCache,
        events: Records,
        telemetry: Telemetry,
        tell: Tell,
        leading: Callable[[], bool],
        *,
        namespaces: tuple[str, ...] = (),
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        pause: float = _PAUSE,
    ) -> None:
        self._cluster, self._cache, self._events, self._telemetry = cluster, cache, events, telemetry
        self._tell, self._leading, self._namespaces = tell, leading, namespaces
        self._clock, self._monotonic, self._pause = clock, monotonic, pause
        self._settled: set[str] = set()  # namespaces in which nothing is left of another leader's term
        # What became of items that do not say it yet, by namespace and name.
        self._unwritten: dict[Key, _Unwritten] = {}
        self._later: set[Key] = set()  # items that could not be told
        self._expired_at: float | None = None
        self._used = False

    async def run(self) -> None:
        """Look again and again."""
        while True:
            try:
                await self.look()
            except ClusterError as error:
                log.warning("reviews.not-read", error=error.message)
            except Exception:
                log.exception("reviews.failed")
            await asyncio.sleep(self._pause)

    async def look(self) -> None:
        """Count what is new, and delete what is old. Raises ClusterErrors."""
        asked = [body for body in self._cache.all(kinds.MODEL_DEPLOYMENT) if review_of(body)]
        for namespace in sorted({body["metadata"]["namespace"] for body in asked}):
            try:
                await self._count_all(namespace)
            except ClusterError as error:  # of one namespace no other is to suffer
                log.warning("reviews.not-counted", namespace=namespace, error=error.message)
        self._used = self._used or bool(asked)
        now = self._monotonic()
        # At the beginning of a term too: a deployment may have been told not to be reviewed before.
        if self._expired_at is None or (self._used and now - self._expired_at >= _EXPIRY):
            self._expired_at = now
            self._settled.clear()  # a leader before may have begun something at the very end of its term
            for one in self._namespaces or (None,):
                await self._delete_old(one)

    async def _count_all(self, namespace: str) -> None:
        if namespace not in self._settled:
            await self._settle(namespace)
            self._settled.add(namespace)
        end = self._monotonic() + _LONGEST
        items = await self._cluster.list_metadata(kinds.REVIEW_ITEM, namespace, _NEW, _PAGE)
        for item in self._due(namespace, items):
            if self._monotonic() > end or not self._leading():
                return
            await self._count(item)
        for one, left in list(self._unwritten.items()):
            if one[0] == namespace:
                await self._write(one, left)

    def _due(self, namespace: str, items: Sequence[JsonObject]) -> Sequence[JsonObject]:
        """Some that are new; last those that could not be told before, or they would keep all others waiting."""
        there = {names.key_of(one) for one in items}
        self._later = {key for key in self._later if key[0] != namespace or key in there}
        return sorted(items, key=lambda one: names.key_of(one) in self._later)[:_MOST_LABELS]

    async def _settle(self, namespace: str) -> None:
        """What another leader has begun: nobody knows whether it was counted, so it is not counted again."""
        selector = f"{names.LABEL_COUNTED}={BEGUN}"
        for item in await self._cluster.list_metadata(kinds.REVIEW_ITEM, namespace, selector, _PAGE):
            if self._leading() and names.key_of(item) not in self._unwritten:
                await self._end(item, _UNKNOWN)

    async def _count(self, item: JsonObject) -> None:
        metadata, said = item["metadata"], labels_of(item)
        key = metadata["namespace"], said.get(names.LABEL_MODEL_DEPLOYMENT, "")
        verdict = said[names.LABEL_REVIEWED]
        if verdict not in Verdict.__members__.values():
            await self._end(item, _NO_VERDICT)
            return
        try:
            begun = await self._cluster.label(item, {names.LABEL_COUNTED: BEGUN}, only_if_unchanged=True)
        except (Conflict, Gone):
            return  # it says something else by now
        try:
            told = await self._tell(key, said.get(names.LABEL_SNAPSHOT, ""), verdict)
        except Exception as error:  # a defect: whatever it was, it is not done twice
            log.error("review.not-told", namespace=key[0], deployment=key[1], error=type(error).__name__)
            told = Told.PERHAPS
        self._telemetry.review_verdicts.labels(told).inc()
        if told is Told.NOT_SENT:
            self._later.add(names.key_of(item))
            await self._write(names.key_of(item), _Unwritten(None, begun["metadata"]["resourceVersion"]))
        else:
            await self._end(item, {Told.COUNTED: verdict, Told.PERHAPS: _UNKNOWN}.get(told, told.value))

    async def _end(self, item: JsonObject, what: str) -> None:
        """Write what became of it, and tell it where it did not count."""
        if what not in Verdict.__members__.values():
            self._tell_of(item, what)
        await self._write(names.key_of(item), _Unwritten(what))

    async def _write(self, key: Key, left: _Unwritten) -> None:
        """Until it is written it is known here. A beginning is taken back by whom it was, and by nobody after."""
        self._unwritten[key] = left
        version = {"resourceVersion": left.version} if left.version else {}
        item: JsonObject = {
            "apiVersion": kinds.REVIEW_ITEM.api_version,
            "kind": kinds.REVIEW_ITEM.name,
            "metadata": {"namespace": key[0], "name": key[1], **version},
        }
        with suppress(Gone, Conflict):  # of a conflict the next settling makes an end
            await self._cluster.label(item, {names.LABEL_COUNTED: left.what}, only_if_unchanged=bool(version))
        del self._unwritten[key]

    def _tell_of(self, item: JsonObject, what: str) -> None:
        namespace, name = names.key_of(item)
        deployment = labels_of(item).get(names.LABEL_MODEL_DEPLOYMENT, "")
        log.warning("review.not-counted", namespace=namespace, deployment=deployment, item=name, why=what)
        body = self._cache.get(kinds.MODEL_DEPLOYMENT, namespace, deployment)
        if body is not None:
            text = _WHY.get(what, what).format(item=name)
            self._events.record(body, Reason.REVIEW_NOT_COUNTED.value, text, warning=True)

    async def _delete_old(self, namespace: str | None) -> None:
        async for items in self._cluster.pages_of_metadata(kinds.REVIEW_ITEM, namespace):
            self._used = self._used or bool(items)
            for item in items:
                if self._is_old(item) and self._leading():
                    await self._delete(item)

    def _is_old(self, item: JsonObject) -> bool:
        namespace = item["metadata"]["namespace"]
        body = self._cache.get(kinds.MODEL_DEPLOYMENT, namespace, labels_of(item).get(names.LABEL_MODEL_DEPLOYMENT, ""))
        how = review_of(body) if body else None
        made = moment(item["metadata"].get("creationTimestamp"))
        if how is None:
            # Gone with its deployment, or a spec that cannot be read now: a correction may come.
            return body is None or not (body["spec"].get("guard") or {}).get("review")
        return made is None or self._clock() - made > how.expires

    async def _delete(self, item: JsonObject) -> None:
        namespace, name = names.key_of(item)
        try:
            await self._cluster.delete(kinds.REVIEW_ITEM, namespace, name, uid=item["metadata"]["uid"])
        except (Conflict, Gone):
            return
        log.info("review.expired", namespace=namespace, item=name)
        if names.LABEL_REVIEWED in labels_of(item) and not is_counted(item):
            self._tell_of(item, _EXPIRED)


_WHY: Final = {
    _EXPIRED: "what was said of {item} is not counted: it has expired, or spec.guard.review was removed, before it was",
    _UNKNOWN: (
        "what was said of {item} may not have been counted: the operator or the router was away in that moment; it is "
        "not counted again"
    ),
    _NO_VERDICT: "what was said of {item} is not counted: the label serin.dev/reviewed is neither right nor wrong",
    Told.UNKNOWN_VERSION.value: "what was said of {item} is not counted: its version has gone from the router",
}
