"""What one deployment may take of the memory and the connections of the router, which all deployments share.

Envoy reads on only while there is room in a connection's buffer, so what is under way costs little, however large it
is. What costs is a copy that is kept to be sent again. It is kept where something may be sent again, and no longer than
that may happen; a request that is larger than its limit is sent on like any other, only not a second time.
"""

from dataclasses import dataclass
from typing import Final

from serin.api.json import JsonObject

# Bytes that wait in a connection, to either side, and in one stream of HTTP/2 or all of them together.
CONNECTION_BUFFER: Final = 64 * 1024
HTTP2_WINDOWS: Final = {"initial_stream_window_size": 64 * 1024, "initial_connection_window_size": 1024 * 1024}
# What may have come of a request before a pod has been reached: the buffers above. So whatever its size, a request
# that never reached a pod can go to another one.
UNSENT_BUFFER: Final = 4 * CONNECTION_BUFFER
# Bytes that the kernel keeps of a connection, to either side; it doubles this number. Left to itself it goes up to some
# 4 MB of what is sent and 6 MB or more of what has come, and all of it counts as memory of the pod.
SOCKET_BUFFER: Final = 128 * 1024
SHIELDED_BYTES: Final = 1024 * 1024
CONNECTIONS: Final = 5_000
# The largest request that is copied, and how many copies are under way to one version at one Envoy. A copy of what is
# under way costs its size, at most; those over the number are not sent.
COPIED_BYTES: Final = 256 * 1024
COPIES: Final = 256
# Of the headers of a request, and of an answer, together; and how many. Envoy's own limit is 100 of them.
HEADER_KILOBYTES: Final = 60
HEADERS: Final = 1_000
# In one connection of HTTP/2.
STREAMS: Final = 1_000

_SOL_SOCKET, _SO_SNDBUF, _SO_RCVBUF = 1, 7, 8  # as Linux numbers them, whatever the machine that renders this


def socket_options() -> list[JsonObject]:
    """Envoy's `socket_options` for every connection that carries requests."""
    return [
        {"level": _SOL_SOCKET, "name": name, "int_value": SOCKET_BUFFER, "state": "STATE_PREBIND"}
        for name in (_SO_SNDBUF, _SO_RCVBUF)
    ]


@dataclass(frozen=True, slots=True)
class Limits:
    """What the platform may set.

    `shielded_bytes`: the largest request that stable answers in the candidate's place after the candidate has seen it.
    `connections`: how many clients' connections one deployment may have at one Envoy; twice as many requests may be
    under way to one version, which only clients with several in a connection (HTTP/2) can exceed.
    `header_kilobytes`: of a request's headers together, and of an answer's. `guard`: milliseconds
    that an answer waits for the guard's word, 0: there is no guard.
    """

    shielded_bytes: int = SHIELDED_BYTES
    connections: int = CONNECTIONS
    header_kilobytes: int = HEADER_KILOBYTES
    guard: int = 0
