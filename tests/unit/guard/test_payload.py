"""Bodies that are written to hurt: each costs a bounded time and memory, and ends in words without any of it."""

import gzip
import json
import tracemalloc
import zlib

import pytest

from serin.api.guard import LARGEST_ANSWER
from serin.guard.budget import Unchecked
from serin.guard.payload import NotJson, read_json


def packed(body: bytes) -> bytes:
    """The same bytes at any time, as they name the tests."""
    return gzip.compress(body, mtime=0)


def bomb(size: int) -> bytes:
    """So many zeros, a thousandth of it long."""
    writer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return b"".join([writer.compress(bytes(1024 * 1024)) for _ in range(size // 1024**2)] + [writer.flush()])


def test_what_is_json_is_read() -> None:
    body = json.dumps({"a": [1, 2.5, None, "ü"]}).encode()
    for encoding, sent in (("", body), ("identity", body), ("gzip", packed(body))):
        assert read_json(sent, encoding) == {"a": [1, 2.5, None, "ü"]}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"secret",
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": 1e999}',
        b'{"a": "\xff\xfe"}',
        b'"\xed\xa0\x80"',  # a surrogate
        b"[" * 100_000,
        b"[" * 2_000 + b"]" * 2_000,
        b'{"a":' * 2_000 + b"1" + b"}" * 2_000,
        b'{"a": 1} {"b": 2}',
    ],
)
def test_what_is_no_json_is_refused_without_its_words(body: bytes) -> None:
    with pytest.raises(NotJson, match="the answer is no JSON") as error:
        read_json(body, "")
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    ("body", "encoding", "said"),
    [
        (b"plain", "gzip", "no gzip, although it says so"),
        (packed(b"[1]" * 100)[:-9], "gzip", "breaks off"),
        (b"", "gzip", "breaks off"),
    ],
)
def test_what_is_no_gzip_is_refused(body: bytes, encoding: str, said: str) -> None:
    with pytest.raises(NotJson, match=said):
        read_json(body, encoding)


@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        (b" " * (LARGEST_ANSWER + 1), ""),
        (bomb(64 * 1024**2), "gzip"),
        (packed(bomb(64 * 1024**2)) * 2, "gzip"),
        (b"[1]", "br"),
        (b"[1]", "gzip, gzip"),
        (packed(b"[1]") + packed(b"[2]"), "gzip"),
    ],
)
def test_what_is_too_large_or_unknown_is_not_checked(body: bytes, encoding: str) -> None:
    with pytest.raises(Unchecked):
        read_json(body, encoding)


def test_a_bomb_is_not_unpacked() -> None:
    body = bomb(256 * 1024**2)
    tracemalloc.start()
    try:
        with pytest.raises(Unchecked):
            read_json(body, "gzip")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * LARGEST_ANSWER
