"""Who gets which configuration when: the part of the xDS server that decides, without any I/O.

Make before break, for every Envoy by itself:

- a route names a cluster only when this Envoy has the cluster and its endpoints. A request for the
  endpoints that has a version proves both, and so does a route that it has. Lowering the candidate's traffic waits for
  nothing: it has a route to stable's cluster;
- a cluster goes away only when this Envoy no longer has, or is about to get, a route that names it.

What an Envoy has is known from its requests alone, so a restarted operator knows it again after one round of them, and
takes no cluster away before (SETTLE). All requests of one Envoy must reach the same operator replica (the Service has
session affinity); when they do not, a route waits no longer than GRACE seconds for its proof.

No Envoy waits for another one: what one has not taken yet, or refuses, is its own affair.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from serin.api.json import JsonObject
from serin.api.names import Key
from serin.api.split import NOWHERE, Split
from serin.routers.envoy.clusters import built_of, former_cluster, has_endpoints
from serin.routers.envoy.limits import Limits
from serin.routers.envoy.rendered import Rendered, render
from serin.routers.envoy.routed_model import RoutedModel
from serin.routers.envoy.routes import clusters_of
from serin.routers.envoy.xds.quarantine import Quarantine
from serin.routers.envoy.xds.resources import (
    COLLECTIONS,
    DiscoveryRequest,
    DiscoveryResponse,
    Kind,
    Resource,
    Topic,
    resource,
    response_of,
)

GRACE: Final = 3.0
SETTLE: Final = 1.0
# An Envoy without an open request sends one within a few tenths of a second, or it is gone.
_GONE_AFTER: Final = 5.0

_Place = tuple[Kind, str]  # kind and name of a resource


@dataclass(slots=True)
class _Node:
    """What one Envoy has, as its requests show."""

    since: float
    seen: float
    quarantine: Quarantine
    open: int = 0
    versions: dict[Topic, str] = field(default_factory=dict)
    sent: dict[Topic, DiscoveryResponse] = field(default_factory=dict)
    unconfirmed: dict[Topic, str] = field(default_factory=dict)  # versions that it refused, or that were lost
    refused: dict[Topic, str] = field(default_factory=dict)  # versions that it refused, by an unknown resource
    clusters: frozenset[str] | None = None  # in the last response to it, None when that was before our time
    listeners: frozenset[str] | None = None  # that it has, None when it got them before our time
    active: set[str] = field(default_factory=set)  # clusters with endpoints
    aggregates: frozenset[str] = frozenset()  # clusters that it has and that are made of others
    uses: dict[str, frozenset[str]] = field(default_factory=dict)  # clusters in the routes that it has or is getting

    def forget(self, kind: Kind, names: frozenset[str]) -> None:
        """Forget all other resources of a kind."""
        for known in (self.versions, self.sent, self.unconfirmed, self.refused):
            for topic in [topic for topic in known if topic[0] is kind and topic[1] not in names]:
                del known[topic]

    def used(self) -> frozenset[str]:
        """Clusters that it has a route to, or may have: a route that it got before our time is unknown."""

        def unknown(name: str) -> bool:
            return name not in self.uses and (self.listeners is None or name in self.listeners)

        perhaps = (built_of(cluster) for cluster in self.active if unknown(cluster.rpartition("/")[0]))
        return frozenset[str]().union(*perhaps, *self.uses.values())


@dataclass(slots=True)
class _Wanted:
    """One deployment as it should be served, and since when (clock of the delivery) its routes are as they are."""

    model: RoutedModel
    rendered: Rendered
    resources: Mapping[_Place, Resource]
    since: float
    announced: bool = False  # every Envoy has these routes, and `propagated` was called


class Delivery:
    """Desired resources, and what each Envoy has of them.

    Called are `propagated` for routes that every Envoy has taken, `refused` for requests after a response that was
    refused, `failed` for deployments that cannot be rendered.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        propagated: Callable[[Key, float], None],
        refused: Callable[[DiscoveryRequest], None],
        failed: Callable[[Key, Exception], None],
        address: str,
        limits: Limits,
    ) -> None:
        self._clock = clock
        self._refused = refused
        self._failed = failed
        self._propagated = propagated
        self._address, self._limits = address, limits
        self._wanted: dict[str, _Wanted] = {}
        self._resources: dict[Kind, dict[str, Resource]] = {kind: {} for kind in Kind}
        self._retired: dict[Kind, dict[str, Resource]] = {Kind.CLUSTERS: {}, Kind.ENDPOINTS: {}}
        self._splits: dict[str, dict[str, Split]] = {}  # by name and version of the routes
        self._unrendered: dict[Key, str] = {}
        self.renders = 0  # how often a deployment was rendered
        self._nodes: dict[str, _Node] = {}

    def update(self, models: Iterable[RoutedModel]) -> set[Topic]:
        """Take over all that should be served now. Returns what has changed."""
        changes: dict[Key, RoutedModel | None] = {item.model.key: None for item in self._wanted.values()}
        return self.change(changes | {model.key: model for model in models})

    def change(self, changes: Mapping[Key, RoutedModel | None]) -> set[Topic]:
        """Take over these deployments alone; None: no longer served. Returns what has changed.

        A deployment that cannot be rendered is served as before, and stops no other.
        """
        changed: set[Topic] = set()
        for key, model in changes.items():
            name = "/".join(key)
            old = self._wanted.get(name)
            self._unrendered.pop(key, None)
            if old is not None and old.model == model:
                continue
            try:
                new = None if model is None else self._render(model, old)
            except Exception as error:
                self._unrendered[key] = f"it cannot be rendered: {error}"
                self._failed(key, error)
                continue
            changed |= self._replace(name, old, new)
        return changed

    def _render(self, model: RoutedModel, old: "_Wanted | None") -> "_Wanted":
        """The deployment's resources; what has not changed keeps its hash."""
        self.renders += 1
        rendered, before = render(model, self._address, self._limits), old.resources if old else {}

        def made(place: _Place, body: JsonObject) -> Resource:
            known = before.get(place)
            return known if known is not None and known.body == body else resource(place[1], body)

        bodies: dict[_Place, JsonObject] = {
            (Kind.LISTENERS, rendered.name): rendered.listener,
            (Kind.ROUTES, rendered.name): rendered.routes,
            **{(Kind.CLUSTERS, name): body for name, body in rendered.clusters.items()},
            **{(Kind.ENDPOINTS, name): body for name, body in rendered.endpoints.items()},
        }
        resources = {place: made(place, body) for place, body in bodies.items()}
        same = old is not None and old.rendered.routes == rendered.routes
        if old is not None and same:
            return _Wanted(model, rendered, resources, old.since, old.announced)
        return _Wanted(model, rendered, resources, self._clock())

    def _replace(self, name: str, old: "_Wanted | None", new: "_Wanted | None") -> set[Topic]:
        """Serve `new` in the place of `old`. Returns what has changed."""
        before, after = old.resources if old else {}, new.resources if new else {}
        for kind, gone in before.keys() - after.keys():
            item = self._resources[kind].pop(gone)
            for node in self._nodes.values():
                node.quarantine.forget(kind, gone)
            if kind in self._retired:
                self._retired[kind][gone] = item
        for (kind, there), item in after.items():
            self._resources[kind][there] = item
            for node in self._nodes.values():
                node.quarantine.changed(kind, item)
            self._retired.get(kind, {}).pop(there, None)
        if new is None:
            self._wanted.pop(name, None)
            self._splits.pop(name, None)
        else:
            self._wanted[name] = new
            self._keep_splits(name, new.rendered.split)
        places = {place for place in before.keys() | after.keys() if before.get(place) is not after.get(place)}
        return {(kind, "" if kind in COLLECTIONS else changed) for kind, changed in places}

    def _keep_splits(self, name: str, split: Split) -> None:
        """Remember which split each version of a deployment's routes is, for as long as an Envoy may have it."""
        topic = (Kind.ROUTES, name)
        held = {node.versions.get(topic) for node in self._nodes.values()}
        held |= {node.sent[topic].version for node in self._nodes.values() if topic in node.sent}
        known = {version: one for version, one in self._splits.get(name, {}).items() if version in held}
        self._splits[name] = {**known, self._version(name): split}

    def on_request(self, request: DiscoveryRequest) -> set[Topic]:
        """Learn from a request what its Envoy has. Returns what others may wait for. `on_close` is called after it."""
        now = self._clock()
        node = self._nodes.get(request.node)
        if node is None:
            node = self._nodes[request.node] = _Node(now, now, Quarantine(self._clock))
        elif request.topic == (Kind.CLUSTERS, "") and not request.version and request.topic in node.versions:
            # It has been restarted under the same name, and has nothing; what it refuses, it will refuse again.
            node = self._nodes[request.node] = _Node(now, now, node.quarantine, open=node.open)
        node.seen = now
        node.open += 1
        sent = node.sent.pop(request.topic, None)
        if sent is not None and sent.version != request.version:
            return self._on_refusal(node, request, sent)
        node.unconfirmed.pop(request.topic, None)
        if request.kind is Kind.ENDPOINTS and not request.version:
            # It has made the cluster anew, and may get the endpoints that it had.
            node.active.discard(request.name)
            node.versions.pop(request.topic, None)
        if not request.version or node.versions.get(request.topic) == request.version:
            return set()
        node.versions[request.topic] = request.version
        node.refused.pop(request.topic, None)
        changed = self._on_version(node, request, self._content(node, request, sent))
        if request.kind is Kind.ROUTES:
            self._announce(request.name)
        return changed

    def _content(
        self, node: _Node, request: DiscoveryRequest, sent: DiscoveryResponse | None
    ) -> DiscoveryResponse | None:
        """What the Envoy's version is made of; None when it comes from before this process' time."""
        if sent is None:
            sent = response_of(request.kind, self._resources_for(node, request))
        return sent if sent.version == request.version else None

    def on_close(self, request: DiscoveryRequest) -> None:
        """The request has its response, or its connection is gone."""
        node = self._nodes.get(request.node)
        if node is not None:
            node.open -= 1
            node.seen = self._clock()

    def _on_version(self, node: _Node, request: DiscoveryRequest, content: DiscoveryResponse | None) -> set[Topic]:
        if content is not None:
            node.quarantine.accept(request.kind, content.resources)
            self._know(node, request, content)
        if request.kind is Kind.ENDPOINTS:
            if node.clusters is None or request.name in node.clusters:
                node.active.add(request.name)
            # A route of the same deployment may have waited for this.
            return {(Kind.ROUTES, request.name.rpartition("/")[0])}
        self._forget()
        waiting = {(Kind.ROUTES, name.rpartition("/")[0]) for name in node.aggregates}
        return {(Kind.CLUSTERS, "")} | (waiting if request.kind is Kind.CLUSTERS else set())

    def _know(self, node: _Node, request: DiscoveryRequest, content: DiscoveryResponse) -> None:
        """This is what the Envoy has, no more and no less."""
        names = frozenset(item.name for item in content.resources)
        match request.kind:
            case Kind.ROUTES:
                node.uses[request.name] = clusters_of(content.resources[0].body)
            case Kind.LISTENERS:
                node.listeners = names
                node.uses = {name: uses for name, uses in node.uses.items() if name in names}
                node.forget(Kind.ROUTES, names)
            case Kind.CLUSTERS:
                node.clusters = names
                node.aggregates = frozenset(name for name in names if not has_endpoints(name))

    def _on_refusal(self, node: _Node, request: DiscoveryRequest, sent: DiscoveryResponse) -> set[Topic]:
        """An Envoy that still has its old version has refused the response, or the response was lost: send it twice."""
        if node.unconfirmed.get(request.topic) != sent.version:
            node.unconfirmed[request.topic] = sent.version
            return set()
        if not node.quarantine.refuse(request.kind, sent.resources, request.node, empty=not request.version):
            node.refused[request.topic] = sent.version
        self._refused(request)
        return {request.topic}

    def respond(self, request: DiscoveryRequest) -> DiscoveryResponse | None:
        """The response, None: nothing new, or not yet."""
        node = self._nodes[request.node]
        if request.kind is Kind.ROUTES and not self._may_route(node, request.name):
            return None
        if self._settling(node, request) > 0:
            return None
        resources = self._resources_for(node, request)
        if not resources and request.kind not in COLLECTIONS:
            return None
        response = response_of(request.kind, resources)
        if response.version == request.version:
            self._know(node, request, response)
        if response.version in (request.version, node.refused.get(request.topic)):
            return None
        node.sent[request.topic] = response
        if request.kind is Kind.CLUSTERS:
            self._drop(node, frozenset(item.name for item in response.resources))
        if request.kind is Kind.ROUTES:
            having = node.uses.get(request.name) or _of_deployment(node.active, request.name)
            node.uses[request.name] = having | clusters_of(response.resources[0].body)
        return response

    def _resources_for(self, node: _Node, request: DiscoveryRequest) -> list[Resource]:
        wanted = self._resources[request.kind]
        if request.kind not in COLLECTIONS:
            found = wanted.get(request.name) or self._retired.get(request.kind, {}).get(request.name)
            safe = node.quarantine.safe(request.kind, found) if found else None
            return [safe] if safe else []
        resources = [safe for item in wanted.values() if (safe := node.quarantine.safe(request.kind, item))]
        if request.kind is Kind.CLUSTERS:
            resources += [self._keep(name) for name in node.used() if name not in wanted]
        return resources

    def _keep(self, cluster: str) -> Resource:
        """A cluster that is no longer wanted, for an Envoy that may still have a route to it."""
        return self._retired[Kind.CLUSTERS].get(cluster) or resource(cluster, former_cluster(cluster))

    def _settling(self, node: _Node, request: DiscoveryRequest) -> float:
        """Seconds for which the requests of an Envoy that an earlier operator has configured are only read."""
        if request.kind is not Kind.CLUSTERS or node.clusters is not None or not request.version:
            return 0.0
        return node.since + SETTLE - self._clock()

    def _drop(self, node: _Node, clusters: frozenset[str]) -> None:
        """From now on the Envoy has these clusters, and whatever it had of others is gone."""
        node.forget(Kind.ENDPOINTS, clusters)
        node.active &= clusters
        node.aggregates &= clusters
        node.clusters = clusters

    def _may_route(self, node: _Node, name: str) -> bool:
        """Whether every cluster that the routes name is there, or has had its time."""
        item = self._wanted.get(name)
        if item is None:
            return False
        # What it routes to already is there, also while it is made anew: so no way back waits.
        there = node.active | node.aggregates | node.uses.get(name, frozenset())
        missing = clusters_of(item.rendered.routes) - there
        if not missing:
            return True
        known = self._resources[Kind.CLUSTERS]
        refused = any(node.quarantine.safe(Kind.CLUSTERS, known[cluster]) is None for cluster in missing)
        return not refused and self._clock() >= item.since + GRACE

    def recheck_after(self, request: DiscoveryRequest) -> float:
        """Seconds after which time alone may change the response."""
        item = self._wanted.get(request.name) if request.kind is Kind.ROUTES else None
        left = item.since + GRACE - self._clock() if item is not None else 0.0
        left = max(left, self._settling(self._nodes[request.node], request))
        # Never so short that a clock does not see it pass.
        return max(left, 0.001) if left > 0 else float("inf")

    def observe(self, key: Key) -> Split | None:
        """The split that every connected Envoy has taken. None: there is no Envoy, or they do not agree (yet)."""
        name = "/".join(key)
        found = [self._split_of(node, name) for node in self._connected()]
        return found[0] if found and all(split == found[0] for split in found) else None

    def serves(self, key: Key) -> dict[str, Split | None]:
        """What each connected Envoy serves of a deployment, by node; None: a route of before this process' time."""
        name = "/".join(key)
        return {one: self._served_by(self._nodes[one], name) for one in self.nodes()}

    def _served_by(self, node: _Node, name: str) -> Split | None:
        """An Envoy that is known to have no listener of a deployment sends nobody anywhere for it."""
        if (Kind.ROUTES, name) not in node.versions:
            return NOWHERE if node.listeners is not None and name not in node.listeners else None
        return self._split_of(node, name)

    def taken(self) -> dict[Key, Split]:
        """The same for every deployment that they agree on."""
        keys = (wanted.model.key for wanted in self._wanted.values())
        return {key: split for key in keys if (split := self.observe(key)) is not None}

    def differing(self) -> dict[str, dict[Key, Split | None]]:
        """Of each connected Envoy what is not in `taken`; empty where it serves what all do."""
        found: dict[str, dict[Key, Split | None]] = {node: {} for node in self.nodes()}
        for key in [wanted.model.key for wanted in self._wanted.values()]:
            if self.observe(key) is None:
                for node, split in self.serves(key).items():
                    found[node][key] = split
        return found

    def nodes(self) -> list[str]:
        """The Envoys that are connected."""
        return [name for name, node in self._nodes.items() if self._is_connected(node)]

    def size(self) -> int:
        """How many resources there are by name."""
        return sum(len(resources) for resources in self._resources.values())

    def envoys(self) -> int:
        """How many Envoys are connected."""
        return len(self._connected())

    def refused(self) -> dict[Key, str]:
        """A sentence per deployment whose configuration a connected Envoy refuses, or that cannot be rendered."""
        messages = (node.quarantine.messages() for node in self._connected())
        return {**self._unrendered, **{key: words for found in messages for key, words in found.items()}}

    def _connected(self) -> list[_Node]:
        """Envoys that hold a request open, or did a moment ago."""
        return [node for node in self._nodes.values() if self._is_connected(node)]

    def _is_connected(self, node: _Node) -> bool:
        return node.open > 0 or self._clock() - node.seen < _GONE_AFTER

    def _split_of(self, node: _Node, name: str) -> Split | None:
        return self._splits.get(name, {}).get(node.versions.get((Kind.ROUTES, name), ""))

    def _version(self, name: str) -> str:
        """Version of one deployment's routes as wanted."""
        return response_of(Kind.ROUTES, [self._resources[Kind.ROUTES][name]]).version

    def _announce(self, name: str) -> None:
        item = self._wanted.get(name)
        if item is None or item.announced:
            return
        version = self._version(name)
        if all(node.versions.get((Kind.ROUTES, name)) == version for node in self._connected()):
            item.announced = True
            self._propagated(item.model.key, self._clock() - item.since)

    def _forget(self) -> None:
        """Drop Envoys that are gone, and what no Envoy uses any more."""
        gone = self._clock() - 10 * _GONE_AFTER
        self._nodes = {name: node for name, node in self._nodes.items() if node.open or node.seen > gone}
        used = frozenset[str]().union(*(node.used() for node in self._nodes.values()))
        for retired in self._retired.values():
            for name in set(retired) - used:
                del retired[name]


def _of_deployment(clusters: Iterable[str], name: str) -> frozenset[str]:
    return frozenset(cluster for cluster in clusters if cluster.rpartition("/")[0] == name)
