"""Asks the candidate what stable was asked, and tells the router what came of the comparison.

Both go to the router that has shown the request, and to nobody else: whatever the settings say, the guard opens no
connection but to its own client. There the candidate's answer is timed and counted as that to any other copy, and the
outcome is counted too (routers/envoy/series.py), so the guard keeps no numbers.

All of it is bounded, and by deployment: requests under way, and bytes. What is over a bound is not sent, and the sample
is smaller. Comparisons take turns in a thread, as the answers that clients wait for are checked beside them.
"""

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import aiohttp
import structlog
from yarl import URL

from serin.api.guard import LARGEST_ANSWER
from serin.api.guard_agreement import KEY, OUTCOME, Outcome, Pairing
from serin.guard.agreement import outcome
from serin.guard.room import Held, Room
from serin.guard.under_way import UnderWay

log: Final = structlog.get_logger("serin.guard")

# Requests under way, of one deployment and of all.
MOST_OF_ONE: Final = 64
MOST: Final = 1024
_REPORT_SECONDS: Final = 5.0
_HEADERS: Final = 64 * 1024
# Of a connection and not of the request, or of the router's own.
_OWN: Final = frozenset(
    {
        *("host", "connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"),
        *("content-length", "expect", "x-forwarded-proto", KEY, OUTCOME),
    }
)


@dataclass(frozen=True, slots=True, repr=False)
class Request:
    """What a client has sent: headers by name, those of HTTP/2's own too, and the body."""

    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True, repr=False)
class Answer:
    """A body, and its content-encoding."""

    body: bytes
    encoding: str


class Pairs:
    """Everything that is under way. `most`: bytes that may be held together."""

    def __init__(self, most: int) -> None:
        self._room = Room(most)
        self._under_way = UnderWay("guard.pair-failed", MOST_OF_ONE, MOST)
        self._thread = ThreadPoolExecutor(1, "compare")
        self._session: aiohttp.ClientSession | None = None

    def hold(self, name: str) -> Held:
        """Nothing yet, of a deployment's or a namespace's."""
        return Held(name, self._room)

    def begin(self, pairing: Pairing, peer: str, request: Request, stable: Answer, held: Held) -> None:
        """Compare, some time. `held`: has the bytes of both, which are given back then."""
        if not self._under_way.has_room(pairing.name):
            held.give_back()
            return
        self._under_way.begin(pairing.name, self._run(pairing, peer, request, stable, held), held)

    async def stop(self) -> None:
        """End what is under way."""
        await self._under_way.stop()
        if self._session is not None:
            await self._session.close()
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _run(self, pairing: Pairing, peer: str, request: Request, stable: Answer, held: Held) -> None:
        try:
            candidate = await self._ask(pairing, peer, request, held)
            if candidate is None:
                return
            ours, theirs = (stable.body, stable.encoding), (candidate.body, candidate.encoding)
            loop = asyncio.get_running_loop()
            await self._report(pairing, peer, await loop.run_in_executor(self._thread, outcome, ours, theirs, pairing))
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            # The router has counted what the candidate has failed. Nothing of a request is in the name of an error.
            log.info("guard.pair-failed", error=type(error).__name__)

    async def _ask(self, pairing: Pairing, peer: str, request: Request, held: Held) -> Answer | None:
        """The candidate's answer; None: there is none to compare."""
        url = _url(peer, pairing.port, request.headers.get(":path", ""))
        sent = {name: value for name, value in request.headers.items() if name[0] != ":" and name not in _OWN}
        sent |= {"host": request.headers.get(":authority", pairing.name), KEY: pairing.key}
        timeout = aiohttp.ClientTimeout(total=pairing.seconds + 1.0)
        post = self._open().post(url, data=request.body, headers=sent, timeout=timeout, allow_redirects=False)
        async with post as answer:
            # Another version's answers when the copies have come to their end meanwhile.
            if answer.status // 100 != 2 or answer.headers.get("x-serin-snapshot") != pairing.candidate:
                return None
            body = await _read(answer.content, held)
            return None if body is None else Answer(body, answer.headers.get("content-encoding", ""))

    async def _report(self, pairing: Pairing, peer: str, found: Outcome) -> None:
        url = _url(peer, pairing.port, "/")
        headers = {KEY: pairing.key, OUTCOME: found.value, "host": pairing.name.replace("/", ".")}
        timeout = aiohttp.ClientTimeout(total=_REPORT_SECONDS)
        async with self._open().post(url, headers=headers, timeout=timeout, allow_redirects=False):
            pass

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                # The router closes a connection after ten seconds, and says so.
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=4.0),
                cookie_jar=aiohttp.DummyCookieJar(),
                skip_auto_headers=("user-agent", "accept", "accept-encoding", "content-type"),
                auto_decompress=False,
                max_line_size=_HEADERS,
                max_field_size=_HEADERS,
            )
        return self._session


def _url(peer: str, port: int, path: str) -> URL:
    """Of the router, whatever a client has written as its path. Raises ValueError for what is none."""
    if not path.startswith("/"):
        raise ValueError("this is no path")
    return URL(f"http://{f'[{peer}]' if ':' in peer else peer}:{port}{path}", encoded=True)


async def _read(content: aiohttp.StreamReader, held: Held) -> bytes | None:
    """The body, or as much of it as says that it is too long to be looked at; None: there is no room for it."""
    found = bytearray()
    async for part in content.iter_any():
        if not held.take(len(part)):
            return None
        found += part
        if len(found) > LARGEST_ANSWER:
            break
    return bytes(found)
