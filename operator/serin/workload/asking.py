"""One request to one pod, for which nothing that the pod does costs more than its bounds.

The address is the pod's own, as its status has it, and the port the version's: a user chooses a path and a body, and
no host. Redirects are not followed, proxies and passwords of the process are not used, and nothing is decompressed. An
answer is read up to a length and a time; where it goes on after that, the connection is cut.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import aiohttp

_HEADERS: Final = {"Content-Type": "application/json", "Accept": "application/json", "Accept-Encoding": "identity"}
# Bytes of one header, and how many there may be.
_LONGEST_HEADER: Final = 8190


class NoAnswer(Exception):
    """The pod has not answered with 200; why, in words."""


@dataclass(frozen=True, slots=True)
class Question:
    """A request to a pod. `body`: to be posted, None: GET. `seconds`: for all; `longest`: bytes of the answer read."""

    address: str
    port: int
    path: str
    body: bytes | None
    seconds: float
    longest: int


Ask = Callable[[Question], Awaitable[bytes]]


async def ask(question: Question) -> bytes:
    """The answer, or the first `longest` bytes of it and one more when it is longer. Raises NoAnswer."""
    host = f"[{question.address}]" if ":" in question.address else question.address
    try:
        async with asyncio.timeout(question.seconds):
            return await _request(f"http://{host}:{question.port}{question.path}", question)
    except TimeoutError:
        raise NoAnswer(f"no answer within {question.seconds:g} s") from None
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise NoAnswer(f"no answer: {str(error)[:200] or type(error).__name__}") from None


async def _request(url: str, question: Question) -> bytes:
    """A connection of its own: what one answer leaves behind must not be read as the next."""
    async with (
        aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(force_close=True),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=_HEADERS,
            auto_decompress=False,
            trust_env=False,
            max_line_size=_LONGEST_HEADER,
            max_field_size=_LONGEST_HEADER,
            read_bufsize=question.longest,
        ) as session,
        session.request(
            "GET" if question.body is None else "POST", url, data=question.body, allow_redirects=False
        ) as answer,
    ):
        if answer.status != 200:
            raise NoAnswer(f"the answer is {answer.status}: {(await _beginning(answer, 200)).decode(errors='replace')}")
        return await _beginning(answer, question.longest + 1)


async def _beginning(answer: aiohttp.ClientResponse, longest: int) -> bytes:
    """At most so many bytes of the answer."""
    found = bytearray()
    while len(found) < longest and (part := await answer.content.read(longest - len(found))):
        found += part
    return bytes(found)
