"""Moments as text: unix seconds inside Serin, RFC 3339 in resources."""

from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

# The first and the last moment that RFC 3339 can say. An offset, a duration that is added, or an edited number can lead
# out of them, and a status with such a moment must be written all the same.
_FIRST: Final = datetime.min.replace(tzinfo=UTC).timestamp()
_LAST: Final = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp()


@lru_cache(maxsize=4096)  # the moments of a status are read and written at every look, and hardly change
def rfc3339(seconds: float) -> str:
    """Unix seconds as RFC 3339 in UTC, to the millisecond: evidence is ordered more finely than a second."""
    return _at(seconds).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def rfc3339_whole(seconds: float) -> str:
    """Unix seconds as RFC 3339 to the second, as Kubernetes writes the times of conditions."""
    return _at(seconds).isoformat(timespec="seconds").replace("+00:00", "Z")


def _at(seconds: float) -> datetime:
    return datetime.fromtimestamp(min(max(seconds, _FIRST), _LAST), UTC)


@lru_cache(maxsize=4096)
def parse_rfc3339(text: str) -> float:
    """RFC 3339 to unix seconds. Raises ValueError on anything else."""
    return datetime.fromisoformat(text).timestamp()


def moment(text: object) -> float | None:
    """RFC 3339 to unix seconds; None for anything else, as somebody may have edited it."""
    try:
        return parse_rfc3339(text) if isinstance(text, str) else None
    except ValueError:
        return None


def human(seconds: float) -> str:
    """A duration as people write it: 45s, 3m12s, 2h5m."""
    whole = max(0, round(seconds))
    hours, rest = divmod(whole, 3600)
    minutes, left = divmod(rest, 60)
    if hours:
        return f"{hours}h{minutes}m" if minutes else f"{hours}h"
    if minutes:
        return f"{minutes}m{left}s" if left else f"{minutes}m"
    return f"{left}s"
