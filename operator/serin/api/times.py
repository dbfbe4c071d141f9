"""Moments as text: unix seconds inside Serin, RFC 3339 in resources."""

from datetime import UTC, datetime
from functools import lru_cache


@lru_cache(maxsize=4096)  # the moments of a status are read and written at every look, and hardly change
def rfc3339(seconds: float) -> str:
    """Unix seconds as RFC 3339 in UTC, to the millisecond: evidence is ordered more finely than a second."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def rfc3339_whole(seconds: float) -> str:
    """Unix seconds as RFC 3339 to the second, as Kubernetes writes the times of conditions."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


@lru_cache(maxsize=4096)
def parse_rfc3339(text: str) -> float:
    """RFC 3339 to unix seconds. Raises ValueError on anything else."""
    return datetime.fromisoformat(text).timestamp()


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
