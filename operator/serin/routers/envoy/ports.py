"""Which listener port of the router a model deployment gets: its own, for as long as it lives.

A port is one deployment's, whatever the statuses say: a backup that is restored may bring a second one with the same.
Then it is the older one's, and the other gets another; until that is written the other has no listener at all.

What is taken is read from every deployment's status, by an index. Two that are looked at in the same moment must not
find the same port free, so a port handed out is kept back until the status that takes it has been seen; only the leader
hands out. The search starts at a place of the deployment's own, so that two leaders in a row, one with a cache a moment
old, do not meet at the same port either.
"""

import zlib
from typing import Final

from serin.api.json import JsonObject
from serin.api.names import Key
from serin.cluster import kinds
from serin.cluster.cache import ObjectCache
from serin.routers.envoy.routed_model import PORTS, read_port

FIRST: Final = PORTS[0]
LAST: Final = PORTS[-1]
_COUNT: Final = len(PORTS)
_INDEX: Final = "listener-port"


class PortsExhausted(RuntimeError):
    """More model deployments than ports."""


class Ports:
    """Hands out listener ports."""

    def __init__(self, cache: ObjectCache) -> None:
        self._cache = cache
        self._reserved: dict[Key, int] = {}
        cache.add_index(_INDEX, kinds.MODEL_DEPLOYMENT, _taken)

    def free_for(self, key: Key) -> int:
        """The deployment's port, or one that no other deployment has; the same one on every call.

        Raises PortsExhausted.
        """
        mine = self._taken_by(key)
        if mine is not None and self.holder(mine) == key:
            self._reserved.pop(key, None)
            return mine
        self._release()
        others = {port for one, port in self._reserved.items() if one != key}
        port = self._reserved.get(key)
        if port is None or port in others or self._cache.by_index(_INDEX, port):
            self._reserved.pop(key, None)
            port = self._reserved[key] = self._search(zlib.crc32("/".join(key).encode()), others)
        return port

    def holder(self, port: int) -> Key | None:
        """Whose port it is: the oldest deployment's of those that have it in their status; None: nobody's."""
        claims = self._cache.by_index(_INDEX, port)
        return min(map(_claim, claims))[-1] if claims else None

    def others(self, body: JsonObject) -> tuple[Key, ...]:
        """Other deployments with the port that is in this one's status."""
        port, key = _taken(body), _claim(body)[-1]
        found = self._cache.by_index(_INDEX, port) if port is not None else ()
        return tuple(one for one in (_claim(other)[-1] for other in found) if one != key)

    def _release(self) -> None:
        """Forget what was set aside for deployments that have their port by now, or are gone."""
        for key in list(self._reserved):
            mine = self._taken_by(key)
            if (mine is not None and self.holder(mine) == key) or self._cache.get(kinds.MODEL_DEPLOYMENT, *key) is None:
                del self._reserved[key]

    def _taken_by(self, key: Key) -> int | None:
        body = self._cache.get(kinds.MODEL_DEPLOYMENT, *key)
        return None if body is None else _taken(body)

    def _search(self, start: int, others: set[int]) -> int:
        for step in range(_COUNT):
            port = FIRST + (start + step) % _COUNT
            if port not in others and not self._cache.by_index(_INDEX, port):
                return port
        raise PortsExhausted(f"all {_COUNT:,} listener ports of the router are taken: delete model deployments")


def _claim(body: JsonObject) -> tuple[str, str, Key]:
    """What a claim to a port is worth: the smallest has it. The deployment that makes it comes last."""
    metadata = body["metadata"]
    key = metadata["namespace"], metadata["name"]
    return str(metadata.get("creationTimestamp") or ""), str(metadata.get("uid") or ""), key


def _taken(body: JsonObject) -> int | None:
    """The port that a deployment has, None before it has one, or when it has none that can be read."""
    try:
        return read_port((body.get("status") or {}).get("router") or {})
    except (ValueError, AttributeError):  # no map, where one belongs
        return None
