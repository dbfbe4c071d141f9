"""Requests to the API server with the token of whoever sits at the page: the process has no rights to lend.

One pool of connections for all users. TLS proves the server alone, and each request carries its own user's token, so
nothing of one user's is left on a connection for the next. It refuses to keep answers: what one user may see, another
may not.
"""

import copy
import json
from pathlib import Path
from typing import Final

import urllib3

from serin import __version__
from serin.api.json import JsonObject
from serin.cli.connection import TIMEOUT_SECONDS, Connection
from serin.cluster.protocol import Refused

# Bytes of an answer: about two thousand deployments. Anybody who may write resources makes lists longer.
_MOST_BYTES: Final = 16 * 1024 * 1024
_IDLE_CONNECTIONS: Final = 32
_NOT_TAKEN: Final = (
    "The API server does not accept this token: it has expired, was withdrawn, or is of another cluster."
)


class SignedOut(Exception):
    """There is no session, or the API server does not take its token: the user has to sign in. `why`: for him."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class ApiServer:
    """The API server at an address (https://host:port). `ca`: a file with the certificates that prove it."""

    def __init__(self, url: str, ca: Path | None) -> None:
        self.url = url.rstrip("/")
        self._pool = urllib3.PoolManager(
            maxsize=_IDLE_CONNECTIONS,
            cert_reqs="CERT_REQUIRED",
            ca_certs=str(ca) if ca else None,
            retries=False,
            timeout=TIMEOUT_SECONDS,
        )

    def connection(self, token: str) -> "AsUser":
        """The cluster with the rights of a bearer token."""
        return AsUser(self, token)

    def send(
        self, method: str, target: str, headers: dict[str, str], body: JsonObject | None
    ) -> tuple[int, bytes, str | None]:
        """Status, text and Date of the answer. Raises Refused when it is too large, and urllib3's HTTPError."""
        content = None if body is None else json.dumps(body).encode()
        answer = self._pool.request(
            method, self.url + target, headers=headers, body=content, preload_content=False, redirect=False
        )
        text = answer.read(_MOST_BYTES + 1)
        if len(text) > _MOST_BYTES:
            answer.close()
            raise Refused(f"the answer has more than {_MOST_BYTES >> 20} MiB: look at one namespace", 413)
        answer.release_conn()
        return answer.status, text, answer.headers.get("Date")


class AsUser(Connection):
    """The cluster as one user reaches it. A request raises SignedOut when the API server does not take the token."""

    def __init__(self, server: ApiServer, token: str) -> None:
        super().__init__(None, "default", server.url)
        self._api, self._token = server, token

    def within(self, namespace: str) -> "AsUser":
        """The same for names of another namespace."""
        other = copy.copy(self)
        other.namespace = namespace
        return other

    def _error(self, status: int, text: bytes) -> Exception:
        return SignedOut(_NOT_TAKEN) if status == 401 else super()._error(status, text)

    def _send(
        self, method: str, target: str, headers: dict[str, str], body: JsonObject | None
    ) -> tuple[int, bytes, str | None]:
        about = {"Authorization": f"Bearer {self._token}", "User-Agent": f"serin-dashboard/{__version__}"}
        return self._api.send(method, target, headers | about, body)
