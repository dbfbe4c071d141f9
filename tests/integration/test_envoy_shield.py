"""The shield on a real Envoy: what clients see, what the model servers know, and what the series say must agree."""

import asyncio
from collections import Counter
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest

from serin.routers.envoy.limits import Limits
from serin.routers.envoy.settings import EnvoySettings, Shield
from tests.integration.envoy_rig import CANDIDATE, STABLE, ModelServer, Rig, eventually, model, rig

WEIGHT = 50


FOR_EVER = 120.0
"""A delay that no test waits for: whatever it holds up is given up before, or the test fails."""


async def evidence(of: Rig, attempts: int | None = None) -> Counter[str]:
    """The series of one scrape, once so many attempts at the candidate (if it is known how many) are in them.

    Histograms are merged once a second, so they tell that everything else is there.
    """
    first = {"serin_attempt": "first"}
    series = {
        "attempts": ("envoy_serin_attempts", {"serin_snapshot": CANDIDATE, **first}),
        "failures": ("envoy_serin_failures", {"serin_snapshot": CANDIDATE, **first}),
        "hedged": ("envoy_serin_hedged", {"serin_snapshot": CANDIDATE, **first}),
        "timed": ("envoy_serin_milliseconds_count", {"serin_snapshot": CANDIDATE, **first}),
        "stable attempts": ("envoy_serin_attempts", {"serin_snapshot": STABLE, **first}),
        "stable failures": ("envoy_serin_failures", {"serin_snapshot": STABLE, **first}),
        "shielding": ("envoy_serin_attempts", {"serin_snapshot": STABLE, "serin_attempt": "shield"}),
        "answers": ("envoy_serin_answers", {"serin_snapshot": CANDIDATE}),
        "answer failures": ("envoy_serin_answer_failures", {"serin_snapshot": CANDIDATE}),
    }

    async def read() -> Counter[str]:
        scrape = await of.envoy.scrape()
        return Counter({name: int(scrape.count(one, **labels)) for name, (one, labels) in series.items()})

    return await eventually(
        read, lambda found: found["timed"] == found["attempts"] == (found["attempts"] if attempts is None else attempts)
    )


@pytest.mark.parametrize("share", [0.05, 0.5, 1.0])
async def test_failures_of_the_candidate_reach_no_client_and_are_all_counted(tmp_path: Path, share: float) -> None:
    async with rig(tmp_path) as it:
        await it.route(WEIGHT)
        it.candidate.error_share = share
        it.stable.error_share = 0.01
        seen = await it.send(1000)
        found = await evidence(it, it.candidate.truth["received"])
        print(f"candidate fails {share:.0%}: clients {dict(seen)}, candidate {dict(it.candidate.truth)}, {dict(found)}")
        assert it.candidate.truth["failed"] > 0
        first_pod = {"serin_snapshot": CANDIDATE, "serin_slot": "0"}
        assert await it.envoy.count("envoy_serin_attempts", **first_pod) == found["attempts"], "told apart by pod"
        assert await it.envoy.count("envoy_serin_failures", **first_pod) == found["failures"]
        assert found["failures"] == it.candidate.truth["failed"] == found["shielding"]
        assert seen["500"] == it.stable.truth["failed"], "clients see stable's own failures and no others"
        assert seen["200"] + seen["500"] == 1000
        assert found["stable attempts"] + found["shielding"] == it.stable.truth["received"]
        assert found["answer failures"] + found["stable failures"] == it.stable.truth["failed"]


async def test_resets_are_shielded_and_counted_and_client_errors_are_neither(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        await it.route(WEIGHT)
        it.candidate.reset_share, it.candidate.refuse_share = 0.3, 0.3
        seen = await it.send(400)
        found = await evidence(it, it.candidate.truth["received"])
        assert it.candidate.truth["failed"] > 20
        assert it.candidate.truth["refused"] > 20
        assert found["failures"] == found["shielding"] == it.candidate.truth["failed"]
        assert seen["400"] == it.candidate.truth["refused"]
        assert seen["200"] + seen["400"] == 400


async def test_a_dead_candidate_costs_no_request(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        await it.route(WEIGHT)
        traffic = asyncio.create_task(it.send(600))
        await asyncio.sleep(1.0)
        await it.candidate.stop()
        seen = await traffic
        found = await evidence(it, seen[CANDIDATE] + seen["shielded"])
        print(f"candidate dies: clients {dict(seen)}, {dict(found)}")
        assert seen["200"] == 600
        assert found["failures"] == found["shielding"] >= found["attempts"] - it.candidate.truth["received"] > 50
        assert found["answer failures"] == 0


async def test_a_slow_candidate_is_hedged(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        await it.route(WEIGHT, EnvoySettings(hedge_after=0.3), patience=2 * FOR_EVER)
        it.candidate.delay, it.candidate.slow_share = FOR_EVER, 0.5
        loop = asyncio.get_running_loop()
        slowest, seen = 0.0, Counter[str]()
        for _ in range(5):
            started = loop.time()
            seen.update(await it.send(40))
            slowest = max(slowest, loop.time() - started)
        found = await evidence(it, seen[CANDIDATE] + seen["shielded"])
        slow = it.candidate.truth["slow"]
        print(f"hedge: slowest batch of 0.2 s took {slowest:.2f} s, {slow} slow, {dict(found)}")
        assert slow > 20
        assert seen["200"] == 200
        assert slowest < FOR_EVER, "somebody waited for a slow answer"
        assert found["failures"] == 0
        assert slow <= found["hedged"] == found["shielding"]
        quick = found["attempts"] - slow
        assert found["hedged"] - slow < quick / 2, (
            "what answers in time is asked once: a machine may delay a few of them"
        )
        over = found["timed"] - await it.envoy.count(
            "envoy_serin_milliseconds_bucket", serin_snapshot=CANDIDATE, serin_attempt="first", le="80.0"
        )
        assert over >= slow, "slow attempts are in the histogram with the time that they had lasted"


async def test_a_hedged_candidate_that_fails_late_is_a_failure_once(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        await it.route(100, EnvoySettings(hedge_after=0.05), patience=FOR_EVER)
        it.candidate.error_share = 1.0
        # No failure before stable was asked as well, and no answer of stable before Envoy knows of every failure.
        it.candidate.hold = lambda: eventually(lambda: it.stable.count("received"), lambda count: count == 20)
        failures = {"serin_snapshot": CANDIDATE, "serin_attempt": "first"}
        known = asyncio.Event()
        it.stable.hold = known.wait
        sending = asyncio.create_task(it.send(20))
        await eventually(lambda: it.envoy.count("envoy_serin_failures", **failures), lambda count: count == 20)
        known.set()
        seen = await sending
        found = await evidence(it, 20)
        assert seen["200"] == seen["shielded"] == 20
        assert found["failures"] == found["hedged"] == 20


async def test_time_outs_are_shielded_and_counted(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        await it.route(WEIGHT, patience=5.0)  # long enough that nothing else takes so long
        it.candidate.delay, it.candidate.slow_share = FOR_EVER, 0.3
        seen = await it.send(200)
        found = await evidence(it, seen[CANDIDATE] + seen["shielded"])
        assert it.candidate.truth["slow"] > 10
        assert seen["200"] == 200
        assert found["failures"] == found["shielding"] == it.candidate.truth["slow"]


@pytest.mark.parametrize(("patience", "hedge_after"), [(2.0, None), (5.0, 1.0)])
async def test_time_outs_of_both_fail_once_each(tmp_path: Path, patience: float, hedge_after: float | None) -> None:
    async with rig(tmp_path) as it:
        await it.route(100, EnvoySettings(hedge_after=hedge_after), patience)
        it.candidate.delay = it.stable.delay = FOR_EVER
        seen = await it.send(20)
        found = await evidence(it, 20)
        assert seen["504"] == 20
        assert found["failures"] == found["answer failures"] == 20


async def test_a_client_that_hangs_up_is_no_failure(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        await it.route(100)
        it.candidate.delay = FOR_EVER
        asking = asyncio.create_task(it.send(20))
        await eventually(lambda: it.candidate.count("received"), lambda count: count == 20)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        found = await evidence(it, 20)
        assert found["failures"] == found["shielding"] == found["answers"] == 0


async def test_unsent_shields_only_what_never_reached_the_model(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        await it.route(WEIGHT, EnvoySettings(shield=Shield.UNSENT))
        it.candidate.error_share = 0.5
        seen = await it.send(200)
        found = await evidence(it, it.candidate.truth["received"])
        assert seen["500"] == it.candidate.truth["failed"] == found["failures"] == found["answer failures"] > 20
        assert found["shielding"] == 0
        await it.candidate.stop()
        await it.envoy.parted(it.candidate)  # or a request is sent into a connection that is closed at this moment
        seen = await it.send(200)
        after = await evidence(it, found["attempts"] + seen["shielded"])
        assert seen["200"] == 200
        assert after["shielding"] == after["failures"] - found["failures"] == after["attempts"] - found["attempts"] > 50


async def test_off_shields_nothing_and_counts_the_same(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        await it.route(WEIGHT, EnvoySettings(shield=Shield.OFF))
        it.candidate.error_share, it.candidate.reset_share = 0.3, 0.2
        seen = await it.send(200)
        found = await evidence(it, it.candidate.truth["received"])
        assert found["failures"] == found["answer failures"] == it.candidate.truth["failed"] > 20
        assert seen["200"] == 200 - it.candidate.truth["failed"]
        await it.candidate.stop()
        seen = await it.send(100)
        after = await evidence(it, found["attempts"] + seen["503"])
        assert seen["503"] == after["failures"] - found["failures"] == after["attempts"] - found["attempts"] > 20
        assert found["shielding"] == after["shielding"] == 0


async def test_an_answer_that_breaks_off_is_a_failure(tmp_path: Path) -> None:
    """It has begun, so nobody can shield it; the evidence has it."""
    async with rig(tmp_path) as it:
        await it.route(100)
        for _ in range(10):
            async with it.client.get(it.url + "/broken") as response:
                assert await response.content.readexactly(4) == b"half"
                it.candidate.cut.set()
                with pytest.raises(aiohttp.ClientPayloadError):
                    await response.read()
        found = await evidence(it, 10)
        assert found["attempts"] == found["failures"] == found["answer failures"] == 10


async def test_the_shield_holds_under_load(tmp_path: Path) -> None:
    """Envoy's own limit is 3 retries at once."""
    async with rig(tmp_path) as it:
        await it.route(100)
        it.candidate.error_share, it.candidate.delay = 1.0, 0.05
        it.stable.delay = 0.2
        seen = await it.send(300, rate=1000)
        assert seen["200"] == seen["shielded"] == 300


async def test_large_requests_are_shielded_when_the_limit_is_as_large(tmp_path: Path) -> None:
    async with rig(tmp_path, limits=Limits(shielded_bytes=9 * 1024 * 1024)) as it:
        await it.route(100)
        it.candidate.error_share = 1.0
        body = b"x" * (8 * 1024 * 1024)
        async with it.client.post(it.url, data=body) as response:
            assert response.status == 200
            assert (await response.json()) == {"model": "stable", "bytes": len(body)}
            assert response.headers["x-serin-snapshot"] == STABLE
            assert response.headers["x-serin-shielded"] == "true"


async def test_clients_cannot_switch_the_shield_off(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        await it.route(100)
        it.candidate.error_share = 1.0
        seen = await it.send(20, headers={"x-envoy-max-retries": "0", "x-envoy-upstream-rq-timeout-ms": "1"})
        assert seen["200"] == seen["shielded"] == 20


async def test_without_a_pod_of_stable_the_candidate_fails_alone(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        wanted = model(it.port, (), (it.candidate,), 100)
        it.xds.update([wanted])
        await it.served(wanted)
        it.candidate.error_share = 1.0
        seen = await it.send(20)
        found = await evidence(it, 20)
        assert seen["500"] == 20
        assert found["attempts"] == found["failures"] == it.candidate.truth["failed"] == 20


async def test_a_pod_of_stable_that_has_just_gone_costs_no_request(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        other = await ModelServer("stable").start()
        wanted = model(it.port, (it.stable, other))
        it.xds.update([wanted])
        await eventually(lambda: it.send(10), lambda _: other.truth["received"] > 0)
        await other.stop()
        await it.envoy.parted(other)
        seen = await it.send(300)
        assert seen["200"] == 300
        gone = replace(wanted, arms=(replace(wanted.arms[0], endpoints=(it.stable.endpoint,)),))
        it.xds.update([gone])
        assert (await it.send(100))["200"] == 100
