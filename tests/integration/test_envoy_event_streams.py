"""Event streams that end in every way they can, through a real Envoy: each broken one is one failure of its version."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest

from serin.api.serving import Serving
from serin.routers.envoy.routed_model import RoutedModel
from serin.routers.envoy.settings import EnvoySettings, EventStreams
from tests.cluster.ports import free_port
from tests.integration.envoy_rig import CANDIDATE, Rig, eventually, model, rig
from tests.integration.stream_server import ERROR, Stream, StreamServer, token

TIMEOUT = 2.0
READ = EnvoySettings(event_streams=EventStreams.READ)
HEDGED = replace(READ, hedge_after=0.3)
FIRST = {"serin_snapshot": CANDIDATE, "serin_attempt": "first"}
# What breaks in HTTP, whether or not events are read.
BROKEN = ("closed", "reset", "error-and-reset", "still", "still-later", "error-and-still")
SAID = ("error", "error-and-no-more", "own-error", "named-error", "large-error", "responses-failed")
UNFINISHED = ("early", "early-plain", "responses-early", "messages-early")
GOOD = (
    "whole",
    "whole-plain",
    "slow-first",
    "empty",
    "own",
    "quoted",
    "large",
    "responses",
    "messages",
    "json",
    "error-400",
)


@asynccontextmanager
async def streaming(
    folder: Path, settings: EnvoySettings, server: StreamServer | None = None, patience: float = TIMEOUT
) -> AsyncIterator[Rig]:
    """All traffic to a candidate that answers with streams."""
    server = server or await StreamServer().start()
    async with rig(folder) as it:
        wanted = to(it, server, settings, patience)
        it.xds.update([wanted])
        await it.served(wanted)
        await it.envoy.listens(wanted)
        yield it
    await server.stop()


def to(it: Rig, server: StreamServer, settings: EnvoySettings, patience: float = TIMEOUT) -> RoutedModel:
    plain = model(it.port, (it.stable,), (it.candidate,), 100, settings, serving=Serving(timeout=patience))
    return replace(plain, arms=(plain.arms[0], replace(plain.arms[1], endpoints=(server.endpoint,))))


async def read(it: Rig, name: str) -> tuple[int, bool]:
    """The status of a stream, and whether it came to an end in order."""
    async with it.client.get(f"{it.url}/{name}") as response:
        try:
            await response.read()
        except aiohttp.ClientError:
            return response.status, False
        return response.status, True


async def failures(it: Rig, attempts: int) -> tuple[int, int]:
    """Failures of the candidate and of its clients' answers, once there are so many attempts."""

    async def timed() -> float:
        return await it.envoy.count("envoy_serin_milliseconds_count", **FIRST)

    await eventually(timed, lambda count: count == attempts)
    scrape = await it.envoy.scrape()
    assert scrape.count("envoy_serin_attempts", **FIRST) == attempts
    answers = scrape.count("envoy_serin_answer_failures", serin_snapshot=CANDIDATE)
    return int(scrape.count("envoy_serin_failures", **FIRST)), int(answers)


@pytest.mark.parametrize("settings", [READ, HEDGED], ids=["shield", "hedge"])
async def test_every_broken_stream_counts_once_and_no_good_one(tmp_path: Path, settings: EnvoySettings) -> None:
    async with streaming(tmp_path, settings) as it:
        seen = dict(zip(GOOD, await asyncio.gather(*(read(it, name) for name in GOOD)), strict=True))
        assert {name: end for name, (_, end) in seen.items()} == dict.fromkeys(GOOD, True)
        assert await failures(it, len(GOOD)) == (0, 0)
        count = 0
        for kind, in_order in ((SAID, True), (UNFINISHED, True), (BROKEN, False)):
            ends = await asyncio.gather(*(read(it, name) for name in kind))
            assert ends == [(200, in_order)] * len(kind), "clients get what the model sends"
            count += len(kind)
            assert await failures(it, len(GOOD) + count) == (count, count), kind


async def test_opaque_streams_count_when_they_break_and_their_events_are_not_read(tmp_path: Path) -> None:
    async with streaming(tmp_path, EnvoySettings()) as it:
        await asyncio.gather(*(read(it, name) for name in (*GOOD, *SAID, *UNFINISHED)))
        quiet = len(GOOD) + len(SAID) + len(UNFINISHED)
        assert await failures(it, quiet) == (0, 0)
        await asyncio.gather(*(read(it, name) for name in BROKEN))
        assert await failures(it, quiet + len(BROKEN)) == (len(BROKEN), len(BROKEN))


async def test_before_the_headers_a_stream_is_shielded_and_counts_once(tmp_path: Path) -> None:
    async with streaming(tmp_path, READ) as it:
        assert await read(it, "error-500") == (200, True)
        assert await failures(it, 1) == (1, 0)
        assert it.stable.truth["received"] == 1


async def test_a_client_that_goes_away_is_no_failure_unless_it_has_read_the_error(tmp_path: Path) -> None:
    async with streaming(tmp_path, READ) as it:
        for name, last in (("long", b"data"), ("error-and-still", b"error")):
            async with it.client.get(f"{it.url}/{name}") as response:
                while last not in await response.content.readany():
                    pass
                response.close()
            assert await failures(it, 1 if name == "long" else 2) == ((0, 0) if name == "long" else (1, 1))


async def test_a_process_that_is_killed_fails_its_streams(tmp_path: Path) -> None:
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.integration.stream_server", str(port), cwd=Path(__file__).parents[2]
    )
    try:
        async with streaming(tmp_path, READ, await StreamServer().start()) as it:
            it.xds.update([to(it, StreamServer(port), READ)])

            async def begun() -> bytes:
                async with it.client.get(f"{it.url}/whole") as response:
                    return await response.read()

            await eventually(begun, lambda text: b"[DONE]" in text)
            before = int(await it.envoy.count("envoy_serin_attempts", **FIRST))
            known = await failures(it, before)

            async def killed() -> tuple[int, bool]:
                async with it.client.get(f"{it.url}/killed") as response:
                    await response.content.readany()
                    if process.returncode is None:
                        process.kill()
                    with pytest.raises(aiohttp.ClientPayloadError):
                        await response.read()
                    return response.status, False

            await killed()
            assert await failures(it, before + 1) == (known[0] + 1, known[1] + 1)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_the_latency_of_a_stream_is_the_time_to_its_first_byte(tmp_path: Path) -> None:
    async with streaming(tmp_path, EnvoySettings(), patience=300.0) as it:
        total = 0.0
        for number, (name, least, most) in enumerate(
            (("long", 0, 2000), ("slow-first", 900, 3000), ("json", 15, 2000))
        ):
            await read(it, name)
            await failures(it, number + 1)
            now = await it.envoy.count("envoy_serin_milliseconds_sum", **FIRST)
            assert least <= now - total < most, f"{name}: {now - total} ms"
            total = now


ODD = (
    *(
        b"null",
        b"true",
        b"1",
        b'"x"',
        b"[]",
        b"[1]",
        b"{}",
        b"\xff\xfe",
        b"[DONE",
        b"{" * 9000,
        b'{"error"',
        b"x" * 300_000,
    ),
    *(b'{"error":1e400}', b'{"error":' + b"[" * 9000, b'{"type":null,"object":null,"error":null}'),
)


async def test_nothing_that_a_model_sends_ends_the_router(tmp_path: Path) -> None:
    """Envoy's own filter for event streams (1.40) ended the process on `data: null`."""
    server = await StreamServer().start()
    for number, data in enumerate(ODD):
        for ending in (b"\n\n", b"\r\n\r\n", b"\r", b""):
            for name in (b"data: ", b"data:", b"event: ", b":", b""):
                events = (name + data + ending, token(), name + data, ERROR, name + data)
                server.streams[f"odd-{number}-{ending.hex()}-{name.hex()}"] = Stream(events, pause=0.0)
    async with streaming(tmp_path, READ, server) as it:
        names = [name for name in server.streams if name.startswith("odd")]
        for start in range(0, len(names), 20):
            ends = await asyncio.gather(*(read(it, name) for name in names[start : start + 20]))
            assert ends == [(200, True)] * len(ends)
        assert it.envoy.process is not None
        assert it.envoy.process.returncode is None
        assert "script log" not in it.envoy.log.read_text(), "the script has met nothing that it cannot read"
