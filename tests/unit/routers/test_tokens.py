"""Which tokens are taken, and when the keys for it are read."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from serin.api.json import JsonObject
from serin.cluster.protocol import Retryable
from serin.routers.envoy import tokens as module
from serin.routers.envoy.tokens import TokenPod, Tokens
from serin.routers.envoy.xds.access import Denied
from tests.unit.routers.context import until
from tests.unit.routers.issuer import SYSTEM, Issuer

POD = TokenPod(SYSTEM, "serin-router", "router-1", "uid-router-1")


@pytest.fixture
def issuer() -> Issuer:
    return Issuer()


@dataclass
class Cluster:
    """What the API server answers when it is asked for keys."""

    answer: JsonObject | Exception
    asked: int = 0

    async def read_keys(self) -> JsonObject:
        self.asked += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@asynccontextmanager
async def running(cluster: Cluster) -> AsyncIterator[Tokens]:
    tokens = Tokens(cluster.read_keys)
    task = asyncio.create_task(tokens.run())
    try:
        await until(lambda: cluster.asked)
        yield tokens
        assert not task.done(), "it never ends by itself"
    finally:
        task.cancel()


def denied(tokens: Tokens, token: str) -> bool:
    try:
        tokens.pod(token)
    except Denied:
        return True
    return False


@pytest.mark.parametrize("issuer", [Issuer(), Issuer(ec.generate_private_key(ec.SECP256R1()))], ids=["RSA", "EC"])
async def test_a_pod_is_known_by_its_token(issuer: Issuer) -> None:
    async with running(Cluster(issuer.keys())) as tokens:
        assert tokens.pod(issuer.token("router-1")) == POD


@pytest.mark.parametrize(
    ("claims", "why"),
    [
        ({"aud": ["https://kubernetes.default.svc"]}, "Audience"),
        ({"aud": None}, "aud"),
        ({"exp": time.time() - 3600}, "expired"),
        ({"exp": None}, "exp"),
        ({"kubernetes.io": None}, "not one of a pod"),
        ({"kubernetes.io": {"namespace": SYSTEM, "serviceaccount": {"name": "serin-router"}}}, "not one of a pod"),
        ({"kubernetes.io": "pod"}, "not one of a pod"),
    ],
)
async def test_a_token_for_something_else_is_denied(issuer: Issuer, claims: dict[str, Any], why: str) -> None:
    async with running(Cluster(issuer.keys())) as tokens:
        for _ in range(2):
            with pytest.raises(Denied, match=why):
                tokens.pod(issuer.token("router-1", **claims))


async def test_what_somebody_else_has_signed_is_denied(issuer: Issuer) -> None:
    async with running(Cluster(issuer.keys())) as tokens:
        other = Issuer(kid=issuer.kid)
        shown = jwt.decode(issuer.token("router-1"), options={"verify_signature": False})
        public = issuer.keys()["keys"][0]["n"].encode()  # what everybody knows is no secret to sign with
        for token in (
            other.token("router-1"),
            jwt.encode(shown, None, algorithm="none", headers={"kid": issuer.kid}),
            jwt.encode(shown, public, algorithm="HS256", headers={"kid": issuer.kid}),
            issuer.token("router-1")[:-4] + "AAAA",
            issuer.token("router-1").rpartition(".")[0],
            "no token",
            "a.b.c",
            "\udcff.b.c",  # as aiohttp gives bytes that are no text
        ):
            with pytest.raises(Denied):
                tokens.pod(token)


async def test_a_clock_that_is_late_denies_no_new_token(issuer: Issuer) -> None:
    async with running(Cluster(issuer.keys())) as tokens:
        early = time.time() + 3000
        assert tokens.pod(issuer.token("router-1", nbf=early, iat=early)) == POD


async def test_a_token_is_checked_once_until_it_ends(issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A router shows it with every one of hundreds of requests."""
    async with running(Cluster(issuer.keys())) as tokens:
        token, checks = issuer.token("router-1"), list[str]()
        decode = jwt.decode
        monkeypatch.setattr(module.jwt, "decode", lambda *args, **more: checks.append("") or decode(*args, **more))
        for _ in range(100):
            assert tokens.pod(token) == POD
        assert len(checks) == 1
        monkeypatch.setattr(module.time, "time", lambda: 1e10)
        tokens.pod(token)
        assert len(checks) == 2, "its time is over: it is checked again"


async def test_a_new_key_is_read_when_a_token_shows_it(issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_READ_AGAIN", 0.05)
    cluster = Cluster(issuer.keys())
    async with running(cluster) as tokens:
        newer = Issuer()
        cluster.answer = {"keys": issuer.keys()["keys"] + newer.keys()["keys"]}
        await until(lambda: not denied(tokens, newer.token("router-1")))
        assert tokens.pod(newer.token("router-1")) == POD
        assert tokens.pod(issuer.token("router-1")) == POD
        cluster.answer = newer.keys()
        with pytest.raises(Denied):
            tokens.pod(Issuer().token("router-1"))
        await until(lambda: denied(tokens, issuer.token("router-1")))


async def test_strangers_tokens_make_no_requests(issuer: Issuer) -> None:
    """Invented keys: one more reading of the true ones after a pause, however many there are."""
    cluster = Cluster(issuer.keys())
    async with running(cluster) as tokens:
        forged = Issuer().token("router-1")
        for _ in range(1000):
            with pytest.raises(Denied):
                tokens.pod(forged)
        await asyncio.sleep(0.2)
        assert cluster.asked == 1


@pytest.mark.parametrize(
    "broken",
    [
        Retryable("no answer from the API server"),
        ValueError("Expecting value: a proxy has answered with a page"),
        {"keys": []},
        {},
        {"keys": [{"kty": "?", "kid": "k"}]},
    ],
)
async def test_without_an_answer_the_keys_that_are_known_stay(
    issuer: Issuer, broken: JsonObject | Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_READ_AGAIN", 0.01)
    cluster = Cluster(issuer.keys())
    async with running(cluster) as tokens:
        cluster.answer = broken
        with pytest.raises(Denied):
            tokens.pod(Issuer().token("router-1"))
        await until(lambda: cluster.asked >= 4)
        assert tokens.pod(issuer.token("router-1")) == POD
