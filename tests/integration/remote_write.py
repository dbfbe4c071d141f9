"""Samples with times of their own into a real Prometheus, by its remote-write endpoint: hours pass in seconds.

The protocol is small enough to be written out: a protobuf message of labels and samples, in snappy's block format
(here as literals only, which every decoder takes).
"""

import struct
import urllib.request
from collections.abc import Iterable, Mapping


class Series:
    """One series, its labels encoded once."""

    def __init__(self, name: str, labels: Mapping[str, str]) -> None:
        pairs = sorted({"__name__": name, **labels}.items())
        self._labels = b"".join(_field(1, _field(1, key.encode()) + _field(2, value.encode())) for key, value in pairs)

    def sample(self, value: float, milliseconds: int) -> bytes:
        """A TimeSeries message with one sample."""
        point = b"\x09" + struct.pack("<d", value) + b"\x10" + _varint(milliseconds)
        return _field(1, self._labels + _field(2, point))


def write(url: str, samples: Iterable[bytes]) -> None:
    """Send samples in one request; raises for what Prometheus does not take."""
    request = urllib.request.Request(
        f"{url}/api/v1/write",
        data=_snappy(b"".join(samples)),
        headers={
            "Content-Encoding": "snappy",
            "Content-Type": "application/x-protobuf",
            "X-Prometheus-Remote-Write-Version": "0.1.0",
        },
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert answer.status == 204


def _varint(number: int) -> bytes:
    parts = bytearray()
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    parts.append(number)
    return bytes(parts)


def _field(number: int, content: bytes) -> bytes:
    return bytes([number << 3 | 2]) + _varint(len(content)) + content


def _snappy(content: bytes) -> bytes:
    chunks = (content[start : start + 65536] for start in range(0, len(content), 65536))
    return _varint(len(content)) + b"".join(b"\xf4" + struct.pack("<H", len(chunk) - 1) + chunk for chunk in chunks)
