"""What can go wrong with a test cluster, cut by who has to do something about it."""

from __future__ import annotations


class ClusterError(Exception):
    """Any failure of the launcher; the text says what to do about it."""


class Unavailable(ClusterError):
    """This machine or this user cannot run what was asked for; the text names what is missing."""


class BuildFailed(ClusterError):
    """A tool could not be built or installed."""


class ComponentFailed(ClusterError):
    """One component did not start, did not get ready, or died."""

    def __init__(self, component: str, reason: str, cause: str, tail: str, log: str) -> None:
        self.component = component
        self.reason = reason
        self.cause = cause
        lines = "\n".join(f"  | {line}" for line in tail.splitlines()) or "  | (nothing)"
        super().__init__(f"{component} {reason}.\nLikely cause: {cause}\nLast lines of {log}:\n{lines}")
