"""What the Envoys of *all* operator replicas have taken and refused.

Every replica answers the router, and an Envoy talks to one of them; the one that decides may not be it. So it asks the
others, over the port that serves the router. Their answers only make a report more exact (a refusal becomes a
condition, the first readiness is known): nothing waits for a replica that does not answer, lowering traffic needs none.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp

from serin.api.json import JsonObject
from serin.api.names import Key
from serin.api.split import Split
from serin.routers.envoy.service_pods import XDS, ServicePods
from serin.routers.envoy.xds.server import STATE_PATH, XdsServer

_PAUSE_SECONDS: Final = 2.0
_TIMEOUT: Final = aiohttp.ClientTimeout(total=2.0)


@dataclass(frozen=True, slots=True)
class _State:
    """One replica's Envoys: how many, what they agree on, and what they refuse."""

    envoys: int
    taken: Mapping[Key, Split]
    refused: Mapping[Key, str]


class XdsPeers:
    """The Envoys of this replica and of its peers.

    `port`: where every replica answers Envoys. `enqueue`: asks for a look at a deployment whose refusal has changed.
    `token_file`: this pod's token, which the kubelet keeps up to date; without the file it asks without one.
    """

    def __init__(
        self, own: XdsServer, pods: ServicePods, port: int, enqueue: Callable[[Key], None], token_file: Path
    ) -> None:
        self._own, self._pods, self._port, self._enqueue = own, pods, port, enqueue
        self._token_file = token_file
        self._peers: tuple[_State, ...] = ()

    def observe(self, namespace: str, name: str) -> Split | None:
        """The split that every connected Envoy has taken; None when there is none, or they do not agree (yet)."""
        found = [self._own.observe(namespace, name)] if self._own.envoys() else []
        found += [peer.taken.get((namespace, name)) for peer in self._peers if peer.envoys]
        return found[0] if found and all(split == found[0] for split in found) else None

    def envoys(self) -> int:
        """How many Envoys are connected to any replica."""
        return self._own.envoys() + sum(peer.envoys for peer in self._peers)

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
                await self.ask(session)
                now = dict(self.refused())
                for key in {key for key in known.keys() | now.keys() if known.get(key) != now.get(key)}:
                    self._enqueue(key)
                known = now
                await asyncio.sleep(_PAUSE_SECONDS)

    async def ask(self, session: aiohttp.ClientSession) -> None:
        """Ask every peer once; one that does not answer counts as having no Envoy."""
        headers = self._authorization()
        answers = await asyncio.gather(*(self._ask(session, one, headers) for one in self._pods.ready(XDS)))
        self._peers = tuple(answer for answer in answers if answer is not None)

    def _authorization(self) -> dict[str, str]:
        try:
            return {"Authorization": f"Bearer {self._token_file.read_text().strip()}"}
        except OSError:
            return {}

    async def _ask(self, session: aiohttp.ClientSession, address: str, headers: Mapping[str, str]) -> _State | None:
        host = f"[{address}]" if ":" in address else address
        try:
            async with session.get(f"http://{host}:{self._port}{STATE_PATH}", headers=headers) as answer:
                body = await answer.json()
                return None if body["identity"] == self._own.identity else _read(body)
        except (aiohttp.ClientError, TimeoutError, ValueError, KeyError):
            return None


def _read(body: JsonObject) -> _State:
    return _State(
        envoys=body["envoys"],
        taken={_key(name): Split(weights) for name, weights in body["taken"].items()},
        refused={_key(name): words for name, words in body["refused"].items()},
    )


def _key(name: str) -> Key:
    namespace, _, deployment = name.partition("/")
    return namespace, deployment
