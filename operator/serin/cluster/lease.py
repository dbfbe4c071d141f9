"""One writer at a time: leader election on a single coordination.k8s.io Lease.

The rule that keeps two replicas from writing at once, whatever their clocks say:

1. A leader counts its term from *before* it sent the renewal, on its own clock, and stops starting writes `margin`
   before the term ends (a write under way takes no longer than that).
2. A standby counts the same term from *after* it first saw that renewal, on its own clock.

So the leader's end always comes first. The clock is one that nobody sets, and it goes on while the machine sleeps
(`boottime`): after a long sleep a leader's term is over. Nobody compares the times that others wrote: they are for
people. `decide` is the whole policy and pure; `Election` is the loop around it. It refuses to fence: status writes
carry the version they were planned on, which does that.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Protocol

import structlog

from serin.api.json import JsonObject
from serin.cluster import kinds
from serin.cluster.protocol import ClusterError, Conflict, Gone, Kind, is_newer

log: Final = structlog.get_logger("serin.lease")


def boottime() -> float:
    """Seconds on a clock that nobody sets; on Linux, one that goes on while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


class LeaseClient(Protocol):
    """The three requests that an election needs; KubernetesCluster has them."""

    async def get(self, kind: Kind, namespace: str, name: str) -> JsonObject:
        """Read one object. Raises Gone when it does not exist."""

    async def create(self, body: JsonObject) -> JsonObject:
        """Create an object. Raises Conflict when its name is taken."""

    async def apply(self, body: JsonObject, *, force: bool = True) -> JsonObject:
        """Server-side apply; with metadata.resourceVersion set, Conflict when the object has moved."""


@dataclass(frozen=True, slots=True)
class Terms:
    """Seconds: how long a term lasts, how early its holder stops, how often it renews, how often a standby retries."""

    duration: float = 15.0
    margin: float = 5.0
    renew: float = 4.0
    retry_period: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.renew < self.duration - self.margin or self.duration < 1:
            raise ValueError(
                f"a lease of {self.duration:g} s whose holder stops {self.margin:g} s early must be renewed more often "
                f"than every {self.renew:g} s"
            )


@dataclass(frozen=True, slots=True)
class Sighting:
    """The Lease as last read, and when this version of it was first seen (local `boottime`)."""

    holder: str
    duration: float
    version: str
    transitions: int
    since: float


@dataclass(frozen=True, slots=True)
class Take:
    """Try to become the holder, now."""

    transitions: int


@dataclass(frozen=True, slots=True)
class Wait:
    """Somebody else holds it: read it again in so many seconds."""

    seconds: float


def decide(me: str, sighting: Sighting, now: float, terms: Terms) -> Take | Wait:
    """What to do about the Lease as it was seen; `now` is on the clock of `sighting.since`.

    A term is over once its whole duration has passed since it was first seen. A released lease is free at once, and
    one's own from an earlier life too (the name is new with every start, so this is a lost answer to a renewal).
    """
    if sighting.holder == me:
        return Take(sighting.transitions)
    if not sighting.holder:
        return Take(sighting.transitions + 1)
    left = sighting.since + sighting.duration - now
    if left <= 0:
        return Take(sighting.transitions + 1)
    return Wait(min(left, terms.retry_period))


class Election:
    """Stands for election, leads, renews, steps down; `lead` runs for as long as this replica is the leader.

    `identity` must be unique among replicas and lives. `clock` gives seconds, as `boottime` does; `wall` the times that
    are written into the Lease, which only people read. `on_other` is called whenever another replica is seen to hold
    it, `on_restored` when its version is lower than one before: etcd was restored from a backup.
    """

    def __init__(
        self,
        client: LeaseClient,
        namespace: str,
        name: str,
        identity: str,
        *,
        terms: Terms | None = None,
        clock: Callable[[], float] = boottime,
        wall: Callable[[], datetime] = lambda: datetime.now(UTC),
        on_other: Callable[[], None] = lambda: None,
        on_restored: Callable[[], None] = lambda: None,
    ) -> None:
        self._client, self._namespace, self._name, self._me = client, namespace, name, identity
        self._terms, self._clock, self._wall, self._on_other = terms or Terms(), clock, wall, on_other
        self._on_restored = on_restored
        self._sighting: Sighting | None = None
        self._newest = ""  # the version that was seen last, also of a Lease that is gone
        self._leading = False
        self._end = 0.0
        self._acquired = ""

    def leading(self) -> bool:
        """Whether a write may be started at this very moment. Ask before each."""
        return self._leading and self._clock() < self._end

    async def run(self, lead: Callable[[], Awaitable[None]]) -> None:
        """Stand for election until cancelled; while elected, `lead` runs, and is cancelled before the term can end.

        Cancelling releases the lease, once `lead` has stopped.
        """
        while True:
            try:
                await self._until_elected()
                log.info("lease.acquired", lease=self._name, identity=self._me)
                await self._lead(lead)
            finally:
                await self._release()
            log.warning("lease.lost", lease=self._name, identity=self._me)

    async def _lead(self, lead: Callable[[], Awaitable[None]]) -> None:
        self._leading = True
        work = asyncio.ensure_future(lead())
        try:
            await self._renew_while(work)
        finally:
            # First no new writes, then nothing under way; somebody else's turn is after that.
            self._leading = False
            await _stop(work)

    async def _until_elected(self) -> None:
        while True:
            try:
                decision = await self._read()
                if isinstance(decision, Take) and await self._take(decision.transitions):
                    return
                pause = decision.seconds if isinstance(decision, Wait) else self._terms.retry_period
            except ClusterError as error:
                log.warning("lease.unreadable", lease=self._name, error=error.message)
                pause = self._terms.retry_period
            await asyncio.sleep(pause)

    async def _renew_while(self, work: "asyncio.Future[None]") -> None:
        """Renew until the term cannot be prolonged in time, or the work ends by itself (which is an error)."""
        renew_at = self._clock() + self._terms.renew
        while self.leading():
            wait = max(0.0, min(renew_at, self._end) - self._clock())
            done, _ = await asyncio.wait([work], timeout=wait)
            if done:
                work.result()
                raise RuntimeError("the leader's work ended by itself")
            if not self.leading():
                return
            renewed = await self._renew()
            if renewed is False:
                return
            renew_at = self._clock() + (self._terms.renew if renewed else min(1.0, self._terms.renew))

    async def _renew(self) -> bool | None:
        """True: renewed. False: somebody else has it. None: no answer in time, try again while the term lasts."""
        sighting = self._sighting
        if sighting is None:
            return False
        try:
            async with asyncio.timeout(max(0.0, self._end - self._clock())):
                if await self._take(sighting.transitions):
                    return True
                decision = await self._read()
                return None if isinstance(decision, Take) and self._sighting_is_mine() else False
        except (ClusterError, TimeoutError) as error:
            log.warning("lease.not-renewed", lease=self._name, error=str(error) or "no answer in time")
            return None

    def _sighting_is_mine(self) -> bool:
        return self._sighting is not None and self._sighting.holder == self._me

    async def _read(self) -> Take | Wait:
        try:
            body = await self._client.get(kinds.LEASE, self._namespace, self._name)
        except Gone:
            self._sighting = None
            return Take(0)
        self._see(body, self._clock())
        assert self._sighting is not None
        return decide(self._me, self._sighting, self._clock(), self._terms)

    def _see(self, body: JsonObject, now: float) -> None:
        spec, version = body.get("spec", {}), body["metadata"]["resourceVersion"]
        if is_newer(self._newest, than=version):
            log.warning("lease.version-went-back", lease=self._name, before=self._newest, now=version)
            self._on_restored()
        self._newest = version
        since = self._sighting.since if self._sighting and self._sighting.version == version else now
        self._sighting = Sighting(
            holder=spec.get("holderIdentity") or "",
            duration=float(spec.get("leaseDurationSeconds", self._terms.duration)),
            version=version,
            transitions=spec.get("leaseTransitions", 0),
            since=since,
        )
        if self._sighting.holder not in ("", self._me):
            self._on_other()

    async def _take(self, transitions: int) -> bool:
        """Write oneself as holder; False when somebody was faster. The term starts before the request is sent."""
        started = self._clock()
        if not self._sighting_is_mine():
            self._acquired = self._timestamp()
        try:
            body = await self._write(self._me, transitions)
        except Conflict:
            return False
        self._see(body, self._clock())
        self._end = started + self._terms.duration - self._terms.margin
        return True

    async def _release(self) -> None:
        """Give the lease back, so that a standby need not wait for the end of the term. Best effort.

        It reads before it writes: whoever is cancelled with a request under way does not know whether it was carried
        out, so neither the version last seen nor the holder last seen can be relied on.
        """
        with suppress(ClusterError, TimeoutError):
            async with asyncio.timeout(self._terms.margin):
                while mine := await self._read_if_mine():
                    with suppress(Conflict):
                        self._see(await self._write("", mine.transitions), self._clock())
                        log.info("lease.released", lease=self._name, identity=self._me)
                        return

    async def _read_if_mine(self) -> Sighting | None:
        """The Lease as it is now, if this replica holds it."""
        await self._read()
        return self._sighting if self._sighting_is_mine() else None

    async def _write(self, holder: str, transitions: int) -> JsonObject:
        """Write the Lease on top of the version last seen. Raises Conflict when that is no longer the newest."""
        metadata: JsonObject = {"namespace": self._namespace, "name": self._name}
        spec: JsonObject = {
            "holderIdentity": holder,
            "leaseDurationSeconds": round(self._terms.duration),
            "leaseTransitions": transitions,
            "acquireTime": self._acquired,
            "renewTime": self._timestamp(),
        }
        body = {"apiVersion": kinds.LEASE.api_version, "kind": kinds.LEASE.name, "metadata": metadata, "spec": spec}
        if self._sighting is None:
            return await self._client.create(body)
        metadata["resourceVersion"] = self._sighting.version
        return await self._client.apply(body)

    def _timestamp(self) -> str:
        return self._wall().strftime("%Y-%m-%dT%H:%M:%S.%fZ")


async def _stop(work: "asyncio.Future[None]") -> None:
    """Cancel and wait until it has really ended; its own error, if any, was raised where it was awaited."""
    work.cancel()
    await asyncio.wait([work])
