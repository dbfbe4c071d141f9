"""Answers that are not success, in the API server's own words (apimachinery/pkg/api/errors)."""

import json
from collections.abc import Sequence
from typing import Any, Final

from serin.api.json import JsonObject
from serin.cluster.protocol import Kind

MODIFIED: Final = "the object has been modified; please apply your changes to the latest version and try again"


class ApiError(Exception):
    """An answer of the API server. `status`: the HTTP code; `reason`: as in metav1.Status."""

    def __init__(self, status: int, reason: str, message: str, details: JsonObject | None = None) -> None:
        super().__init__(message)
        self.status, self.reason, self.message, self.details = status, reason, message, details or {}

    def body(self) -> JsonObject:
        """The metav1.Status."""
        return {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "details": self.details,
            "code": self.status,
        }


def group_of(kind: Kind) -> str:
    """The API group; empty for the core group."""
    return kind.api_version.rpartition("/")[0]


def resource(kind: Kind) -> str:
    """As in messages: the plural, with the group unless it is the core group."""
    group = group_of(kind)
    return f"{kind.plural}.{group}" if group else kind.plural


def _details(kind: Kind, name: str) -> JsonObject:
    return {"name": name, "group": group_of(kind), "kind": kind.plural}


def bad_request(message: str) -> ApiError:
    """400."""
    return ApiError(400, "BadRequest", message)


def forbidden(kind: Kind, name: str, why: str) -> ApiError:
    """403."""
    return ApiError(403, "Forbidden", f'{resource(kind)} "{name}" is forbidden: {why}', _details(kind, name))


def not_found(kind: Kind, name: str) -> ApiError:
    """404."""
    return ApiError(404, "NotFound", f'{resource(kind)} "{name}" not found', _details(kind, name))


def already_exists(kind: Kind, name: str) -> ApiError:
    """409 to a create."""
    return ApiError(409, "AlreadyExists", f'{resource(kind)} "{name}" already exists', _details(kind, name))


def conflict(kind: Kind, name: str, why: str = MODIFIED) -> ApiError:
    """409 to a write on top of another version, or a precondition that fails."""
    message = f'Operation cannot be fulfilled on {resource(kind)} "{name}": {why}'
    return ApiError(409, "Conflict", message, _details(kind, name))


def apply_conflict(message: str, causes: Sequence[JsonObject]) -> ApiError:
    """409 to an apply without force."""
    return ApiError(409, "Conflict", message, {"causes": list(causes)})


def expired(message: str) -> ApiError:
    """410."""
    return ApiError(410, "Expired", message)


def too_many_requests() -> ApiError:
    """429, as priority and fairness answers it."""
    return ApiError(429, "TooManyRequests", "too many requests, please try again later", {"retryAfterSeconds": 1})


def internal(message: str, *, bare: bool = False) -> ApiError:
    """500. `bare`: an error that nobody has turned into a Status."""
    return ApiError(500, "" if bare else "InternalError", message if bare else f"Internal error occurred: {message}")


def timed_out() -> ApiError:
    """504: the request did not end in time; nobody knows whether it was carried out."""
    words = "request did not complete within requested timeout - context deadline exceeded"
    return ApiError(504, "Timeout", f"Timeout: {words}")


class FieldError:
    """What is wrong with one field (apimachinery/pkg/util/validation/field)."""

    __slots__ = ("body", "path", "type")

    def __init__(self, path: str, kind: str, detail: str, value: Any = ...) -> None:
        """`value`: ... when it is not shown."""
        self.path, self.type = path or "<nil>", kind
        shown = "" if value is ... else f": {_shown(value)}"
        self.body = kind + shown + (f": {detail}" if detail else "")

    def __str__(self) -> str:
        return f"{self.path}: {self.body}"


REQUIRED: Final = "Required value"
INVALID: Final = "Invalid value"
UNSUPPORTED: Final = "Unsupported value"
DUPLICATE: Final = "Duplicate value"
FORBIDDEN: Final = "Forbidden"
TOO_LONG: Final = "Too long"
TOO_MANY: Final = "Too many"


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else repr(value)
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def invalid(kind: Kind, name: str, errors: Sequence[FieldError]) -> ApiError:
    """422."""
    group = "" if kind.name == "Event" else group_of(kind)  # the server keeps events as those of the core group
    texts = list(dict.fromkeys(map(str, errors)))
    shown = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    message = f'{kind.name}{f".{group}" if group else ""} "{name}" is invalid: {shown}'
    causes = [{"reason": one.type, "message": one.body, "field": one.path} for one in errors]
    return ApiError(422, "Invalid", message, {"name": name, "group": group, "kind": kind.name, "causes": causes})
