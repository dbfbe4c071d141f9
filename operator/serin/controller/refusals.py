"""What the API server did not let Serin write: its words, and when it is sent again.

A pod template that is refused is mostly wrong and stays so: it is not sent at every look, and the version fails. All
else (a quota that is full, a policy, a right that is missing) may end at any moment without a change of the spec, so it
is sent again soon. Both wait longer each time. Kept in memory only: a new leader finds out by sending it once more.
"""

from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import Final

from serin.api.names import Key

# Of a pod template; and of what may end at any moment.
FIRST_WAIT: Final = 60.0
LONGEST_WAIT: Final = 900.0
_FIRST_DENIED_WAIT: Final = 5.0
_LONGEST_DENIED_WAIT: Final = 60.0


@dataclass(frozen=True, slots=True)
class Refusal:
    """What the API server said. `since`, `again_at`: unix seconds. `wait`: seconds between the last two.

    `kind`: of the object. `final`: it is a new pod template, and its content is what is refused.
    """

    kind: str
    message: str
    since: float
    wait: float
    again_at: float
    final: bool


class Refusals:
    """The refusals of every deployment, by snapshot; by the deployment's own name for what leads clients to it."""

    def __init__(self) -> None:
        self._found: dict[Key, dict[str, Refusal]] = {}

    def add(
        self, deployment: Key, name: str, message: str, now: float, *, kind: str = "Deployment", final: bool = True
    ) -> None:
        """It was refused at `now` (unix seconds), perhaps once more."""
        found = self._found.setdefault(deployment, {})
        before = found.get(name)
        first, longest = (FIRST_WAIT, LONGEST_WAIT) if final else (_FIRST_DENIED_WAIT, _LONGEST_DENIED_WAIT)
        wait = min(longest, before.wait * 2) if before and before.final is final else first
        found[name] = Refusal(kind, message, before.since if before else now, wait, now + wait, final)

    def remove(self, deployment: Key, name: str, kind: str = "Deployment") -> None:
        """An object of this kind was accepted."""
        found = self._found.get(deployment, {})
        if name in found and found[name].kind == kind:
            del found[name]

    def of(self, deployment: Key) -> Mapping[str, Refusal]:
        """What is refused of a deployment, by name."""
        return self._found.get(deployment, {})

    def keep(self, deployment: Key, in_play: Container[str]) -> Mapping[str, Refusal]:
        """By name, of those `in_play`; others are forgotten: whoever tries them again sends them again."""
        kept = {name: one for name, one in self._found.pop(deployment, {}).items() if name in in_play}
        if kept:
            self._found[deployment] = kept
        return kept

    def forget(self, deployment: Key) -> None:
        """The deployment is gone."""
        self._found.pop(deployment, None)
