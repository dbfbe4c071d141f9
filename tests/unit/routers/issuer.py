"""Signs tokens as an API server does for its ServiceAccounts, and publishes the keys for it."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from itertools import cycle
from typing import Any
from uuid import uuid4

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from serin.api.json import JsonObject
from serin.routers.envoy.tokens import AUDIENCE

SYSTEM = "serin-system"


@cache
def _keys() -> Iterator[rsa.RSAPrivateKey]:
    return cycle([rsa.generate_private_key(public_exponent=65537, key_size=2048) for _ in range(4)])


def rsa_key() -> rsa.RSAPrivateKey:
    """Another key than the last three: no test needs more, and to make one takes long."""
    return next(_keys())


@dataclass
class Issuer:
    """One key pair. `reads`: how often the keys were asked for."""

    key: Any = field(default_factory=rsa_key)
    kid: str = field(default_factory=lambda: uuid4().hex)
    reads: int = 0

    @property
    def algorithm(self) -> str:
        return "ES256" if isinstance(self.key, ec.EllipticCurvePrivateKey) else "RS256"

    def keys(self) -> JsonObject:
        """The public key as the API server publishes it."""
        method = jwt.get_algorithm_by_name(self.algorithm)
        body = method.to_jwk(self.key.public_key(), as_dict=True)
        return {"keys": [{**body, "use": "sig", "kid": self.kid, "alg": self.algorithm}]}

    async def read_keys(self) -> JsonObject:
        self.reads += 1
        return self.keys()

    def token(self, pod: str, uid: str = "", *, account: str = "serin-router", **claims: Any) -> str:
        """A token of a pod. `claims`: what differs from a token that is in order; None leaves a claim out."""
        now = time.time()
        inside = {
            "namespace": SYSTEM,
            "node": {"name": "node", "uid": "n"},
            "pod": {"name": pod, "uid": uid or f"uid-{pod}"},
            "serviceaccount": {"name": account, "uid": "s"},
        }
        body = {
            "aud": [AUDIENCE],
            "exp": now + 3600,
            "iat": now,
            "iss": "https://kubernetes.default.svc.cluster.local",
            "kubernetes.io": inside,
            "nbf": now,
            "sub": f"system:serviceaccount:{SYSTEM}:{account}",
        } | claims
        shown = {name: value for name, value in body.items() if value is not None}
        return jwt.encode(shown, self.key, algorithm=self.algorithm, headers={"kid": self.kid})
