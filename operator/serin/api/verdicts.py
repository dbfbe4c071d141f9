"""The words of a judgement: how much a metric matters, what it is compared with, what it says, and what is wrong.

They stand in the spec and in the status, so users write and read them; the analysis decides which one is true.
"""

from enum import StrEnum
from typing import Final


class Severity(StrEnum):
    """What a breach of a metric does: critical and major roll back, minor holds, info is only shown.

    `goal` is none that a spec can set: it is the metric that decides an experiment.
    """

    CRITICAL = "critical"
    MAJOR = "major"
    MINOR = "minor"
    INFO = "info"
    GOAL = "goal"


class Against(StrEnum):
    """What a metric is compared with."""

    STABLE = "stable"
    LIMIT = "limit"
    REFERENCE = "reference"
    SNAPSHOT = "snapshot"  # the first day of the version that serves
    HISTORY = "history"  # the same hour of the week
    DAY = "day"  # around the same hour of the day before


# Compared with the past while nothing else is there to compare with.
PAST: Final = (Against.SNAPSHOT, Against.HISTORY, Against.DAY)
# Compared with another version while there is one.
COMPARED: Final = (Against.STABLE, Against.SNAPSHOT, Against.HISTORY)


class Verdict(StrEnum):
    """What the evidence so far says about one metric."""

    NO_DATA = "NoData"
    INCONCLUSIVE = "Inconclusive"
    PASS = "Pass"
    FAIL_MINOR = "FailMinor"
    FAIL_CRITICAL = "FailCritical"


# Metrics that can roll a candidate back, and the verdicts with which they do.
BLOCKING: Final = (Severity.CRITICAL, Severity.MAJOR)
FAILURES: Final = (Verdict.FAIL_CRITICAL, Verdict.FAIL_MINOR)


class Trouble(StrEnum):
    """The kinds of trouble, and none."""

    NONE = "None"
    BAD_MODEL = "BadModel"
    DATA_DRIFT = "DataDrift"
    INFRASTRUCTURE = "Infrastructure"
    NO_DATA = "NoData"
    UNDECIDED = "Undecided"


class SnapshotVerdict(StrEnum):
    """What was decided about a snapshot (`status.verdict` of a ModelSnapshot)."""

    PROMOTED = "Promoted"
    ROLLED_BACK = "RolledBack"
    UNDER_EVALUATION = "UnderEvaluation"
    SUPERSEDED = "Superseded"  # the spec went elsewhere before anything was decided
