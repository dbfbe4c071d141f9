"""Tells the receivers of spec.notifications what the outboxes in the status hold.

Outside of looks, so that no rollout waits for a receiver. Each deployment and receiver has a turn of its own: one that
does not answer holds up its own events alone, and is tried again, later each time. The same event may be sent twice,
after a crash or by an old leader; it has the same id. Nothing is kept but what was taken, until the status says it.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final
from weakref import WeakValueDictionary

import structlog

from serin.api.json import JsonObject
from serin.api.names import Key
from serin.api.notifications import Deliveries, Notification, outbox_of
from serin.api.spec import ModelDeployment
from serin.api.text import shortened
from serin.cluster import kinds
from serin.cluster.cache import ObjectCache
from serin.controller.due import Due
from serin.controller.notification_formats import body_of
from serin.controller.webhooks import NotTaken, Post, Webhook, post, webhook_of

log: Final = structlog.get_logger("serin.notifications")

# Seconds between two events of a deployment for a receiver: who makes many of them hurts nobody.
_PACE: Final = 0.5
# At once, for one receiver and namespace: what hangs there keeps no other namespace and no other receiver waiting.
_SIDE_BY_SIDE: Final = 2
_LONGEST_PROBLEM: Final = 512

Turn = tuple[Key, str]  # a deployment and a webhook


@dataclass(slots=True)
class _Line:
    """Of one turn. `taken`: ids that the status does not know of yet. `tried`: how often in vain since then.

    `refused`: ids that the receiver has refused, when it was asked for all; no other one waits for them.
    """

    taken: set[str] = field(default_factory=set)
    refused: frozenset[str] = frozenset()
    tried: int = 0
    problem: str = ""


class Notifier:
    """Empties outboxes; `run` until cancelled. `look` asks for a look; `leading` is asked before every request.

    `dashboard`: the address of the web page, to which messages lead; "" when there is none.
    """

    def __init__(
        self,
        cache: ObjectCache,
        look: Callable[[Key], None],
        leading: Callable[[], bool],
        webhooks: Mapping[str, Webhook],
        *,
        dashboard: str = "",
        clock: Callable[[], float] = time.monotonic,
        send: Post = post,
    ) -> None:
        self._cache, self._look, self._leading, self._dashboard = cache, look, leading, dashboard
        self._webhooks, self._send = webhooks, send
        self._due: Due[Turn] = Due(self._take_turn, clock)
        self._lines: dict[Key, dict[str, _Line]] = {}  # by webhook
        # Of those that are asked now: there may be any number of namespaces over time.
        self._places: WeakValueDictionary[tuple[str, str], asyncio.Semaphore] = WeakValueDictionary()
        self.close = cache.follow(kinds.MODEL_DEPLOYMENT, self._on_change)  # at the end of the term

    def seen(self, deployment: ModelDeployment) -> Deliveries:
        """What has come of a deployment's outbox."""
        lines = self._lines.get(deployment.key, {})
        taken = frozenset((one, webhook) for webhook, line in lines.items() for one in line.taken)
        return Deliveries(taken, "; ".join(line.problem for _, line in sorted(lines.items()) if line.problem))

    async def run(self) -> None:
        """Send whatever is due, until cancelled."""
        await self._due.run("notifications of")

    def _on_change(self, key: Key, after: JsonObject | None) -> None:
        pending = _pending(after)
        lines = self._lines.get(key, {})
        lines = {name: lines.get(name) or _Line() for name in {name for one in pending for name in one.receivers}}
        for name in self._lines.get(key, {}).keys() - lines.keys():
            self._due.drop((key, name))
        for name, line in lines.items():
            line.taken &= {one.id for one in pending}
            untold = {one.id for one in _untold(name, line, pending)}
            if untold and ((key, name) not in self._due or (line.refused and untold - line.refused)):
                self._due.now((key, name))
        self._lines.pop(key, None)
        if lines:
            self._lines[key] = lines

    async def _take_turn(self, turn: Turn) -> None:
        """Send what is there for one receiver, oldest first."""
        key, name = turn
        line = self._lines.get(key, {}).get(name)
        if line is None:
            return  # it is gone meanwhile
        try:
            again = await self._send_all(turn, line)
        except Exception:
            log.exception("notifications.failed", namespace=key[0], deployment=key[1], webhook=name)
            line.problem, again = f"webhook {name}: it could not be sent; the operator's log says why", True
        if again:
            self._due.later(turn, line.tried)
            line.tried += 1
            self._look(key)

    async def _send_all(self, turn: Turn, line: _Line) -> bool:
        """Whether something is left to be tried again."""
        key, name = turn
        try:
            webhook = webhook_of(self._webhooks, name, key[0])
        except NotTaken as error:
            self._tell_of(key, line, str(error))
            return True
        async with self._places.setdefault((key[0], name), asyncio.Semaphore(_SIDE_BY_SIDE)):
            return await self._send_to(webhook, key, line)

    async def _send_to(self, webhook: Webhook, key: Key, line: _Line) -> bool:
        """The same. What the receiver refuses holds up nothing after it; one that does not answer is not asked more."""
        body, refused = self._cache.get(kinds.MODEL_DEPLOYMENT, *key), set[str]()
        for place, one in enumerate(_untold(webhook.name, line, _pending(body))):
            if body is None or not self._leading():
                return False
            if place:
                await asyncio.sleep(_PACE)
            try:
                await self._send(webhook, body_of(webhook.format, body, one, self._dashboard))
            except NotTaken as error:
                self._tell_of(key, line, f"webhook {webhook.name}: {error}")
                if not error.refused:
                    line.refused = frozenset()
                    return True
                refused.add(one.id)
                continue
            log.info("notification.taken", namespace=key[0], deployment=key[1], webhook=webhook.name, event_id=one.id)
            line.taken.add(one.id)
            self._look(key)
        line.refused = frozenset(refused)
        if not refused:
            line.problem, line.tried = "", 0
        return bool(refused)

    def _tell_of(self, key: Key, line: _Line, why: str) -> None:
        line.problem = shortened(why, _LONGEST_PROBLEM)
        log.warning("notification.waits", namespace=key[0], deployment=key[1], why=line.problem)


def _untold(webhook: str, line: _Line, pending: tuple[Notification, ...]) -> list[Notification]:
    return [one for one in pending if webhook in one.receivers and one.id not in line.taken]


def _pending(body: JsonObject | None) -> tuple[Notification, ...]:
    status = (body or {}).get("status") or {}
    return outbox_of(status.get("notifications") or {}).pending
