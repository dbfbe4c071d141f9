"""What the Envoys of *all* operator replicas have taken and refused, and what other replicas know to be written.

Every replica answers the router, and an Envoy talks to one of them; the one that decides may not be it. So each asks
the others, over the port that serves the router. What their Envoys have decides only what may be taken away: a router
pod that no replica hears may use every pod that it ever knew of. What is written decides only what is lowered
(xds_written.py). Lowering traffic waits for nobody's answer.

While a route is on its way the others are asked often, so that what waits for it goes on as soon as it has arrived.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp

from serin.api.json import JsonObject
from serin.api.names import Key
from serin.api.split import Split, read_split
from serin.routers.envoy.service_pods import XDS, ServicePods
from serin.routers.envoy.xds.server import STATE_PATH, XdsServer, read_json
from serin.routers.envoy.xds_written import Written, read_written

_PAUSE_SECONDS: Final = 2.0
# The same while a route is on its way, and for how long: one that takes longer waits for something else.
_SHORT_PAUSE_SECONDS: Final = 0.2
_ON_ITS_WAY_SECONDS: Final = 10.0
# Of an answer: 1,000 deployments in the middle of a rollout are 270 KB.
_MOST_BYTES: Final = 16 * 1024 * 1024
_TIMEOUT: Final = aiohttp.ClientTimeout(total=2.0)


@dataclass(frozen=True, slots=True)
class _State:
    """One replica's Envoys: what they agree on, each one's differences from that, and what they refuse."""

    taken: Mapping[Key, Split]
    nodes: Mapping[str, Mapping[Key, Split | None]]
    refused: Mapping[Key, str]
    written: Mapping[Key, Written]

    def serves(self, key: Key) -> Iterator[tuple[str, Split | None]]:
        """What each Envoy serves of a deployment."""
        for node, differs in self.nodes.items():
            yield node, differs.get(key, self.taken.get(key))


class XdsPeers:
    """The Envoys of this replica and of its peers.

    `port`: where every replica answers Envoys. `enqueue`: asks for a look at a deployment whose refusal has changed.
    `token_file`: this pod's token, which the kubelet keeps up to date; without the file it asks without one. `hear`: is
    told what each peer knows to be written.
    """

    def __init__(
        self,
        own: XdsServer,
        pods: ServicePods,
        port: int,
        enqueue: Callable[[Key], None],
        token_file: Path,
        hear: Callable[[Iterable[Mapping[Key, Written]]], None] = lambda _: None,
    ) -> None:
        self._own, self._pods, self._port, self._enqueue = own, pods, port, enqueue
        self._token_file, self._hear = token_file, hear
        self._peers: tuple[_State, ...] = ()
        self._written: dict[str, Mapping[Key, Written]] = {}  # by address
        self._on_its_way: dict[Key, tuple[Split, float]] = {}  # what is not known to be served, and since when
        self._hurry = asyncio.Event()
        self._own_address = ""  # as soon as an answer says it

    def serves(self, namespace: str, name: str) -> Mapping[str, Split | None]:
        """What each Envoy serves that is connected to any replica, by its node.

        None: not known, also because two replicas say different things about it.
        """
        found = dict(self._own.serves(namespace, name))
        for peer in self._peers:
            for node, split in peer.serves((namespace, name)):
                found[node] = split if found.get(node, split) == split else None
        return found

    def expect(self, key: Key, wanted: Split, *, served: bool) -> None:
        """Hear from a look which split every Envoy is to serve, and whether that is known to be so."""
        if served:
            self._on_its_way.pop(key, None)
        elif self._on_its_way.get(key, (None, 0.0))[0] != wanted:
            self._on_its_way[key] = wanted, time.monotonic()
            self._hurry.set()

    def forget(self, gone: Callable[[Key], bool]) -> None:
        """Expect nothing any more of the deployments that are gone."""
        self._on_its_way = {key: one for key, one in self._on_its_way.items() if not gone(key)}

    def heard(self) -> frozenset[str]:
        """Nodes of the Envoys that are connected to any replica."""
        return frozenset(self._own.nodes()).union(*(peer.nodes for peer in self._peers))

    def refused(self) -> Mapping[Key, str]:
        """A sentence per deployment whose configuration an Envoy refuses."""
        refused: dict[Key, str] = {}
        for peer in self._peers:
            refused.update(peer.refused)
        return {**refused, **self._own.refused()}

    async def run(self) -> None:
        """Ask the peers again and again, until cancelled."""
        known = dict(self.refused())
        async with aiohttp.ClientSession(timeout=_TIMEOUT, trust_env=False) as session:
            while True:
                serving = {key: self.serves(*key) for key in self._on_its_way}
                await self.ask(session)
                now = dict(self.refused())
                for key in {key for key in known.keys() | now.keys() if known.get(key) != now.get(key)}:
                    self._enqueue(key)
                for key, before in serving.items():
                    if self.serves(*key) != before:
                        self._enqueue(key)
                known = now
                await self._pause()

    async def _pause(self) -> None:
        """Until it is time to ask again."""
        now = time.monotonic()
        if any(now - since < _ON_ITS_WAY_SECONDS for _, since in self._on_its_way.values()):
            await asyncio.sleep(_SHORT_PAUSE_SECONDS)
            return
        self._hurry.clear()
        try:
            async with asyncio.timeout(_PAUSE_SECONDS):
                await self._hurry.wait()
        except TimeoutError:
            return
        await asyncio.sleep(_SHORT_PAUSE_SECONDS)

    async def ask(self, session: aiohttp.ClientSession) -> None:
        """Ask every peer once; one that does not answer counts as having no Envoy.

        What it has said of what is written stands until it says something else: nothing rises because it is silent.
        """
        headers = self._authorization()
        addresses = [one for one in self._pods.ready(XDS) if one != self._own_address]
        answers = await asyncio.gather(*(self._ask(session, one, headers) for one in addresses))
        self._peers = tuple(answer for answer in answers if answer is not None)
        last, said = self._written, dict(zip(addresses, answers, strict=True))
        self._written = {one: told.written if told else last.get(one, {}) for one, told in said.items()}
        self._hear(self._written.values())

    def _authorization(self) -> dict[str, str]:
        try:
            return {"Authorization": f"Bearer {self._token_file.read_text().strip()}"}
        except OSError:
            return {}

    async def _ask(self, session: aiohttp.ClientSession, address: str, headers: Mapping[str, str]) -> _State | None:
        host = f"[{address}]" if ":" in address else address
        try:
            async with session.get(f"http://{host}:{self._port}{STATE_PATH}", headers=headers) as answer:
                answer.raise_for_status()
                body = await read_json(answer.content, _MOST_BYTES)
                if body["identity"] != self._own.identity:
                    return _read(body)
                self._own_address = address
                return None
        except (aiohttp.ClientError, TimeoutError, ValueError, KeyError, TypeError, AttributeError):
            return None


def _read(body: JsonObject) -> _State:
    return _State(
        taken={_key(name): _split(told) for name, told in body["taken"].items()},
        nodes={
            node: {_key(name): None if told is None else _split(told) for name, told in differs.items()}
            for node, differs in body["nodes"].items()
        },
        refused={_key(name): words for name, words in body["refused"].items()},
        written={_key(name): read_written(told) for name, told in (body.get("written") or {}).items()},
    )


def _split(told: JsonObject) -> Split:
    """As the server writes it. Raises ValueError."""
    return read_split(told if "rules" in told else {"weights": told})


def _key(name: str) -> Key:
    namespace, _, deployment = name.partition("/")
    return namespace, deployment
