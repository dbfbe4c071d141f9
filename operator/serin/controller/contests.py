"""Objects that Serin keeps and something else writes too: Serin's answers become rarer, and are told.

What others add to an object is theirs and no reason to write (cluster/owned.py). What they change of Serin's is put
back: at once the first times, since most such changes are a person's mistake. A controller or a webhook that changes it
again each time would otherwise be answered without end. A write counts when it says just what the last one of the same
object said: whoever decides anew is not repeating himself. Kept in memory only: a new leader begins afresh.
"""

from dataclasses import dataclass
from typing import Final

from serin.api.names import Key
from serin.rollout.model import Contested

# So many writes of the same are free; then the wait doubles from one second up to the longest.
_FREE: Final = 5
_LONGEST_SECONDS: Final = 60.0
# An object that nobody has changed back for so long is not contested any more.
_QUIET_SECONDS: Final = 600.0


@dataclass(frozen=True, slots=True)
class _Written:
    """The last write of an object. `wish`: hash of what it said; `times`: in how many looks in a row. Unix seconds."""

    wish: str
    times: int
    at: float

    def wait(self) -> float:
        """Seconds from this write to the next one that says the same."""
        over = self.times - _FREE
        return 0.0 if over < 0 else min(_LONGEST_SECONDS, 2.0 ** min(over, 10))


class Contests:
    """The last writes of every deployment's objects. An object is named by its kind and name."""

    def __init__(self) -> None:
        self._written: dict[Key, dict[tuple[str, str], _Written]] = {}

    def left(self, deployment: Key, named: tuple[str, str], wish: str, now: float) -> float:
        """Seconds until the same may be written again (0: now). What one look writes belongs together."""
        last = self._written.get(deployment, {}).get(named)
        if last is None or last.wish != wish or not last.at < now <= last.at + _QUIET_SECONDS:
            return 0.0
        return max(0.0, last.at + last.wait() - now)

    def add(self, deployment: Key, named: tuple[str, str], wish: str, now: float) -> None:
        """It was written at `now` (unix seconds)."""
        written = self._written.setdefault(deployment, {})
        last = written.get(named)
        again = last is not None and last.wish == wish and 0 <= now - last.at <= _QUIET_SECONDS
        times = last.times + (last.at != now) if last is not None and again else 1
        written[named] = _Written(wish, times, now)

    def of(self, deployment: Key, now: float) -> tuple[Contested, ...]:
        """What is contested of a deployment at `now`; what has been quiet is forgotten."""
        written = self._written.pop(deployment, {})
        kept = {named: one for named, one in written.items() if 0 <= now - one.at <= _QUIET_SECONDS}
        if kept:
            self._written[deployment] = kept
        return tuple(
            Contested(kind, name, until=one.at + _QUIET_SECONDS)
            for (kind, name), one in sorted(kept.items())
            if one.times > _FREE
        )

    def forget(self, deployment: Key) -> None:
        """The deployment is gone."""
        self._written.pop(deployment, None)
