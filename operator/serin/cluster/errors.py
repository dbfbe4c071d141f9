"""Which error an answer of the API server is, cut by what the caller does about it.

The one place where a status code is read; both the operator's client and the command line's go through it.
"""

import json
from typing import Final

from serin.cluster.protocol import ClusterError, Conflict, Gone, Refused, Retryable

# Server-side apply answers 500 to a body with a field that the kind does not have, or of the wrong type.
_BAD_APPLY: Final = "failed to create typed patch object"


def error_of(status: int, text: bytes) -> ClusterError:
    """The error of an answer that is not success, with the API server's own message."""
    message = _message(status, text)
    if message.startswith(_BAD_APPLY):
        return Refused(message, status)
    if status == 409:
        return Conflict(message, status)
    if status in (404, 410):
        return Gone(message, status)
    # 401: the token was rotated between reading and use, the next request carries the new one.
    if status in (401, 408, 429) or status >= 500:
        return Retryable(message, status)
    return Refused(message, status)


def _message(status: int, text: bytes) -> str:
    try:
        answer = json.loads(text)
    except ValueError:
        answer = None
    if isinstance(answer, dict) and answer.get("message"):
        return str(answer["message"])
    words = text[:200].decode(errors="replace").strip()
    return f"HTTP {status}: {words or 'no message'}"
