"""The bytes of an answer as JSON, at a bounded cost in time and memory, whoever has written them.

A body is read up to a size, compressed or not; no more than that is ever made of a compressed one. The reader refuses
what is nested too deep, NaN, what no double holds, and text that is no UTF-8.
"""

import zlib
from typing import Any, Final

import orjson

from serin.api.guard import LARGEST_ANSWER
from serin.guard.budget import Unchecked

_GZIP: Final = 31  # zlib's window bits for a gzip member


class NotJson(ValueError):
    """The body is no JSON; why, in words that have nothing of it."""


def read_json(body: bytes, encoding: str) -> Any:
    """The JSON of a body. `encoding`: its header content-encoding, "" for none. Raises NotJson, Unchecked."""
    if len(body) > LARGEST_ANSWER:
        raise Unchecked(f"the answer is larger than {LARGEST_ANSWER} bytes")
    coded = encoding.strip().lower()
    text = body if coded in ("", "identity") else _inflated(body, coded)
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise NotJson(f"the answer is no JSON ({error.msg})") from None


def _inflated(body: bytes, encoding: str) -> bytes:
    if encoding not in ("gzip", "x-gzip"):
        raise Unchecked("the answer has a content-encoding other than gzip")
    reader = zlib.decompressobj(_GZIP)
    try:
        found = reader.decompress(body, LARGEST_ANSWER + 1)
    except zlib.error:
        raise NotJson("the answer is no gzip, although it says so") from None
    if len(found) > LARGEST_ANSWER:
        raise Unchecked(f"the answer is larger than {LARGEST_ANSWER} bytes")
    if not reader.eof:
        raise NotJson("the answer's gzip breaks off")
    if reader.unused_data:
        raise Unchecked("the answer has several parts of gzip")
    return found
