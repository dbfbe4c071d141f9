"""What one deployment may take of the memory and the connections of the router, which all deployments share.

Envoy reads on only while there is room in a connection's buffer, so what is under way costs little, however large it
is. What costs is a copy that is kept to be sent again. It is kept where something may be sent again, and no longer than
that may happen; a request that is larger than its limit is sent on like any other, only not a second time.
"""

from dataclasses import dataclass
from typing import Final

# Bytes that wait in a connection, to either side, and in one stream of HTTP/2 or all of them together.
CONNECTION_BUFFER: Final = 64 * 1024
HTTP2_WINDOWS: Final = {"initial_stream_window_size": 64 * 1024, "initial_connection_window_size": 1024 * 1024}
# What may have come of a request before a pod has been reached: the buffers above. So whatever its size, a request
# that never reached a pod can go to another one.
UNSENT_BUFFER: Final = 4 * CONNECTION_BUFFER
SHIELDED_BYTES: Final = 1024 * 1024
CONNECTIONS: Final = 5_000


@dataclass(frozen=True, slots=True)
class Limits:
    """What the platform may set.

    `shielded_bytes`: the largest request that stable answers in the candidate's place after the candidate has seen it.
    `connections`: how many clients' connections one deployment may have at one Envoy.
    """

    shielded_bytes: int = SHIELDED_BYTES
    connections: int = CONNECTIONS
