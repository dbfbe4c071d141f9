"""Tokens of ServiceAccounts, as pods show them to the xDS server: signed by the cluster, for one pod and one audience.

They are checked here, with the public keys that the API server publishes for it. A check asks nobody, so a router is
known also while the API server is away or slow, and no answer waits for it. That a pod still exists is for the caller
to know: the token of one that is gone is still well signed.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

import jwt
import structlog

from serin.api.json import JsonObject
from serin.cluster.protocol import ClusterError
from serin.routers.envoy.xds.access import Denied

log: Final = structlog.get_logger("serin.router")

# The chart's projected volumes name it too: no other service takes these tokens, and this one takes no others.
AUDIENCE: Final = "serin-xds"
# Whatever Kubernetes may sign with. No symmetric one: whoever could check such a token could make one.
_ALGORITHMS: Final = ("RS256", "RS384", "RS512", "ES256", "ES384", "ES512")
_MUST: Final = ("exp", "aud", "sub")
# Seconds that the clocks of two nodes may differ.
_LEEWAY: Final = 60.0
# Seconds between two readings of the keys: at most, and at least when a token has a key that is unknown.
_READ_EVERY: Final = 300.0
_READ_AGAIN: Final = 5.0
_REMEMBERED: Final = 1000


@dataclass(frozen=True, slots=True)
class TokenPod:
    """The pod that a token was made for, and the pod's ServiceAccount."""

    namespace: str
    account: str
    name: str
    uid: str


class Tokens:
    """Checks tokens. `read_keys`: asks the API server for the keys, as a JWK set; may raise ClusterError."""

    def __init__(self, read_keys: Callable[[], Awaitable[JsonObject]]) -> None:
        self._read_keys = read_keys
        self._keys: dict[str, jwt.PyJWK] = {}
        self._unknown = asyncio.Event()
        # A router shows the same token with hundreds of requests: pod and time of its end.
        self._checked: dict[str, tuple[TokenPod, float]] = {}

    async def run(self) -> None:
        """Keep the keys up to date, until cancelled."""
        failure = ""
        while True:
            self._unknown.clear()
            try:
                self._take(await self._read_keys())
                failure = ""
            except (ClusterError, jwt.PyJWTError, ValueError, KeyError, TypeError, AttributeError) as error:
                if failure != str(error):
                    log.warning("xds.keys-not-read", why=str(error))
                failure = str(error)
            await asyncio.sleep(_READ_AGAIN)
            if not failure:
                await self._until_due()

    async def _until_due(self) -> None:
        try:
            async with asyncio.timeout(_READ_EVERY):
                await self._unknown.wait()
        except TimeoutError:
            pass

    def _take(self, body: JsonObject) -> None:
        keys = {key.key_id: key for key in jwt.PyJWKSet.from_dict(body).keys if key.key_id}
        if keys.keys() != self._keys.keys():
            log.info("xds.keys-read", keys=sorted(keys))
        self._keys = keys
        self._checked.clear()

    def pod(self, token: str) -> TokenPod:
        """Check a token. Raises Denied."""
        found = self._checked.get(token)
        if found is None or found[1] < time.time():
            self._checked.pop(token, None)
            found = self._check(token)
            if len(self._checked) >= _REMEMBERED:
                self._checked.clear()
            self._checked[token] = found
        return found[0]

    def _check(self, token: str) -> tuple[TokenPod, float]:
        try:
            key = self._keys.get(jwt.get_unverified_header(token).get("kid", ""))
            if key is None:
                self._unknown.set()
                raise Denied("the token is signed with a key that this cluster does not publish (yet)")
            claims = jwt.decode(
                token,
                key=key,
                algorithms=_ALGORITHMS,
                audience=AUDIENCE,
                leeway=_LEEWAY,
                # When it was made decides nothing, and a clock that is late would refuse a new pod.
                options={"require": list(_MUST), "verify_iat": False, "verify_nbf": False},
            )
            return _pod_of(claims["kubernetes.io"]), float(claims["exp"]) + _LEEWAY
        except (jwt.PyJWTError, ValueError) as error:  # ValueError: bytes of a header that are no text
            raise Denied(f"the token is not valid: {error}") from None
        except (KeyError, TypeError, AttributeError):
            raise Denied("the token is not one of a pod") from None


def _pod_of(claims: dict[str, Any]) -> TokenPod:
    pod = claims["pod"]
    return TokenPod(claims["namespace"], claims["serviceaccount"]["name"], pod["name"], pod["uid"])
