"""Serin's own numbers (serin_*), for Prometheus: what the operator does, how fast, and what waits.

Names of objects never become labels: their number has no bound. Every series exists from the start, so that a rate over
a new event is not lost. A module that wants to count gets this object; nothing is counted through globals.
"""

from enum import StrEnum
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, PlatformCollector, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from serin import __version__
from serin.routers.base import Told

_FAST: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
# What takes long when there is much of it: the largest has to be told from twice as large.
_LONG: Final = (*_FAST, 20.0, 40.0, 80.0, 160.0, 320.0)


class Outcome(StrEnum):
    """How one reconcile ended."""

    DONE = "done"  # every action of the plan, which may be none
    STOPPED = "stopped"  # live reads did not show what a raise needs, or this replica leads no longer
    CONFLICT = "conflict"  # what was read is out of date
    FAILED = "failed"  # a request failed; tried again with back-off
    GONE = "gone"  # the object is deleted


class ReviewOutcome(StrEnum):
    """What became of an answer that people look at."""

    KEPT = "kept"  # as a ReviewItem
    SENT = "sent"  # to a webhook
    NOT_SENT = "not-sent"  # the webhook has not taken it
    GAVE_WAY = "gave-way"  # to a newer one, before anybody had looked at it
    LEFT_OUT = "left-out"  # there was no room for it, or the API server did not take it


class Telemetry:
    """All of Serin's metrics, in a registry of their own."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        self.build = Gauge("serin_build_info", "Version of the operator; always 1.", ["version"], registry=registry)
        self.build.labels(__version__).set(1)
        self.leader = Gauge("serin_leader", "1 while this replica is the one that acts.", registry=registry)
        self.reconciles = Counter("serin_reconciles", "Looks at a model deployment.", ["outcome"], registry=registry)
        self.reconcile_seconds = Histogram(
            "serin_reconcile_seconds", "Duration of one look.", buckets=_LONG, registry=registry
        )
        self.waiting = Gauge("serin_queue_waiting", "Keys that are due and wait for a worker.", registry=registry)
        self.planned = Gauge("serin_queue_planned", "Keys that wait, due now or later.", registry=registry)
        self.api_requests = Counter(
            "serin_api_requests", "Requests to the API server.", ["verb", "kind", "code"], registry=registry
        )
        self.api_seconds = Histogram(
            "serin_api_request_seconds", "Duration of a request.", ["verb"], buckets=_FAST, registry=registry
        )
        self.ticks = Counter("serin_ticks", "Collections of evidence, for all rollouts at once.", registry=registry)
        self.tick_seconds = Histogram(
            "serin_tick_seconds", "Duration of one collection.", buckets=_LONG, registry=registry
        )
        self.evidence_age = Histogram(
            "serin_evidence_age_seconds",
            "At a look: seconds since the last moment that a sample covers.",
            buckets=(1.0, 2.5, 5.0, 7.5, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0, 120.0, 300.0, 600.0),
            registry=registry,
        )
        self.rollouts = Gauge("serin_rollouts_in_progress", "Rollouts that gather evidence.", registry=registry)
        self.live_rollouts = Gauge(
            "serin_live_rollouts", "Rollouts whose router is read directly now.", registry=registry
        )
        self.live_reads = Counter("serin_live_reads", "Reads of a router pod's counters.", registry=registry)
        self.live_failures = Counter(
            "serin_live_read_failures", "Reads of a router pod's counters without an answer.", registry=registry
        )
        self.promotions = Counter("serin_promotions", "Candidates that became stable.", registry=registry)
        self.rollbacks = Counter("serin_rollbacks", "Candidates that were rolled back.", ["reason"], registry=registry)
        self.recoveries = Counter(
            "serin_rollback_outcomes", "What came of rollbacks after a promotion.", ["outcome"], registry=registry
        )
        self.lowered = Gauge(
            "serin_lowered_in_memory", "Deployments whose lowered weights could not be written.", registry=registry
        )
        self.queries = Gauge("serin_prometheus_queries", "Queries sent to Prometheus so far.", registry=registry)
        self.clock_skew = Gauge(
            "serin_prometheus_clock_skew_seconds",
            "Seconds that Prometheus' clock is ahead of the operator's, at least; below 0: behind.",
            registry=registry,
        )
        self.objects = Gauge("serin_cache_objects", "Objects in the cache.", ["kind"], registry=registry)
        self.swept = Counter("serin_cache_swept", "Deletions that no watch reported.", ["kind"], registry=registry)
        self.events_dropped = Counter("serin_events_dropped", "Events not written: too many.", registry=registry)
        self.review_items = Counter(
            "serin_review_items", "Answers that people look at.", ["outcome"], registry=registry
        )
        self.review_verdicts = Counter(
            "serin_review_verdicts",
            "What people say of answers, as the router was told.",
            ["outcome"],
            registry=registry,
        )
        for one in ReviewOutcome:
            self.review_items.labels(one.value)
        for told in Told:
            self.review_verdicts.labels(told.value)
        for outcome in Outcome:
            self.reconciles.labels(outcome.value)

    def observe_request(self, verb: str, kind: str, status: int, seconds: float) -> None:
        """Count one request to the API server; `status` 0: no answer. A watch lasts, so its duration says nothing."""
        self.api_requests.labels(verb, kind, str(status)).inc()
        if verb not in ("watch", "discovery"):
            self.api_seconds.labels(verb).observe(seconds)

    def page(self) -> tuple[bytes, str]:
        """The metrics page, and its content type."""
        return generate_latest(self.registry), CONTENT_TYPE_LATEST
