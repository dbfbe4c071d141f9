"""The kill switch on a real Envoy: what clients get in the place of every version."""

from dataclasses import replace
from pathlib import Path

from serin.api.kill_switch import FixedAnswer
from serin.routers.endpoints import Endpoint
from tests.integration.envoy_rig import STABLE, ModelServer, Rig, eventually, free_port, model, rig


async def switch(it: Rig, fallback: FixedAnswer | Endpoint | None, *, killed: bool = True) -> None:
    wanted = replace(model(it.port, (it.stable,), (it.candidate,), 0), killed=killed, fallback=fallback)
    it.xds.update([wanted])


async def answer(it: Rig, **headers: str) -> tuple[int, str, str]:
    """Status, media type and body."""
    async with it.client.post(f"{it.url}/predict", data=b"{}", headers=headers) as got:
        return got.status, got.headers.get("content-type", ""), await got.text()


async def test_a_fixed_answer_of_any_allowed_size(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        body = "ü" * 4096
        await switch(it, FixedAnswer(200, "text/plain; charset=utf-8", body))
        await eventually(lambda: answer(it), lambda got: got == (200, "text/plain; charset=utf-8", body))
        received = it.stable.truth["received"]
        assert (await it.send(50))["200"] == 50
        assert it.stable.truth["received"] == received, "no version is asked"
        await switch(it, FixedAnswer(204, "application/json", ""))
        await eventually(lambda: answer(it), lambda got: (got[0], got[2]) == (204, ""))
        await switch(it, None, killed=False)
        await eventually(lambda: it.send(1), lambda seen: seen[STABLE] == 1)


async def test_without_a_fallback_it_is_503_in_plain_words(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        await switch(it, None)
        got = await eventually(lambda: answer(it), lambda got: got[0] == 503)
        assert got[1:] == ("text/plain", "serin: model deployment shop/fraud is switched off (kill switch)\n")


async def test_a_service_answers_and_no_request_is_lost_on_the_way(tmp_path: Path) -> None:
    rules = await ModelServer("rules").start()
    try:
        async with rig(tmp_path) as it:
            await switch(it, rules.endpoint, killed=False)
            await it.served(model(it.port, (it.stable,), (it.candidate,), 0))
            async with it.traffic() as seen:
                await eventually(lambda: it.stable.count("received"), lambda count: count > 20)
                await switch(it, rules.endpoint)
                await eventually(lambda: rules.count("received"), lambda count: count > 20)
                await switch(it, rules.endpoint, killed=False)
                before = it.stable.truth["received"]
                await eventually(lambda: it.stable.count("received"), lambda count: count > before + 20)
            assert seen["200"] == seen["sent"], seen
            assert seen["fallback"] == rules.truth["received"]
    finally:
        await rules.stop()


async def test_two_that_fall_back_on_each_other_send_nothing_round(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        other = free_port()
        first = replace(model(it.port, (it.stable,), ()), killed=True, fallback=Endpoint("127.0.0.1", other))
        second = replace(
            model(other, (it.candidate,), (), name="churn"), killed=True, fallback=Endpoint("127.0.0.1", it.port)
        )
        it.xds.update([first, second])
        got = await eventually(lambda: answer(it), lambda got: "falls back on it" in got[2])
        assert got[0] == 503
