"""The Secret with the key that operator and guard share: read by every replica, and filled by the first one.

The chart makes it empty, as a key of the chart's own would be another one at each rendering. So the operator needs no
right to make Secrets: it reads and patches this one alone. The guard's pods mount the key, and start when it is there.

Nothing waits for it but the guard: without a key it refuses what it is told, which is said of each deployment that
has one in its spec, and everything else goes on. A key that was read stays while the API server is away.
"""

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

import structlog

from serin.api.guard_keys import DATA, SECRET, new_key, read_key
from serin.api.json import JsonObject
from serin.cluster import kinds
from serin.cluster.protocol import ClusterError, Conflict, Gone, Kind

log: Final = structlog.get_logger("serin.router")

_EVERY_SECONDS: Final = 60.0
_AGAIN_SECONDS: Final = 5.0


class SecretClient(Protocol):
    """The two requests that this needs; KubernetesCluster has them."""

    async def get(self, kind: Kind, namespace: str, name: str) -> JsonObject:
        """Read one object. Raises Gone when it does not exist."""

    async def apply(self, body: JsonObject, *, force: bool = True) -> JsonObject:
        """Server-side apply; with metadata.resourceVersion set, Conflict when the object has moved."""


class GuardSecret:
    """`key`: b"" as long as there is none; `problem` says why, when that is known. `changed` is called for both."""

    def __init__(self, namespace: str, client: Callable[[], SecretClient], changed: Callable[[], None]) -> None:
        self._namespace, self._client, self._changed = namespace, client, changed
        self._looked = asyncio.Event()
        self.key = b""
        self.problem = ""

    async def run(self) -> None:
        """Keep it up to date, until cancelled."""
        while True:
            await self.look()
            self._looked.set()
            await asyncio.sleep(_EVERY_SECONDS if self.key else _AGAIN_SECONDS)

    async def looked(self, seconds: float) -> None:
        """Wait for the first look, no longer than this."""
        try:
            async with asyncio.timeout(seconds):
                await self._looked.wait()
        except TimeoutError:
            log.warning("guard.key-late", seconds=seconds)

    async def look(self) -> None:
        """Read the key, and write one where there is none."""
        name = f"the Secret {self._namespace}/{SECRET}"
        try:
            self._take(await self._read_or_write())
        except Gone:
            self._fail(f"{name} is missing, which the chart makes: install Serin's chart again")
        except ClusterError as error:
            self._fail(f"{name} cannot be read or written: {error.message}")
        except ValueError as error:
            self._fail(f"{name} has under {DATA} what is no key ({error}): remove that, and the operator writes one")

    async def _read_or_write(self) -> bytes:
        try:
            return await self._read()
        except Conflict:  # another replica was faster, and its key is there now
            return await self._read()

    async def _read(self) -> bytes:
        client = self._client()
        found = await client.get(kinds.SECRET, self._namespace, SECRET)
        if not (found.get("data") or {}).get(DATA):
            found = await client.apply(self._with(new_key(), found["metadata"]["resourceVersion"]))
            log.info("guard.key-written", secret=SECRET)
        return read_key((found.get("data") or {}).get(DATA, ""))

    def _with(self, key: str, version: str) -> JsonObject:
        metadata = {"namespace": self._namespace, "name": SECRET, "resourceVersion": version}
        return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": {DATA: key}}

    def _take(self, key: bytes) -> None:
        if key != self.key:
            self.key, self.problem = key, ""
            log.info("guard.key-read")
            self._changed()

    def _fail(self, why: str) -> None:
        """The last key stays, if there was one."""
        if self.key:
            log.warning("guard.key-unread", why=why)
        elif why != self.problem:
            log.warning("guard.key-missing", why=why)
            self.problem = why
            self._changed()
