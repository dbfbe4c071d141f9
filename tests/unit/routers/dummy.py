"""A router that tests bring along. It serves every split at once, unless it is told to keep what it has."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from serin.api.capabilities import Capability
from serin.api.json import JsonObject
from serin.api.names import Key
from serin.api.spec import ModelDeployment
from serin.api.split import Split
from serin.api.state import State
from serin.cluster.protocol import Kind
from serin.rollout.model import Route
from serin.routers.base import ClientSeries, CounterReader, Flag, Lowered, RouterContext, RouterType, Told

PATIENCE, POLL = 30.0, 0.25


@dataclass
class Dummy:
    """`published`: what was applied for it. `frozen`: what it serves whatever is decided. `lacks`: as in Route."""

    name: str = "dummy"
    capabilities: frozenset[Capability] = frozenset(Capability)
    request_template: str = "request-errors"
    client_series: ClientSeries | None = None
    counters: CounterReader | None = None
    lane: str = "left"
    published: list[JsonObject] = field(default_factory=list)
    frozen: Split | None = None
    lacks: str = ""
    lowered: dict[Key, Lowered] = field(default_factory=dict)
    told: list[tuple[Key, str, str]] = field(default_factory=list)

    def templates(self) -> Mapping[str, JsonObject]:
        return {}

    def observe(self, deployment: ModelDeployment, state: State) -> Route:
        """Its setting goes into the object that leads clients to it, its lane into what it keeps."""
        colour = deployment.spec.router.settings.get("colour")
        metadata = {"namespace": deployment.namespace, "name": deployment.name, "labels": {"colour": colour}}
        wanted: JsonObject = {"apiVersion": "v1", "kind": "Service", "metadata": metadata}
        return Route(
            split=self.frozen or state.split,
            repairs=() if wanted in self.published else (wanted,),
            router=self.name,
            state=state.router.get(self.name) or {"lane": self.lane},
            patience=PATIENCE,
            poll=POLL,
            lacks=self.lacks,
        )

    def lower(self, key: Key, lowered: Lowered | None) -> None:
        self.lowered.pop(key, None)
        if lowered is not None:
            self.lowered[key] = lowered

    async def tell_verdict(self, deployment: Key, snapshot: str, verdict: str) -> Told:
        self.told.append((deployment, snapshot, verdict))
        return Told.COUNTED

    def concerns(self, _kind: Kind, _body: JsonObject) -> Iterable[Key]:
        return ()

    async def serve(self) -> None:
        await asyncio.Event().wait()

    async def lead(self) -> None:
        await asyncio.Event().wait()


def add_arguments(flag: Flag) -> None:
    flag("dummy-lane", "left", "lane that the dummy router takes", choices=["left", "right"])


def build(context: RouterContext) -> Dummy:
    return Dummy(lane=str(context.options["dummy_lane"]))


DUMMY = RouterType(add_arguments, build, dict)
