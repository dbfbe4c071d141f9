"""Requests that a version calls the client's mistake, on a real Envoy: no failures, and counted all the same."""

from pathlib import Path

from tests.integration.envoy_rig import CANDIDATE, STABLE, eventually, model, rig


async def test_a_candidate_that_refuses_everything_is_counted_and_its_answers_reach_the_client(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        it.candidate.refuse_share = 1.0
        wanted = model(it.port, (it.stable,), (it.candidate,), 50)
        it.xds.update([wanted])
        await it.served(wanted)
        seen = await it.send(100)
        assert 0 < seen["400"] < 100

        async def counted(series: str, snapshot: str) -> float:
            return await it.envoy.count(series, serin_snapshot=snapshot, serin_attempt="first")

        async def rejections() -> float:
            return await counted("envoy_serin_rejections", CANDIDATE)

        await eventually(rejections, lambda found: found == seen["400"])
        assert await counted("envoy_serin_attempts", CANDIDATE) == seen["400"]
        assert await counted("envoy_serin_failures", CANDIDATE) == 0
        assert await counted("envoy_serin_rejections", STABLE) == 0
