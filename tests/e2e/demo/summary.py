"""The demo's last table: what each version cost the client, and how quick Serin was. Pure: answers in, numbers out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table

from serin.api.text import count
from serin.cli.output import table
from tests.e2e.traffic import Answer

SLOW_SECONDS = 0.25
"""A client waits less than a tenth of that for a healthy version."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One version under evaluation.

    `snapshot`: its name. `begun`: when it was applied (Unix time). `took`: seconds until it was promoted or rolled
    back. `decided`: when it was rolled back (Unix time); None: it was not.
    """

    version: str
    title: str
    snapshot: str
    begun: float
    took: float
    decided: float | None
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Costs:
    """What a client saw while a version was tried; `detect` and `restore` in seconds, None without a rollback.

    `tried`: requests that the version got, `saved` of them answered by stable because the version failed them.
    `failed`, `wrong` and `slow` are what the client saw, whichever version answered.
    """

    requests: int
    tried: int
    saved: int
    failed: int
    wrong: int
    slow: int
    detect: float | None
    restore: float | None

    @classmethod
    def of(cls, trial: Trial, answers: Sequence[Answer], until: float) -> Costs:
        """Count the answers to requests that were sent between the trial's begin and `until` (Unix time)."""
        mine = [one for one in answers if trial.begun <= one.at < until]
        tried = [one.at for one in mine if one.shielded or one.snapshot == trial.snapshot]
        decided = trial.decided if tried else None
        return cls(
            requests=len(mine),
            tried=len(tried),
            saved=sum(one.shielded for one in mine),
            failed=sum(one.failed for one in mine),
            wrong=sum(one.right is False for one in mine),
            slow=sum(not one.failed and one.seconds > SLOW_SECONDS for one in mine),
            detect=decided - min(tried) if decided else None,
            restore=max(0.0, max(tried) - decided) if decided else None,
        )


def render(rows: Sequence[tuple[Trial, Costs]]) -> Table:
    """One row for each version."""
    made = table("VERSION", "OUTCOME", "REQUESTS", "TO IT", "SAVED", "FAILED", "WRONG", "SLOW", "DETECTED", "RESTORED")
    for trial, costs in rows:
        made.add_row(
            f"{trial.version}  {trial.title}",
            f"{'rolled back' if trial.decided else 'promoted'} after {trial.took:.0f} s",
            *(count(one) for one in (costs.requests, costs.tried, costs.saved, costs.failed, costs.wrong, costs.slow)),
            "-" if costs.detect is None else f"{costs.detect:.1f} s",
            "-" if costs.restore is None else f"{costs.restore:.1f} s",
        )
    return made


LEGEND = f"""\
OUTCOME    seconds since `kubectl apply`, with those in which the version's pods started
REQUESTS   sent by the client in that time
TO IT      as many of them were sent to the version
SAVED      as many of those it failed, and stable answered instead
FAILED, WRONG, SLOW (more than {SLOW_SECONDS * 1000:.0f} ms): what the client saw of it all
DETECTED   from the version's first request to Serin's verdict
RESTORED   from the verdict to the last request that the version got"""
