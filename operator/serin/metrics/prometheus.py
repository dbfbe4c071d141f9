"""Prometheus through prometheus-api-client: one query at an explicit time, one typed answer, no surprises.

The library is the transport, not the interface. Read in its source (0.7.2) and avoided here: it repeats what failed
three times with back-off unless told otherwise; it has no time-out by default; `custom_query` drops Prometheus'
`warnings` and its error type, and puts the parameters of a POST into the URL. `_Connection` therefore sends the request
itself, with the library's own session, retry policy, time-out and TLS, and keeps the whole answer.

An answer is read in parts, and given up when it grows past what may be held in memory; only one is decoded at a time.

This module refuses to retry, to follow redirects (credentials would travel), and to read proxies, certificates or
passwords from the process environment or from ~/.netrc: what is used is what the settings say.
"""

import asyncio
import gc
import math
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from weakref import WeakValueDictionary

import orjson
import requests
from prometheus_api_client.prometheus_connect import PrometheusConnect
from urllib3.util.retry import Retry

from serin.api.conditions import Reason
from serin.metrics.answers import Answer, Failed, Partial, Value, answer_of
from serin.metrics.clock_skew import ClockSkew
from serin.metrics.messages import shorten

CONNECT_SECONDS = 3.0
# In the place of a namespace: Serin's own, for all namespaces.
SHARED = ""
_ESTIMATES = "(estimates)"
# Requests that may be under way at once: for Serin's own queries, for those of users, for those of one namespace.
THREADS, USERS_THREADS, NAMESPACE_THREADS = 4, 8, 2

# Bounds of one answer. Decoded, its text needs about ten times its size.
MAX_BYTES = 12_000_000
MAX_SERIES = 50_000
_PART = 65_536
# What is quoted of an answer that is no JSON.
_QUOTED = 200

# Keys of the Secret that the chart mounts; those that exist are used.
TOKEN, USERNAME, PASSWORD = "token", "username", "password"
CA, CERTIFICATE, KEY = "ca.crt", "tls.crt", "tls.key"
HEADERS = "headers"

_HEADER = re.compile(r"([A-Za-z0-9-]+):[ \t]*([\x21-\x7e](?:[\x20-\x7e\t]*[\x21-\x7e])?)")
# What the connection itself has to say.
_OWN_HEADERS = ("host", "connection", "content-length", "content-type", "transfer-encoding", "accept-encoding")


@dataclass(frozen=True, slots=True)
class Settings:
    """Where Prometheus is and how to reach it.

    `credentials`: directory of a mounted Secret with any of token | username and password | ca.crt | tls.crt and
    tls.key | headers; its files are read again when they change. `timeout`: seconds for one whole query. `headers`:
    sent with each query, as `X-Scope-OrgID` to Mimir, Cortex or Thanos; those of the Secret win.
    """

    url: str
    credentials: Path | None = None
    insecure_skip_verify: bool = False
    timeout: float = 10.0
    headers: tuple[tuple[str, str], ...] = ()


class SettingsError(ValueError):
    """The settings cannot work; the message says what to write instead."""


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Read SERIN_PROMETHEUS_URL, _CREDENTIALS, _INSECURE_SKIP_VERIFY, _TIMEOUT and _HEADERS. Raises SettingsError."""
    url = environment.get("SERIN_PROMETHEUS_URL", "").strip().rstrip("/")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise SettingsError(
            f"SERIN_PROMETHEUS_URL is {url!r}: write an address such as http://prometheus.monitoring:9090"
        )
    text = environment.get("SERIN_PROMETHEUS_TIMEOUT", "10")
    try:
        timeout = float(text)
    except ValueError:
        timeout = math.nan
    if not 0 < timeout <= 300:
        raise SettingsError(f"SERIN_PROMETHEUS_TIMEOUT is {text!r}: write seconds, above 0 and up to 300")
    skip = environment.get("SERIN_PROMETHEUS_INSECURE_SKIP_VERIFY", "false").lower()
    if skip not in ("true", "false"):
        raise SettingsError(f"SERIN_PROMETHEUS_INSECURE_SKIP_VERIFY is {skip!r}: write true or false")
    folder = environment.get("SERIN_PROMETHEUS_CREDENTIALS", "")
    headers = read_headers(environment.get("SERIN_PROMETHEUS_HEADERS", ""), "SERIN_PROMETHEUS_HEADERS")
    return Settings(url, Path(folder) if folder else None, skip == "true", timeout, tuple(headers.items()))


def read_headers(text: str, where: str) -> dict[str, str]:
    """Read one header a line, as in `X-Scope-OrgID: team-a`. Raises SettingsError, which never quotes a value."""
    found = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        read = _HEADER.fullmatch(line.strip())
        if read is None:
            raise SettingsError(f"line {number} of {where} is no header: write one a line, as in X-Scope-OrgID: team-a")
        if read[1].lower() in _OWN_HEADERS:
            raise SettingsError(f"{where} has the header {read[1]}, which Serin sets itself: remove it")
        found[read[1]] = read[2]
    return found


@dataclass(slots=True)
class Usage:
    """What the queries have cost since the start: totals for Serin's own metrics."""

    queries: int = 0
    failed: int = 0
    answer_bytes: int = 0
    seconds: float = 0.0


class _Connection(PrometheusConnect):
    """One session of the library, and the query that keeps everything Prometheus said."""

    def ask(self, query: str, at: float, timeout: float) -> requests.Response:
        """POST one instant query, parameters in the body, so that its length is not limited by proxies.

        `limit` is for Prometheus from version 3 on; others ignore it. The answer's body is not read yet.
        """
        return self._session.post(
            f"{self.url}/api/v1/query",
            data={"query": query, "time": f"{at:.3f}", "timeout": f"{timeout:g}", "limit": str(MAX_SERIES)},
            timeout=(min(CONNECT_SECONDS, timeout), timeout),
            allow_redirects=False,
            stream=True,
        )


@dataclass(slots=True)
class _State:
    """The connection in use, and the files it was made from."""

    connection: _Connection | None = None
    stamp: tuple[object, ...] = ()
    lock: threading.Lock = field(default_factory=threading.Lock)
    decoding: threading.Lock = field(default_factory=threading.Lock)


class Prometheus:
    """Queries with typed answers. Safe to call from many tasks.

    What users wrote has threads of its own, of which one namespace uses few, so that slow queries of one namespace
    neither delay nor fail those of others; the time of a query begins when it is sent. `clock`: unix seconds.
    """

    def __init__(self, settings: Settings, *, clock: Callable[[], float] = time.time) -> None:
        self._settings, self._clock = settings, clock
        self._state = _State()
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="prometheus")
        self._users = ThreadPoolExecutor(USERS_THREADS, thread_name_prefix="prometheus-users")
        # Of namespaces that ask now: there may be any number of them over time.
        self._turns: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        self._users_turns = asyncio.Semaphore(USERS_THREADS)
        self.usage = Usage()
        self.skew = ClockSkew()
        self.shown_url = without_credentials(settings.url)

    async def query(self, query: str, at: float, namespace: str = SHARED) -> Answer:
        """Evaluate PromQL at `at` (unix seconds). Never raises for anything that Prometheus or the network does.

        `namespace`: whose query it is; SHARED: Serin's own.
        """
        turns = asyncio.Semaphore(THREADS if namespace == SHARED else NAMESPACE_THREADS)
        async with self._turns.setdefault(namespace, turns):
            if namespace == SHARED:
                return await self._send(query, at, self._threads)
            async with self._users_turns:
                return await self._send(query, at, self._users)

    async def estimate(self, query: str, at: float) -> Answer:
        """Evaluate PromQL for what decides nothing and may wait, whoever wrote it."""
        return await self.query(query, at, _ESTIMATES)

    async def _send(self, query: str, at: float, threads: ThreadPoolExecutor) -> Answer:
        loop = asyncio.get_running_loop()
        began = time.monotonic()
        # A server that trickles bytes can outlast the socket's time-out; the caller never waits longer than this.
        limit = self._settings.timeout + CONNECT_SECONDS
        try:
            async with asyncio.timeout(limit):
                answer = await loop.run_in_executor(threads, self._ask, query, at)
        except TimeoutError:
            answer = self._unreachable(f"no whole answer within {limit:g} s")
        self.usage.queries += 1
        self.usage.failed += isinstance(answer, Failed)
        self.usage.seconds += time.monotonic() - began
        return answer

    def close(self) -> None:
        """Close the session; requests under way end by their own time-out."""
        for threads in (self._threads, self._users):
            threads.shutdown(wait=False, cancel_futures=True)
        if self._state.connection is not None:
            self._state.connection.close()

    def _ask(self, query: str, at: float) -> Answer:
        timeout = self._settings.timeout
        try:
            connection, sent = self._connect(), self._clock()
            with connection.ask(query, at, timeout) as response:
                self.skew.learn(response.headers.get("Date"), sent, self._clock())
                content = _content(response, time.monotonic() + timeout)
        except UnicodeEncodeError:
            return Failed(Reason.QUERY_FAILED, "the query has half of a character: write it anew")
        except (requests.RequestException, OSError, SettingsError) as error:
            return self._unreachable(_in_words(error, timeout))
        if content is None:
            return _too_large(f"more than {MAX_BYTES / 1e6:g} MB")
        self.usage.answer_bytes += len(content)
        with self._state.decoding, _uncollected():
            return self._read(response, content)

    def _connect(self) -> _Connection:
        """The session in use, or a new one when a file of the Secret has changed."""
        with self._state.lock:
            stamp = _stamp(self._settings.credentials)
            if self._state.connection is None or stamp != self._state.stamp:
                self._state.connection = _open(self._settings)
                self._state.stamp = stamp
            return self._state.connection

    def _read(self, response: requests.Response, content: bytes) -> Answer:
        try:
            body: Any = orjson.loads(content)
            if body["status"] == "error":
                return self._refused(response.status_code, str(body.get("errorType")), str(body.get("error")))
            if body["status"] == "success":
                answer = answer_of(body)
                large = isinstance(answer, Value | Partial) and len(answer.series) >= MAX_SERIES
                return _too_large(f"{MAX_SERIES} series or more") if large else answer
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            pass  # no JSON, or JSON of somebody else
        return self._unreachable(_not_prometheus(response, content))

    def _refused(self, status: int, kind: str, words: str) -> Failed:
        """Prometheus' own error: the query's fault (4xx), or the server's (time-outs, overload)."""
        if kind in ("bad_data", "execution") and status < 500:
            return Failed(Reason.QUERY_FAILED, shorten(f"Prometheus at {self.shown_url} refused the query: {words}"))
        return self._unreachable(f"it says {kind}: {words}")

    def _unreachable(self, words: str) -> Failed:
        message = f"Prometheus at {self.shown_url} gives no answer: {words}"
        return Failed(Reason.PROMETHEUS_UNREACHABLE, shorten(message))


@contextmanager
def _uncollected() -> Iterator[None]:
    """Without a look for garbage meanwhile: all of a large answer is kept, and each look goes through it."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def _content(response: requests.Response, until: float) -> bytes | None:
    """The whole body; None when it is too large. Raises Timeout when it is not there by `until` (monotonic seconds)."""
    parts, size = [], 0
    for part in response.iter_content(_PART):
        size += len(part)
        if size > MAX_BYTES:
            return None
        if time.monotonic() > until:
            raise requests.Timeout
        parts.append(part)
    return b"".join(parts)


def _too_large(what: str) -> Failed:
    words = f"the answer has {what}: a label of these series has too many values, or there are too many pods"
    return Failed(Reason.QUERY_FAILED, words, too_large=True)


def without_credentials(url: str) -> str:
    """Give the URL without user name and password, for messages."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _stamp(folder: Path | None) -> tuple[object, ...]:
    """Identity of the Secret's files: kubelet swaps a link when it changes, so inode and time differ."""
    if folder is None:
        return ()
    files = [folder / name for name in (TOKEN, USERNAME, PASSWORD, CA, CERTIFICATE, KEY, HEADERS)]
    found = [(path.name, path.stat()) for path in files if path.exists()]
    return tuple((name, stat.st_ino, stat.st_mtime_ns, stat.st_size) for name, stat in found)


def _open(settings: Settings) -> _Connection:
    folder = settings.credentials
    session = requests.Session()
    session.trust_env = False
    session.verify = not settings.insecure_skip_verify
    session.headers.update(dict(settings.headers))
    if folder is not None:
        _use_credentials(session, folder)
    never = Retry(total=0, connect=0, read=0, redirect=0, status=0, other=0)
    return _Connection(url=settings.url, session=session, retry=never, timeout=math.ceil(settings.timeout))


def _use_credentials(session: requests.Session, folder: Path) -> None:
    if not folder.is_dir():
        raise SettingsError(f"the credentials' directory {folder} does not exist: mount the Secret there")
    if session.verify and (folder / CA).exists():
        session.verify = str(folder / CA)
    if (folder / CERTIFICATE).exists():
        session.cert = (str(folder / CERTIFICATE), str(folder / KEY))
    token, username = _text(folder / TOKEN), _text(folder / USERNAME)
    if token and username:
        raise SettingsError(f"the Secret has both {TOKEN} and {USERNAME}: keep one of them")
    if token:
        session.headers["Authorization"] = f"Bearer {token}"
    if username:
        session.auth = (username, _text(folder / PASSWORD))
    session.headers.update(read_headers(_text(folder / HEADERS), f"{HEADERS} of the Secret"))


def _text(path: Path) -> str:
    return path.read_text().strip() if path.exists() else ""


def _not_prometheus(response: requests.Response, content: bytes) -> str:
    status = response.status_code
    said = _said(response, content)
    if status in (401, 403):
        check = f"check the Secret's {TOKEN}, {USERNAME} and {PASSWORD}, or {HEADERS}"
        return f"it refuses our credentials (HTTP {status}{said}); {check}"
    if 300 <= status < 400:
        target = without_credentials(response.headers.get("Location", ""))
        return f"it redirects to {target}; write the address that answers by itself"
    return f"HTTP {status} with an answer that is not Prometheus'{said} (is the address right, with its path prefix?)"


def _said(response: requests.Response, content: bytes) -> str:
    """The server's own words in one line; none of a page for browsers."""
    words = " ".join(content[: 4 * _QUOTED].decode(errors="replace").split())
    if not words.isprintable() or "html" in response.headers.get("Content-Type", "") or words.startswith("<"):
        return ""
    return f": {shorten(words, _QUOTED)}" if words else ""


def _in_words(error: Exception, timeout: float) -> str:
    """The innermost reason, without the request's path, which would bury it."""
    if isinstance(error, requests.exceptions.SSLError):
        words = _innermost(error)
        return f"TLS failed: {words}" + ("; perhaps it wants a client certificate" if "EOF" in words else "")
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return f"no connection within {min(CONNECT_SECONDS, timeout):g} s"
    if isinstance(error, requests.exceptions.Timeout):
        return f"no answer within {timeout:g} s"
    return _innermost(error)


def _innermost(error: BaseException) -> str:
    """Text of the exception that began it all; urllib3 keeps it in `reason`, requests in its arguments."""
    while True:
        inner = getattr(error, "reason", None) or (error.args[0] if error.args else None) or error.__cause__
        if not isinstance(inner, BaseException):
            return str(error)
        error = inner
