"""Resources that an Envoy has refused: kept away from the others, so that one bad deployment blocks nobody.

Envoy refuses an answer as a whole. The resources to blame are those that its error names, or else all that are new in
the answer. Until their content changes, or a minute has passed, the last content that was accepted is served in their
place, or nothing when there is none.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from serin.traffic.model import Key
from serin.traffic.xds.resources import Kind, Resource

# A port that was taken, for example, may be free by then.
_RETRY: Final = 60.0

_Place = tuple[Kind, str]


@dataclass(frozen=True, slots=True)
class _Refusal:
    digest: str
    message: str
    retry_at: float


class Quarantine:
    """What was refused, and what was last accepted."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._refusals: dict[_Place, _Refusal] = {}
        self._accepted: dict[_Place, Resource] = {}

    def accept(self, kind: Kind, resources: Iterable[Resource]) -> None:
        """An Envoy has taken these."""
        for item in resources:
            self._accepted[kind, item.name] = item
            refusal = self._refusals.get((kind, item.name))
            if refusal is not None and refusal.digest == item.digest:
                del self._refusals[kind, item.name]

    def refuse(self, kind: Kind, resources: Iterable[Resource], message: str) -> frozenset[str]:
        """An Envoy has refused these, and said why. Returns the names of those that are kept away from now on."""
        fresh = [item for item in resources if self._accepted.get((kind, item.name)) != item]
        blamed = [item for item in fresh if _mentions(message, item.name)] or fresh
        retry_at = self._clock() + _RETRY
        for item in blamed:
            self._refusals[kind, item.name] = _Refusal(item.digest, message, retry_at)
        return frozenset(item.name for item in blamed)

    def safe(self, kind: Kind, wanted: Resource) -> Resource | None:
        """What to serve of `wanted`: itself, or what was accepted last, or nothing."""
        refusal = self._refusals.get((kind, wanted.name))
        if refusal is None or refusal.digest != wanted.digest or refusal.retry_at <= self._clock():
            return wanted
        return self._accepted.get((kind, wanted.name))

    def prune(self, wanted: Mapping[Kind, Mapping[str, Resource]]) -> None:
        """Forget what is no longer wanted, and refusals of content that has changed since."""
        self._accepted = {place: item for place, item in self._accepted.items() if place[1] in wanted[place[0]]}
        self._refusals = {
            (kind, name): refusal
            for (kind, name), refusal in self._refusals.items()
            if name in wanted[kind] and wanted[kind][name].digest == refusal.digest
        }

    def messages(self) -> dict[Key, str]:
        """Envoy's words per deployment. The first two parts of every resource's name are the deployment's."""
        return {_deployment(name): refusal.message for (_, name), refusal in sorted(self._refusals.items())}


def _deployment(name: str) -> Key:
    namespace, deployment, *_ = name.split("/")
    return namespace, deployment


def _mentions(message: str, name: str) -> bool:
    """Whether the message has the whole name, not only as the beginning of a longer one."""
    return re.search(rf"(?<![\w./-]){re.escape(name)}(?![\w/-])", message) is not None
