"""Resources that one Envoy has refused: kept away from the rest that it gets, so that one bad deployment blocks nobody.

Every Envoy has its own: what one refuses, perhaps for a reason of its own, all others still get.

Envoy's REST client says neither why it refuses a response nor which resource is to blame: its next request has the old
version and no `error_detail`, which only its gRPC client sends (tried with Envoy 1.40; a test notices when that
changes). The reason is in its log. So the resource is found by trying: of those that are new in the response, half is
withheld, until a single one is refused. In place of a resource that is refused or withheld, the content that was
accepted last is served, or nothing when there is none. A minute later, or when its content changes, it is sent again.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from serin.api.names import Key
from serin.routers.envoy.xds.resources import Kind, Resource

# A port that was taken, for example, may be free by then.
_RETRY: Final = 60.0

_WORDS: Final = {
    Kind.CLUSTERS: "cluster",
    Kind.ENDPOINTS: "endpoints",
    Kind.LISTENERS: "listener",
    Kind.ROUTES: "routes",
}

_Place = tuple[Kind, str]


@dataclass(frozen=True, slots=True)
class _Refusal:
    digest: str
    node: str
    retry_at: float


class Quarantine:
    """What one Envoy has refused, and what it has accepted last."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._refusals: dict[_Place, _Refusal] = {}
        self._withheld: dict[Kind, frozenset[str]] = {}
        self._accepted: dict[_Place, Resource] = {}
        self._known: set[Kind] = set()  # kinds of which something was accepted in this process' time

    def accept(self, kind: Kind, resources: Iterable[Resource]) -> None:
        """The Envoy has taken these. What was withheld is sent from now on."""
        self._known.add(kind)
        self._withheld.pop(kind, None)
        for item in resources:
            self._accepted[kind, item.name] = item
            refusal = self._refusals.get((kind, item.name))
            if refusal is not None and refusal.digest == item.digest:
                del self._refusals[kind, item.name]

    def refuse(self, kind: Kind, resources: Iterable[Resource], node: str, *, empty: bool) -> bool:
        """The Envoy has refused these. `empty`: it has nothing of the kind yet, so nothing can be taken from it.

        Returns whether something else will be sent to it now. Right after the operator's start nobody knows what
        it has accepted before; then nothing is withheld, as that could take from it what it serves.
        """
        fresh = sorted(
            (item for item in resources if self._accepted.get((kind, item.name)) != item), key=lambda item: item.name
        )
        if len(fresh) == 1:
            self._refusals[kind, fresh[0].name] = _Refusal(fresh[0].digest, node, self._clock() + _RETRY)
            self._withheld.pop(kind, None)
        elif fresh and (empty or kind in self._known):
            half = frozenset(item.name for item in fresh[(len(fresh) + 1) // 2 :])
            self._withheld[kind] = self._withheld.get(kind, frozenset()) | half
        else:
            return False
        return True

    def safe(self, kind: Kind, wanted: Resource) -> Resource | None:
        """What to serve of `wanted`: itself, or what was accepted last, or nothing."""
        refusal = self._refusals.get((kind, wanted.name))
        refused = refusal is not None and refusal.digest == wanted.digest and refusal.retry_at > self._clock()
        if refused or wanted.name in self._withheld.get(kind, ()):
            return self._accepted.get((kind, wanted.name))
        return wanted

    def changed(self, kind: Kind, wanted: Resource) -> None:
        """This is what is wanted now: a refusal of other content no longer counts."""
        refusal = self._refusals.get((kind, wanted.name))
        if refusal is not None and refusal.digest != wanted.digest:
            del self._refusals[kind, wanted.name]

    def forget(self, kind: Kind, name: str) -> None:
        """It is no longer wanted."""
        self._accepted.pop((kind, name), None)
        self._refusals.pop((kind, name), None)

    def messages(self) -> dict[Key, str]:
        """One sentence per deployment. The first two parts of every resource's name are the deployment's."""
        return {
            _deployment(name): f"router pod {refusal.node} refuses the {_WORDS[kind]} {name}; its log says why"
            for (kind, name), refusal in sorted(self._refusals.items())
        }


def _deployment(name: str) -> Key:
    namespace, deployment, *_ = name.split("/")
    return namespace, deployment
