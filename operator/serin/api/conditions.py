"""Conditions and reasons: the vocabulary in which Serin explains itself.

The same reason and sentence feed the condition, the Event, the log and the command line. Every reason has its entry in
docs/operations.md; a test compares the two.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Final

from serin.api.json import JsonObject


class ConditionType(StrEnum):
    """Types of conditions, as `kubectl wait`, Argo CD and Flux know them, and a few of our own."""

    READY = "Ready"
    RECONCILING = "Reconciling"
    STALLED = "Stalled"
    CANDIDATE_REJECTED = "CandidateRejected"
    EVIDENCE_AVAILABLE = "EvidenceAvailable"
    ROUTED = "Routed"
    POLICY_FEASIBLE = "PolicyFeasible"
    FALLBACK_READY = "FallbackReady"
    CONTESTED = "Contested"
    WITHIN_LIMITS = "WithinLimits"
    RETRAINING = "Retraining"


class Reason(StrEnum):
    """Why a condition is as it is, or an action was (not) taken."""

    # Serving
    INITIALIZING = "Initializing"
    SERVING = "Serving"
    STABLE_UNAVAILABLE = "StableUnavailable"
    POD_TEMPLATE_RESTORED = "PodTemplateRestored"
    OVERWRITTEN = "Overwritten"
    # A rollout
    ROLLOUT_STARTED = "RolloutStarted"
    CANDIDATE_STARTING = "CandidateStarting"
    STEP_STARTED = "StepStarted"
    BAKING = "Baking"
    GATHERING_EVIDENCE = "GatheringEvidence"
    WAITING_FOR_CAPACITY = "WaitingForCapacity"
    WAITING_FOR_APPROVAL = "WaitingForApproval"
    WAITING = "Waiting"
    PAUSED_BY_USER = "PausedByUser"
    GOLDEN_PROBES_PENDING = "GoldenProbesPending"
    SIGNATURE_PENDING = "SignaturePending"
    APPROVED = "Approved"
    APPROVAL_REFUSED = "ApprovalRefused"
    PROMOTING = "Promoting"
    PROMOTED = "Promoted"
    SUPERSEDED = "Superseded"
    SPEC_BACK_TO_STABLE = "SpecBackToStable"
    KILL_SWITCH = "KillSwitch"
    # After a promotion
    WATCHING = "Watching"
    HOLDBACK_UNAVAILABLE = "HoldbackUnavailable"
    HOLDBACK_OVER = "HoldbackOver"
    WITHIN_LIMITS = "WithinLimits"
    # An experiment
    TESTING = "Testing"
    BETTER_THAN_STABLE = "BetterThanStable"
    NO_DIFFERENCE = "NoDifference"
    INCONCLUSIVE = "Inconclusive"
    BEST_ARM = "BestArm"
    STABLE_IS_BEST = "StableIsBest"
    # A rollback
    WORSE_THAN_STABLE = "WorseThanStable"
    OVER_LIMIT = "OverLimit"
    WORSE_THAN_PAST = "WorseThanPast"
    DATA_DRIFT = "DataDrift"
    DIFFERENT_FROM_STABLE = "DifferentFromStable"
    DRIFTED_FROM_REFERENCE = "DriftedFromReference"
    SPLIT_NOT_AS_ROUTED = "SplitNotAsRouted"
    GOLDEN_PROBE_FAILED = "GoldenProbeFailed"
    GOLDEN_PROBE_UNANSWERED = "GoldenProbeUnanswered"
    SIGNATURE_INCOMPATIBLE = "SignatureIncompatible"
    SIGNATURE_UNKNOWN = "SignatureUnknown"
    DIGEST_MISMATCH = "DigestMismatch"
    DIGEST_UNKNOWN = "DigestUnknown"
    CANDIDATE_CRASHED = "CandidateCrashed"
    CANDIDATE_UNAVAILABLE = "CandidateUnavailable"
    PROGRESS_DEADLINE_EXCEEDED = "ProgressDeadlineExceeded"
    WRITE_DENIED = "WriteDenied"
    POD_TEMPLATE_REFUSED = "PodTemplateRefused"
    MAX_DURATION_EXCEEDED = "MaxDurationExceeded"
    NO_DATA_FOR_TOO_LONG = "NoDataForTooLong"
    NOTHING_TO_DO = "NothingToDo"
    ABORTED_BY_USER = "AbortedByUser"
    REJECTED_CONTENT = "RejectedContent"
    RETRIED_BY_USER = "RetriedByUser"
    BISECTING = "Bisecting"
    PARTLY_ROLLED_BACK = "PartlyRolledBack"
    ROLLING_BACK = "RollingBack"
    ROLLED_BACK_BY_USER = "RolledBackByUser"
    ROLLBACK_REFUSED = "RollbackRefused"
    ROLLBACK_FAILED = "RollbackFailed"
    VALIDATING = "Validating"
    VALIDATED = "Validated"
    VALIDATION_SKIPPED = "ValidationSkipped"
    RECOVERED = "Recovered"
    NOT_RECOVERED = "NotRecovered"
    RECOVERY_NOT_SHOWN = "RecoveryNotShown"
    # Evidence
    EVIDENCE_AVAILABLE = "EvidenceAvailable"
    CLOCK_SKEWED = "ClockSkewed"
    NOT_WORSE = "NotWorse"
    WARMING_UP = "WarmingUp"
    NO_TRAFFIC = "NoTraffic"
    TARGET_DOWN = "TargetDown"
    SERIES_ABSENT = "SeriesAbsent"
    STALE = "Stale"
    NOT_A_NUMBER = "NaN"
    PROMETHEUS_UNREACHABLE = "PrometheusUnreachable"
    QUERY_FAILED = "QueryFailed"
    PARTIAL = "Partial"
    TRAFFIC_SUFFICES = "TrafficSuffices"
    TRAFFIC_TOO_LOW = "TrafficTooLow"
    # Retraining
    RETRAINING_REQUESTED = "RetrainingRequested"
    RETRAINING_WAITS = "RetrainingWaits"
    RETRAINING_RUNS = "RetrainingRuns"
    RETRAINING_SUCCEEDED = "RetrainingSucceeded"
    RETRAINING_DELIVERED = "RetrainingDelivered"
    RETRAINING_FAILED = "RetrainingFailed"
    RETRAINING_CANCELLED = "RetrainingCancelled"
    # Notifications
    NOTIFICATION_WAITS = "NotificationWaits"
    NOTIFICATION_FAILED = "NotificationFailed"
    # Review
    REVIEW_NOT_SENT = "ReviewNotSent"
    REVIEW_NOT_COUNTED = "ReviewNotCounted"
    # Routing
    ROUTED = "Routed"
    ROUTER_NOT_READY = "RouterNotReady"
    ROUTER_FULL = "RouterFull"
    ROUTE_NOT_TAKEN = "RouteNotTaken"
    ROUTE_REFUSED = "RouteRefused"
    SERVICE_NOT_OURS = "ServiceNotOurs"
    FALLBACK_READY = "FallbackReady"
    NO_FALLBACK = "NoFallback"
    # What the user must mend
    INVALID_SPEC = "InvalidSpec"
    METRIC_TEMPLATE_NOT_FOUND = "MetricTemplateNotFound"


# What every good rollout goes through: shown in status, not worth an Event.
ROUTINE: Final = frozenset(
    {
        Reason.INITIALIZING,
        Reason.SERVING,
        Reason.CANDIDATE_STARTING,
        Reason.GOLDEN_PROBES_PENDING,
        Reason.SIGNATURE_PENDING,
        Reason.BAKING,
        Reason.TESTING,
        Reason.WATCHING,
        Reason.GATHERING_EVIDENCE,
        Reason.WAITING_FOR_CAPACITY,
    }
)


def condition(
    kind: ConditionType, status: bool | None, reason: Reason, message: str, *, generation: int, now: str
) -> JsonObject:
    """One condition; `now` (RFC 3339) becomes the transition time unless `merge` finds the status unchanged."""
    return {
        "type": kind.value,
        "status": "Unknown" if status is None else str(status),
        "reason": reason.value,
        "message": message,
        "observedGeneration": generation,
        "lastTransitionTime": now,
    }


def merge(before: Iterable[Mapping[str, object]], after: Iterable[JsonObject]) -> list[JsonObject]:
    """The conditions of `after`, sorted by type; a status that did not change keeps its transition time."""
    earlier = {item["type"]: item for item in before}
    merged = []
    for item in sorted(after, key=lambda one: str(one["type"])):
        old = earlier.get(item["type"])
        same = old is not None and old["status"] == item["status"]
        merged.append({**item, "lastTransitionTime": old["lastTransitionTime"]} if old is not None and same else item)
    return merged
