"""Two versions' answers to the same requests, compared by a real guard behind a real Envoy."""

import json
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from aiohttp import web

from serin.api.guard import Check, OutputGuard, Protocol
from serin.api.guard_agreement import KEY, OUTCOME, AgreementGuard, Comparison, key_of
from serin.api.guard_inputs import Column, InputGuard
from serin.api.kill_switch import FixedAnswer
from serin.api.split import Mirror, Rule
from serin.routers.envoy.routed_model import Agreement, RoutedModel
from tests.integration.envoy_rig import CANDIDATE, STABLE, eventually
from tests.integration.test_envoy_guard import INFER, MEBIBYTE, Guarded, guarded

UID = "4f3c"
HOW = AgreementGuard(Protocol.OPEN_INFERENCE, (Comparison("label"),), share=100)
# A share of the requests is another one's every time; so far from it no seed lies.
LUCK = 5


def answers(label: str, size: int = 0) -> bytes:
    outputs = [{"name": "label", "datatype": "BYTES", "shape": [1], "data": [label]}]
    return json.dumps({"outputs": outputs, "more": "x" * size}).encode()


def saying(label: str) -> object:
    async def answer(request: web.Request) -> web.StreamResponse:
        size = int(request.query.get("size", "0"))
        return web.Response(body=answers(label, size), content_type="application/json")

    return answer


def routed(it: Guarded, weight: int = 0, share: int = 100, percent: int = 100, **more: object) -> RoutedModel:
    agreement = Agreement(replace(HOW, share=share), UID, CANDIDATE)
    mirror = None if weight else Mirror(CANDIDATE, percent)
    return replace(it.model(weight), guard=None, agreement=agreement, mirror=mirror, **more)


@asynccontextmanager
async def comparing(folder: Path, label: str = "fraud") -> AsyncIterator[Guarded]:
    async with guarded(folder, weight=0) as it:
        it.it.stable.answer, it.it.candidate.answer = saying("fraud"), saying(label)  # type: ignore[assignment]
        yield it


async def send(it: Guarded, count: int) -> Counter[str]:
    """So many requests, of which no more are under way than the guard compares at once."""
    seen = Counter[str]()
    for _ in range(0, count, 50):
        seen += await it.it.send(50, path=INFER)
        # What was asked for this is over.
        await idle(it)
    return seen


async def idle(it: Guarded) -> None:
    """Wait until the router has nothing under way to the candidate."""

    async def active() -> list[str]:
        _, text = await it.it.envoy.get("/clusters", it.it.envoy.admin_port)
        busy = [line for line in text.splitlines() if "+copies::" in line and "::rq_active::" in line]
        return [line for line in busy if not line.endswith("::0")]

    await eventually(active, lambda found: not found)


async def outcomes(it: Guarded, count: int) -> Counter[str]:
    """What the router has counted of comparisons, when they are so many."""

    async def read() -> Counter[str]:
        scrape = await it.it.envoy.scrape()
        found = Counter[str]()
        for name in ("compared", "disagreements", "incomparable"):
            found[name] = int(scrape.count(f"envoy_serin_{name}", serin_snapshot=CANDIDATE))
        found["label"] = int(scrape.count("envoy_serin_disagreements", serin_snapshot=CANDIDATE, serin_kind="label"))
        return found

    return await eventually(read, lambda found: found["compared"] + found["incomparable"] >= count)


async def settled(it: Guarded, requests: int = 0) -> Counter[str]:
    """What the router has counted, when that is everything the candidate got beside these requests of clients.

    A busy machine may let the guard see less than all: the router takes it for gone, or it has enough to do.
    """

    async def difference() -> float:
        found = await outcomes(it, 0)
        return it.it.candidate.truth["received"] - requests - found["compared"] - found["incomparable"]

    await eventually(lambda: it.it.candidate.count("received"), lambda got: got > requests)
    await idle(it)
    await eventually(difference, lambda found: found == 0)
    return await outcomes(it, 0)


async def test_a_shadow_that_answers_otherwise_is_seen_and_touches_no_client(tmp_path: Path) -> None:
    async with comparing(tmp_path, "legit") as it:
        copies: list[dict[str, str]] = []
        it.it.candidate.watch = lambda request: copies.append(dict(request.headers))
        inputs = InputGuard(Protocol.OPEN_INFERENCE, (Column("age", missing=True),))
        await it.route(routed(it, inputs=inputs))
        count = 50
        seen = await send(it, count)
        assert (seen["200"], seen[STABLE], seen["shielded"]) == (count, count, 0)
        found = await settled(it)
        some = found["compared"]
        assert found == Counter(compared=some, disagreements=some, label=some, incomparable=0)
        assert count / 2 < some <= count == it.it.stable.truth["received"]
        # As any copy they say what they are, and not by which key they came.
        assert {one.get("x-serin-shadow") for one in copies} == {"true"}
        assert not any(name.lower() in (KEY, "x-envoy-internal") for one in copies for name in one)
        # They are no client's requests: what clients got is what clients asked for.
        scrape = await it.it.envoy.scrape()
        assert (
            scrape.count("envoy_serin_answers") == scrape.count("envoy_serin_answers", serin_snapshot=STABLE) == count
        )
        assert scrape.count("envoy_serin_answer_failures") == 0
        assert scrape.count("envoy_serin_attempts", serin_snapshot=CANDIDATE) == some
        looked = ("inputs_checked", "inputs_unchecked")
        assert sum(scrape.count(f"envoy_serin_{one}") for one in looked) == count


async def test_the_candidate_gets_no_more_than_the_mirror_says(tmp_path: Path) -> None:
    async with comparing(tmp_path) as it:
        await it.route(routed(it, share=20, percent=50))
        count = 500
        await send(it, count)
        assert (await outcomes(it, 100 - LUCK * 9))["compared"] < 100 + LUCK * 9
        assert abs(it.it.candidate.truth["received"] - 250) < LUCK * 12
        assert (await outcomes(it, 0))["disagreements"] == 0


async def test_of_a_canary_stables_requests_are_compared_too(tmp_path: Path) -> None:
    async with comparing(tmp_path, "legit") as it:
        await it.route(routed(it, weight=40, share=20))
        count = 500
        seen = await send(it, count)
        assert (seen["200"], seen["shielded"]) == (count, 0)
        found = await settled(it, seen[CANDIDATE])
        assert abs(found["compared"] - 100) < LUCK * 9
        assert found["compared"] == found["disagreements"]
        read = lambda: it.it.envoy.count("envoy_serin_answers", serin_snapshot=CANDIDATE)  # noqa: E731
        assert await eventually(read, lambda found: found >= seen[CANDIDATE]) == seen[CANDIDATE]


async def test_what_the_candidate_fails_is_its_failure_and_no_disagreement(tmp_path: Path) -> None:
    async with comparing(tmp_path) as it:
        it.it.candidate.error_share = 1.0
        await it.route(routed(it))
        seen = await it.it.send(50, path=INFER)
        assert (seen["200"], seen[STABLE]) == (50, 50)
        failures = lambda: it.it.envoy.count("envoy_serin_failures", serin_snapshot=CANDIDATE)  # noqa: E731
        received = lambda: it.it.candidate.truth["received"]  # noqa: E731
        assert 0 < await eventually(failures, lambda found: 0 < found == received()) <= 50
        assert (await outcomes(it, 0)).total() == 0


async def test_the_fallback_is_no_answer_of_the_candidate(tmp_path: Path) -> None:
    async with comparing(tmp_path, "nobody") as it:
        fallback = FixedAnswer(200, "application/json", answers("fraud").decode())  # what stable says, too
        checked = OutputGuard(Protocol.OPEN_INFERENCE, (Check("label", labels=frozenset({"fraud"})),), "", fallback)
        await it.route(replace(routed(it), guard=checked))
        seen = await it.it.send(50, path=INFER)
        assert (seen["200"], seen[STABLE]) == (50, 50)
        refused = lambda: it.it.envoy.count("envoy_serin_bad_outputs", serin_snapshot=CANDIDATE)  # noqa: E731
        received = lambda: it.it.candidate.truth["received"]  # noqa: E731
        assert 0 < await eventually(refused, lambda found: 0 < found == received()) <= 50
        assert (await outcomes(it, 0)).total() == 0


async def test_no_client_reaches_the_candidate_by_the_header(tmp_path: Path) -> None:
    async with comparing(tmp_path) as it:
        await it.route(routed(it, rules=(Rule(CANDIDATE, {"x-beta": "true"}),)))
        forged = {OUTCOME: "same", "x-beta": "true"}
        for key in ("yes", key_of("guessed", CANDIDATE), key_of(UID, "fraud-earlier"), ""):
            async with it.it.client.post(it.it.url + INFER, data=b"{}", headers={KEY: key, **forged}) as response:
                assert response.status == 404
                assert (await response.text()).startswith("serin: nothing is compared here")
        # When the rollout is over the guard's own requests, which may be on their way, go nowhere either.
        over = routed(it, weight=0)
        await it.route(replace(over, mirror=None, agreement=Agreement(HOW, UID, None)))
        key = {KEY: key_of(UID, CANDIDATE)}
        async with it.it.client.post(it.it.url + INFER, data=b"{}", headers=key) as response:
            assert response.status == 404
        assert it.it.candidate.truth["received"] == it.it.stable.truth["received"] == 0
        assert (await outcomes(it, 0)).total() == 0


async def test_no_client_waits_whatever_guard_and_candidate_do(tmp_path: Path) -> None:
    """The candidate answers nothing, then the guard stands still: answers come as if there were neither."""
    async with comparing(tmp_path) as it:
        it.it.candidate.delay = 30.0
        await it.route(routed(it))
        begun = time.monotonic()
        for end in (None, signal.SIGSTOP, signal.SIGKILL):
            if end:
                it.process.send_signal(end)
            seen = await it.it.send(100, path=INFER)
            assert (seen["200"], seen[STABLE]) == (100, 100)
        assert time.monotonic() - begun < 20
        # Of requests that wait for an answer the guard has a few and no more.
        assert it.it.candidate.truth["received"] <= 64


async def test_answers_of_any_size_pass_and_the_router_lives(tmp_path: Path) -> None:
    async with comparing(tmp_path) as it:
        await it.route(routed(it))
        compared = 0
        # One after the other, as all that are under way share the deployment's room.
        for size, count in (*[(MEBIBYTE // 2, 1)] * 3, (3 * MEBIBYTE, 4), (12 * MEBIBYTE, 24)):
            found = await it.ask(f"{INFER}?size={size}", count)
            assert set(found) == {(200, "-", len(answers("fraud", size)))}
            compared += size < MEBIBYTE
            assert (await outcomes(it, compared))["compared"] == compared
        assert (await settled(it))["compared"] == 3, "what is larger is compared with nothing"
        assert it.it.envoy.process is not None
        assert it.it.envoy.process.returncode is None
        assert it.process.returncode is None
