"""kopf, and all of it: it lists and watches, and hands every event to the cache.

Only `on.event` handlers: anything more writes annotations and finalizers onto users' objects, or is edge-triggered.
Its requests go through a session of ours, so that they are counted, carry the token of the moment, and show when a list
is over. An API server that is away is waited for: the router goes on serving, and so does everything that was decided.
"""

import asyncio
from collections.abc import Iterable, Iterator
from typing import Any, Final

import aiohttp
import kopf
import structlog
from kubernetes.aio.client import Configuration

from serin.api.names import LABEL_MODEL_DEPLOYMENT
from serin.cluster import kinds
from serin.cluster.cache import ObjectCache
from serin.cluster.login import watch_session
from serin.cluster.protocol import Kind
from serin.cluster.relist import ListObserver
from serin.controller.telemetry import Telemetry

log: Final = structlog.get_logger("serin.watch")

# What is watched, and with which label selector. The clients' Service has the user's own name, so all Services are
# watched: somebody else's Service of that name must be seen, also when it has no label.
WATCHED: Final[dict[Kind, str]] = {
    kinds.MODEL_DEPLOYMENT: "",
    kinds.MODEL_SNAPSHOT: "",
    kinds.METRIC_TEMPLATE: "",
    kinds.SERVICE: "",
    kinds.DEPLOYMENT: LABEL_MODEL_DEPLOYMENT,
    kinds.JOB: LABEL_MODEL_DEPLOYMENT,
    kinds.POD: LABEL_MODEL_DEPLOYMENT,
    kinds.ENDPOINT_SLICE: LABEL_MODEL_DEPLOYMENT,
}
_LONGEST_PAUSE_SECONDS: Final = 15.0
# How long a watch lasts before it is asked for again, and after which time that is overdue.
_WATCH_SECONDS: Final = 300
_SILENT_SECONDS: Final = 900.0


class _Patience:
    """kopf's pauses between attempts: they grow and never end. A restart would lose the caches and mend nothing."""

    def __iter__(self) -> Iterator[float]:
        pause = 0.5
        while True:
            yield pause
            pause = min(_LONGEST_PAUSE_SECONDS, pause * 2)


def scopes(namespaces: Iterable[str]) -> list[tuple[Kind, str | None]]:
    """Everything that is listed and watched: each kind in each namespace, or (no namespaces) in the whole cluster."""
    places: list[str | None] = [*sorted(set(namespaces))] or [None]
    return [(kind, place) for kind in WATCHED for place in places]


class Watches:
    """Keeps `cache` filled. `namespaces`: none means the whole cluster."""

    def __init__(
        self, configuration: Configuration, cache: ObjectCache, telemetry: Telemetry, namespaces: Iterable[str]
    ) -> None:
        self._configuration, self._cache, self._telemetry = configuration, cache, telemetry
        self._namespaces = sorted(set(namespaces))
        self._lists = ListObserver(
            cache, scopes(self._namespaces), observer=telemetry.observe_request, on_swept=self._on_swept
        )
        self.started = asyncio.Event()

    async def run(self, stop: asyncio.Event) -> None:
        """Watch until `stop` is set. Raises what kopf cannot recover from."""
        await kopf.operator(
            registry=self._registry(),
            settings=_settings(),
            clusterwide=not self._namespaces,
            namespaces=self._namespaces,
            standalone=True,
            stop_flag=stop,
            ready_flag=self.started,
        )

    def relist(self) -> None:
        """Begin every watch with a list again: what it goes on from is not what the API server has."""
        self._lists.relist()

    def silent(self) -> str:
        """Which watch has not been asked for again in time, in words; "" when all are, answered or not."""
        seconds, path = self._lists.silent()
        return f"nothing was asked for at {path} in {seconds:.0f} s" if seconds > _SILENT_SECONDS else ""

    def _registry(self) -> kopf.OperatorRegistry:
        registry = kopf.OperatorRegistry()
        kopf.on.login(registry=registry, id="login", errors=kopf.ErrorsMode.TEMPORARY, backoff=1.0)(self._log_in)
        for kind in WATCHED:
            group, _, version = kind.api_version.rpartition("/")
            handler = kopf.on.event(group=group, version=version, plural=kind.plural, registry=registry, id=kind.plural)
            handler(self._handler(kind))
        return registry

    def _handler(self, kind: Kind) -> Any:
        async def take(event: Any, **_: Any) -> None:
            if event["type"] == "DELETED":
                self._cache.drop(kind, event["object"])
            else:
                self._cache.put(kind, event["object"])

        return take

    async def _log_in(self, **_: Any) -> kopf.AiohttpSession:
        """Open a session; also after an answer 401, with the credentials as they are then."""
        return kopf.AiohttpSession(server=self._configuration.host, aiohttp_session=self._session())

    def _session(self) -> aiohttp.ClientSession:
        return watch_session(self._configuration, self._lists.trace, middlewares=[self._lists.begin_afresh])

    def _on_swept(self, kind: Kind, missed: int) -> None:
        log.info("cache.swept", kind=kind.name, deletions=missed)
        self._telemetry.swept.labels(kind.name).inc(missed)


class _NoDiffs(kopf.DiffBaseStorage):
    """kopf finds out what has changed since it was handled, which no handler here asks.

    For that it copies every object of every event, and reads an annotation in which users may have written anything.
    """

    def build(self, **_: Any) -> Any:
        return {}

    def fetch(self, **_: Any) -> Any:
        return None

    def store(self, **_: Any) -> None:
        pass


def _settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.persistence.diffbase_storage = _NoDiffs()
    # kopf takes its finalizer off wherever it has nothing to do, and other operators made with it use the default one.
    settings.persistence.finalizer = "serin.dev/no-finalizer"
    settings.peering.standalone = True
    settings.scanning.disabled = True
    settings.posting.enabled = False
    settings.networking.connect_timeout = 5.0
    settings.networking.request_timeout = 60.0
    settings.networking.error_backoffs = _Patience()
    # So a watch that has stopped to turn shows (see `Watches.silent`); the client's end is for a server that is gone.
    settings.watching.server_timeout = _WATCH_SECONDS
    settings.watching.client_timeout = _WATCH_SECONDS + 30
    # Per-object tasks of kopf end soon after their last event: there is one for each object after a list.
    settings.queueing.idle_timeout = 1.0
    for kind, selector in WATCHED.items():
        if selector:
            settings.watching.label_selectors[_is(kind)] = selector
    return settings


def _is(kind: Kind) -> Any:
    group = kind.api_version.rpartition("/")[0]
    return lambda resource: resource.group == group and resource.plural == kind.plural
