"""Statuses that were decided and are not written yet, because nothing but numbers has changed in them.

In memory, and of one term: whoever leads next reads what is written, and counts again from where its evidence ends.
What is kept goes on from one written status, and is void as soon as another one is seen.
"""

from collections.abc import Callable
from dataclasses import dataclass
from zlib import crc32

from serin.api.json import JsonObject
from serin.api.names import Key, key_of
from serin.rollout.model import Written


@dataclass(frozen=True, slots=True)
class _Kept:
    """`since`: the written status that `status` goes on from. `uid`: whose."""

    uid: str
    since: JsonObject
    status: JsonObject


class Unwritten:
    """`every`: seconds between two writes of one deployment that change numbers alone; `clock`: unix seconds."""

    def __init__(self, every: Callable[[], float], clock: Callable[[], float]) -> None:
        self._every, self._clock = every, clock
        self._began = clock()
        self._kept: dict[Key, _Kept] = {}
        self._at: dict[Key, float] = {}

    def status_of(self, body: JsonObject) -> JsonObject:
        """The status to go on from: what is kept, or else what is written."""
        key, written = key_of(body), _status(body)
        kept = self._kept.get(key)
        if kept is None:
            return written
        if kept.uid != body["metadata"]["uid"] or (kept.since is not written and kept.since != written):
            del self._kept[key]
            return written
        return kept.status

    def keep(self, body: JsonObject, status: JsonObject) -> None:
        """Go on from `status`, which was planned on `body`, until it is written."""
        self._kept[key_of(body)] = _Kept(body["metadata"]["uid"], _status(body), status)

    def written(self, body: JsonObject) -> Written:
        """What is written, and when numbers in it are to be written again."""
        key = key_of(body)
        phase = crc32("/".join(key).encode()) / 2**32
        return Written(_status(body), self._at.get(key, self._began), self._every(), phase)

    def wrote(self, key: Key) -> None:
        """A status was written now."""
        self._at[key] = self._clock()

    def forget(self, key: Key) -> None:
        """The deployment is gone."""
        self._kept.pop(key, None)
        self._at.pop(key, None)


def _status(body: JsonObject) -> JsonObject:
    status: JsonObject = body.get("status") or {}
    return status
