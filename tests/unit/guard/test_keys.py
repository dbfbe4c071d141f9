"""The guard's key: read from its file, and again when that changes."""

import argparse
import asyncio
import sys
from pathlib import Path

import pytest

from serin.api.guard_keys import BYTES
from serin.guard import process
from serin.guard.keys import Keys, NoKey
from tests.unit.routers.context import until


@pytest.mark.parametrize("content", [None, b"", b"short"])
def test_a_guard_without_a_key_does_not_start(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "key"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(NoKey, match=f"{file} has no key"):
        Keys(file)


def test_another_key_is_taken_and_what_is_none_leaves_the_last(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_bytes(b"a" * BYTES)
    keys = Keys(file)
    file.write_bytes(b"b" * BYTES)
    keys.look()
    assert keys.key == b"b" * BYTES
    file.write_bytes(b"")
    keys.look()
    file.unlink()
    keys.look()
    assert keys.key == b"b" * BYTES


async def test_whoever_waits_for_the_guard_waits_for_no_whole_turn_of_another_thread(tmp_path: Path) -> None:
    file, usual = tmp_path / "key", sys.getswitchinterval()
    file.write_bytes(b"k" * BYTES)
    parser = argparse.ArgumentParser()
    process.add_arguments(parser)
    words = ["--port", "0", "--metrics-port", "0", "--key-file", str(file)]
    running = asyncio.create_task(process.run(parser.parse_args(words)))
    try:
        await until(lambda: sys.getswitchinterval() != usual or running.done())
        assert sys.getswitchinterval() == pytest.approx(0.0002)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        sys.setswitchinterval(usual)
