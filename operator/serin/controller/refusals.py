"""Pod templates that the API server did not accept: its words, and when they are sent again.

Most refusals are about the content and stay, so the same content is not sent at every look. Some end without any change
of the spec (a policy is mended), so it is sent again after a while, later each time. Kept in memory only: a new leader
finds out by sending it once more.
"""

from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import Final

from serin.api.names import Key

FIRST_WAIT: Final = 60.0
LONGEST_WAIT: Final = 900.0


@dataclass(frozen=True, slots=True)
class Refusal:
    """What the API server said. `since`, `again_at`: unix seconds. `wait`: seconds between the last two."""

    message: str
    since: float
    wait: float
    again_at: float


class Refusals:
    """The refusals of every deployment, by the snapshot whose template it is."""

    def __init__(self) -> None:
        self._found: dict[Key, dict[str, Refusal]] = {}

    def add(self, deployment: Key, snapshot: str, message: str, now: float) -> None:
        """It was refused at `now` (unix seconds), perhaps once more."""
        found = self._found.setdefault(deployment, {})
        before = found.get(snapshot)
        wait = min(LONGEST_WAIT, before.wait * 2) if before else FIRST_WAIT
        found[snapshot] = Refusal(message, before.since if before else now, wait, now + wait)

    def remove(self, deployment: Key, snapshot: str) -> None:
        """It was accepted."""
        self._found.get(deployment, {}).pop(snapshot, None)

    def of(self, deployment: Key, in_play: Container[str]) -> Mapping[str, Refusal]:
        """By snapshot, of those `in_play`; others are forgotten: whoever tries them again sends them again."""
        kept = {name: one for name, one in self._found.pop(deployment, {}).items() if name in in_play}
        if kept:
            self._found[deployment] = kept
        return kept

    def forget(self, deployment: Key) -> None:
        """The deployment is gone."""
        self._found.pop(deployment, None)
