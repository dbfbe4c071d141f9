"""What a router is to the rest of Serin, and what it is given to work with.

A router is a folder here and a line in the table `ROUTERS`. What carries its configuration, which ports it uses, how
long it may take and how its series are called is its own affair: others see a `Route`, objects to apply, and a state
that is kept for it.
"""

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from serin.api.capabilities import Capability
from serin.api.json import JsonObject
from serin.api.names import Key
from serin.api.spec import ModelDeployment
from serin.api.state import State

if TYPE_CHECKING:  # the command line starts with the table, and without what only the operator needs
    from prometheus_client import CollectorRegistry

    from serin.cluster.cache import ObjectCache
    from serin.cluster.protocol import Cluster, Kind
    from serin.rollout.model import Route


@dataclass(frozen=True, slots=True)
class Lowered:
    """A status that lowers traffic and is not written yet. `version`: the resource version that it was decided on."""

    uid: str
    version: str
    status: JsonObject


class CountersUnread(Exception):
    """A pod of the router did not say what it has counted; the message says why."""


@dataclass(frozen=True, slots=True)
class RouterPod:
    """A pod of the router. `address`: what Prometheus calls its instance. `serves`: whether clients may reach it."""

    name: str
    address: str
    serves: bool


@dataclass(frozen=True, slots=True)
class PodCounters:
    """What a pod has counted since its process began, `age` seconds ago.

    `series`: name, labels and value, as Prometheus would scrape them, without the labels that a scrape adds.
    """

    age: float
    series: tuple[tuple[str, Mapping[str, str], float], ...]


@dataclass(frozen=True, slots=True)
class ClientSeries:
    """The counters by which a router tells what clients got, as sums of selectors with {{.version}} in each.

    `answers`: by the version that was chosen for the request; `failures`: those that failed for the client. `shielded`:
    requests of the deployment that stable answered well in another version's place. `presence`: see metrics/catalog.py.
    """

    answers: str
    failures: str
    shielded: str
    presence: str


class Told(StrEnum):
    """What came of telling a router what a person says of an answer."""

    COUNTED = "counted"
    UNKNOWN_VERSION = "unknown-version"  # the router does not know the version any more
    NOT_SENT = "not-sent"  # no pod of it was reached, so none has counted it
    PERHAPS = "perhaps"  # it was sent, and there was no answer


class CounterReader(Protocol):
    """Reads the counters behind a router's metric templates from its own pods, before Prometheus has scraped them."""

    def pods(self) -> tuple[RouterPod, ...]:
        """Every pod that is listed, also one that does not serve."""

    async def read(self, pod: RouterPod, deployments: Collection[Key]) -> PodCounters:
        """What a pod has counted for these deployments. Raises CountersUnread, and soon."""


class Router(Protocol):
    """One router of one operator process."""

    @property
    def name(self) -> str:
        """The key under spec.router and status.router."""

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What it can do; what it cannot is refused before anything begins."""

    @property
    def request_template(self) -> str:
        """The built-in metric template that counts requests per snapshot; the split is measured by it."""

    @property
    def client_series(self) -> ClientSeries | None:
        """By which a report tells what a version was for clients; None: the router does not count that."""

    @property
    def counters(self) -> CounterReader | None:
        """How its counters are read from its pods; None: by Prometheus alone."""

    async def tell_verdict(self, deployment: Key, snapshot: str, verdict: str) -> Told:
        """Count what a person says of an answer of a version (guard_review.Verdict). Takes some seconds at most."""

    def templates(self) -> Mapping[str, JsonObject]:
        """Built-in metric templates that read this router's series: name to the JSON of a MetricTemplate's spec."""

    def observe(self, deployment: ModelDeployment, state: State) -> "Route":
        """What it serves for a deployment, as far as is known without a request. Raises InvalidSpec."""

    def lower(self, key: Key, lowered: Lowered | None) -> None:
        """Serve what this status says for as long as the deployment is in that version; None: as the cluster says."""

    def concerns(self, kind: "Kind", body: JsonObject) -> Iterable[Key]:
        """Deployments to look at when this object changes, beside those that the object belongs to."""

    async def serve(self) -> None:
        """Carry the routes to the router, on every replica from when the cache is complete, until cancelled."""

    async def lead(self) -> None:
        """What only the replica that decides has to do, until cancelled."""


class Flag(Protocol):
    """Defines one flag of `serin run`, with an environment variable behind it."""

    def __call__(self, name: str, default: str, text: str, **more: object) -> None:
        """`name` without hyphens in front; `more`: as for ArgumentParser.add_argument."""


@dataclass(frozen=True, slots=True)
class RouterContext:
    """What a router is built from.

    `namespace`: Serin's own. `options`: values of all flags, by name with underscores. `registry`: where it registers
    its metrics. `enqueue`: asks for a look at a deployment. `signing_keys`: asks the API server for the public keys of
    ServiceAccounts' tokens, as a JWK set; raises ClusterError. `cluster`: what a router may ask the API server while it
    serves.
    """

    cache: "ObjectCache"
    namespace: str
    options: Mapping[str, object]
    registry: "CollectorRegistry"
    enqueue: Callable[[Key], None]
    signing_keys: Callable[[], Awaitable[JsonObject]]
    cluster: Callable[[], "Cluster"]


@dataclass(frozen=True, slots=True)
class RouterType:
    """One line of the table: how a router's own flags are defined, how it is built, and what is known without it.

    `capabilities`, `templates`: as in Router. `latency_bounds`: upper bounds of its latency histogram in milliseconds.
    """

    add_arguments: Callable[[Flag], None]
    build: Callable[[RouterContext], Router]
    templates: Callable[[], Mapping[str, JsonObject]]
    capabilities: frozenset[Capability] = frozenset({Capability.WEIGHTS})
    latency_bounds: tuple[float, ...] = ()
