"""A mirror on a real Envoy: how many copies are made, what they carry, what is counted, and that no client notices."""

import asyncio
import math
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

from aiohttp import web

from serin.api.serving import Serving
from serin.api.split import Mirror
from serin.routers.envoy.limits import COPIED_BYTES, COPIES
from tests.integration.envoy_rig import CANDIDATE, STABLE, Rig, eventually, model, rig

PERCENT = 20
MEBIBYTE = 1024 * 1024


async def mirror(it: Rig, percent: int = PERCENT, patience: float = 300.0) -> None:
    """Stable answers everything; the candidate gets copies."""
    plain = model(it.port, (it.stable,), (it.candidate,), 0, serving=Serving(timeout=patience))
    wanted = replace(plain, mirror=Mirror(CANDIDATE, percent))
    it.xds.update([wanted])
    await it.served(wanted)


async def attempts(it: Rig, series: str, snapshot: str, wanted: int, **labels: str) -> float:
    """What Envoy has counted, once it has counted that many."""
    read = lambda: it.envoy.count(f"envoy_serin_{series}", serin_snapshot=snapshot, **labels)  # noqa: E731
    return await eventually(read, lambda found: found >= wanted, seconds=20)


def all_from_stable(seen: Counter[str], count: int) -> bool:
    return (seen["200"], seen[STABLE], seen[CANDIDATE], seen["shielded"]) == (count, count, 0, 0)


async def test_a_fifth_of_the_requests_is_copied_and_every_copy_is_counted(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        await mirror(it)
        it.candidate.error_share = 0.3
        count, share = 3_000, PERCENT / 100
        seen = await it.send(count, rate=600)
        assert all_from_stable(seen, count)
        copies = it.candidate.truth["received"]
        assert abs(copies - count * share) < 4 * math.sqrt(count * share * (1 - share))
        assert await attempts(it, "attempts", CANDIDATE, copies, serin_attempt="first") == copies
        failed = it.candidate.truth["failed"]
        assert await attempts(it, "failures", CANDIDATE, failed, serin_attempt="first") == failed
        assert await attempts(it, "attempts", STABLE, count, serin_attempt="first") == count
        assert await attempts(it, "milliseconds_count", CANDIDATE, copies) == copies
        scrape = await it.envoy.scrape()
        assert scrape.count("envoy_serin_answers", serin_snapshot=CANDIDATE) == 0
        assert scrape.count("envoy_serin_answers") == count
        names = {one.labels["serin_snapshot"] for one in scrape.samples if "serin_snapshot" in one.labels}
        assert names <= {STABLE, CANDIDATE}


async def test_a_copy_is_the_request_and_says_that_it_is_a_copy(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        await mirror(it, percent=100)
        got: dict[str, list[web.Request]] = {"stable": [], "candidate": []}
        for server in (it.stable, it.candidate):
            server.watch = got[server.name].append
        seen = await it.send(1, path="/predict?a=1", headers={"host": "fraud.example", "x-serin-shadow": "no"})
        assert all_from_stable(seen, 1)
        await eventually(lambda: it.candidate.count("answered"), lambda found: found == 1)
        (request,), (copy,) = got["stable"], got["candidate"]
        assert (copy.method, copy.path_qs, copy.host) == ("POST", "/predict?a=1", request.host)
        assert copy.host == "fraud.example"
        assert copy.headers["x-serin-shadow"] == "true"
        assert "x-serin-shadow" not in request.headers
        assert set(copy.headers) - set(request.headers) == {"x-serin-shadow"}
        assert set(request.headers) <= set(copy.headers)
        changed = {name for name, value in request.headers.items() if copy.headers[name] != value}
        assert {name.lower() for name in changed} <= {"x-forwarded-for"}


async def test_what_is_too_large_or_of_unknown_size_is_not_copied(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        await mirror(it, percent=100)

        async def chunks():  # type: ignore[no-untyped-def]
            yield b"{}"

        async with it.client.post(it.url + "/predict", data=bytes(COPIED_BYTES + 1)) as answer:
            assert (await answer.json())["bytes"] == COPIED_BYTES + 1
        async with it.client.post(it.url + "/predict", data=chunks()) as answer:
            assert answer.status == 200
        async with it.client.ws_connect(it.url + "/socket") as socket:
            await socket.send_str("hello")
            assert (await socket.receive()).data == "stable hello"
        assert it.candidate.truth["received"] == 0
        async with it.client.post(it.url + "/predict", data=bytes(COPIED_BYTES)) as answer:
            assert answer.status == 200
        async with it.client.get(it.url + "/predict") as answer:
            assert answer.status == 200
        await eventually(lambda: it.candidate.count("answered"), lambda found: found == 2)


async def test_clients_notice_nothing_of_a_version_that_fails_hangs_and_dies(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        await mirror(it, patience=3.0)
        took: dict[str, float] = {}

        async def under(fault: str, count: int = 1_500) -> None:
            started = time.monotonic()
            assert all_from_stable(await it.send(count, rate=300), count), fault
            took[fault] = time.monotonic() - started - count / 300

        await under("nothing")
        it.candidate.error_share = 1.0
        await under("it fails")
        it.candidate.error_share, it.candidate.reset_share = 0.0, 1.0
        await under("it resets")
        it.candidate.reset_share, it.candidate.delay = 0.0, 60.0
        answered = it.candidate.truth["received"] - it.candidate.truth["failed"]
        await under("it hangs")

        async def counted() -> tuple[float, int]:
            # A copy may reach the candidate after stable's answer has reached the client.
            failures = await it.envoy.count("envoy_serin_failures", serin_snapshot=CANDIDATE, serin_attempt="first")
            return failures, it.candidate.truth["received"] - answered

        await eventually(counted, lambda found: found[0] == found[1], seconds=20)
        await asyncio.sleep(1.0)
        failures, copies = await counted()
        assert failures == copies, "each copy that has hung is a failure, once"
        await it.candidate.stop()
        await under("it is dead")
        assert max(took.values()) < 3.0, took


async def test_a_version_that_reads_nothing_keeps_no_client_waiting_and_little_memory(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:

        async def silent(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            _reader._transport.pause_reading()  # type: ignore[attr-defined]
            await asyncio.sleep(3600)
            writer.close()

        await it.candidate.stop()
        server = await asyncio.start_server(silent, "127.0.0.1", it.candidate.port)
        try:
            await mirror(it, percent=100, patience=60.0)
            before, body = it.envoy.memory(), bytes(COPIED_BYTES)

            async def send() -> float:
                started = time.monotonic()
                async with it.client.post(it.url + "/predict", data=body) as answer:
                    assert answer.status == 200
                    await answer.read()
                return time.monotonic() - started

            took = [max(await asyncio.gather(*(send() for _ in range(16)))) for _ in range(4 * COPIES // 16)]
            assert max(took) < 5.0, took
            assert it.envoy.memory() - before < 2 * COPIES * COPIED_BYTES
        finally:
            server.close()
