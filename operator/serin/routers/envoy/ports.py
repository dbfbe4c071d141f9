"""Which listener port of the router a model deployment gets: its own, for as long as it lives.

What is taken is read from every deployment's status. Two that are looked at in the same moment must not find the same
port free, so a port handed out is kept back until the status that takes it has been seen; only the leader hands out.
The search starts at a place of the deployment's own, so that two leaders in a row, one with a cache a moment old, do
not meet at the same port either.
"""

import zlib
from typing import Final

from serin.api.status import read_state
from serin.cluster import kinds
from serin.cluster.cache import ObjectCache

FIRST: Final = 10_000
LAST: Final = 29_999
_COUNT: Final = LAST - FIRST + 1


class PortsExhausted(RuntimeError):
    """More model deployments than ports."""


class Ports:
    """Hands out listener ports. Keys are (namespace, name)."""

    def __init__(self, cache: ObjectCache) -> None:
        self._cache = cache
        self._reserved: dict[tuple[str, str], int] = {}

    def free_for(self, namespace: str, name: str) -> int:
        """A port that no other deployment has; the same one on every call. Raises PortsExhausted."""
        taken = self._taken()
        for key in [key for key in self._reserved if key in taken or not self._cache.get(kinds.MODEL_DEPLOYMENT, *key)]:
            del self._reserved[key]
        mine = (namespace, name)
        if mine in taken:
            return taken[mine]
        others = set(taken.values()) | {port for key, port in self._reserved.items() if key != mine}
        if self._reserved.get(mine) not in others and mine in self._reserved:
            return self._reserved[mine]
        self._reserved[mine] = self._search(zlib.crc32(f"{namespace}/{name}".encode()), others)
        return self._reserved[mine]

    def _taken(self) -> dict[tuple[str, str], int]:
        found = {}
        for body in self._cache.all(kinds.MODEL_DEPLOYMENT):
            port = (read_state(body.get("status") or {}).router.get("envoy") or {}).get("port")
            if port is not None:
                found[body["metadata"]["namespace"], body["metadata"]["name"]] = int(port)
        return found

    @staticmethod
    def _search(start: int, taken: set[int]) -> int:
        for step in range(_COUNT):
            port = FIRST + (start + step) % _COUNT
            if port not in taken:
                return port
        raise PortsExhausted(f"all {_COUNT} listener ports of the router are taken: delete model deployments")
