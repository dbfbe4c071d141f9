"""Which error an answer of the API server is, cut by what the caller does about it.

The one place where a status code is read; both the operator's client and the command line's go through it.
"""

import json
from typing import Final

from serin.api.json import JsonObject
from serin.cluster.protocol import ClusterError, Conflict, Gone, Refused, Retryable

_UID: Final = "metadata.uid"

# Server-side apply answers 500 to a body with a field that the kind does not have, or of the wrong type.
_BAD_APPLY: Final = "failed to create typed patch object"


def error_of(status: int, text: bytes) -> ClusterError:
    """The error of an answer that is not success, with the API server's own message."""
    answer = _status_object(text)
    message = str(answer.get("message") or "") or _words(status, text)
    if message.startswith(_BAD_APPLY):
        return Refused(message, status)
    if status == 409:
        return Conflict(message, status)
    if status == 422 and _UID in _fields(answer):
        return Conflict(f"the object of this name is another one by now: {message}", status)
    if status in (404, 410):
        return Gone(message, status)
    if status == 401:
        # Perhaps the token was rotated between reading and use: the next request carries the new one.
        return Retryable(f"the API server does not accept the login's credentials: {message}", status)
    if status in (408, 429) or status >= 500:
        return Retryable(message, status)
    return Refused(message, status)


def _status_object(text: bytes) -> JsonObject:
    """The answer as the API server's kind Status; empty when it is none, as from a proxy in between."""
    try:
        answer = json.loads(text)
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}


def _fields(answer: JsonObject) -> set[str]:
    """The fields that were found to be wrong."""
    causes = (answer.get("details") or {}).get("causes") or ()
    return {str(cause.get("field")) for cause in causes}


def _words(status: int, text: bytes) -> str:
    words = text[:200].decode(errors="replace").strip()
    return f"HTTP {status}: {words or 'no message'}"
