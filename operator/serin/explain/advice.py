"""What a person can do about each reason: the short form of docs/operations.md, with names filled in.

A reason that asks for nothing has no entry; a test makes sure that every reason was thought of.
"""

from collections.abc import Mapping
from typing import Final

from serin.api.conditions import Reason

# {name}: the deployment. {namespace}: its namespace. {serin}: the command as the user typed it.
ADVICE: Final[Mapping[str, str]] = {
    Reason.STABLE_UNAVAILABLE: (
        "Mend stable's pods (kubectl -n {namespace} describe pods -l serin.dev/model-deployment={name}). "
        "If the candidate fixes it, {serin} promote {name} makes it stable."
    ),
    Reason.POD_TEMPLATE_RESTORED: "Change the ModelDeployment instead: its Deployments are kept as the snapshots say.",
    Reason.OVERWRITTEN: "Find the other writer by the command in the message, and let one of the two have the field.",
    Reason.GATHERING_EVIDENCE: "Send more requests, or wait; nothing is wrong.",
    Reason.GOLDEN_PROBES_PENDING: (
        "Nothing, unless it lasts: then see why the pod does not answer. "
        "A NetworkPolicy must let serin-operator reach it."
    ),
    Reason.SIGNATURE_PENDING: (
        "Nothing, unless it lasts: then see what the pod answers at /v2/models/NAME. "
        "A NetworkPolicy must let serin-operator reach it."
    ),
    Reason.WAITING_FOR_CAPACITY: "Nothing, unless it lasts: then make room for the candidate's pods.",
    Reason.WAITING_FOR_APPROVAL: "Look at the metrics, then {serin} approve {name}, or {serin} abort {name}.",
    Reason.APPROVAL_REFUSED: "{serin} approve {name} writes your name and what waits, which counts.",
    Reason.PAUSED_BY_USER: "{serin} resume {name} lets it go on. A bad verdict rolls it back even while it is paused.",
    Reason.KILL_SWITCH: (
        "When the danger is over, {serin} kill-switch {name} off; where spec.killSwitch says so, change that. "
        "A version that has lost its traffic begins at its first step then."
    ),
    Reason.HOLDBACK_UNAVAILABLE: (
        "Nothing, unless it lasts: then look at the pods of the version before "
        "(kubectl -n {namespace} describe pods -l serin.dev/model-deployment={name}), or remove spec.watch."
    ),
    Reason.WORSE_THAN_STABLE: "Mend the version and apply it: other content is a new version.",
    Reason.NO_DIFFERENCE: "Nothing, or set whenInconclusive: Promote and {serin} retry {name}.",
    Reason.INCONCLUSIVE: "Send more users, raise maxDuration or minimumDetectableEffect, then {serin} retry {name}.",
    Reason.STABLE_IS_BEST: "Nothing: what serves earns the most. Other content is a new version.",
    Reason.OVER_LIMIT: "Mend the version and apply it, or correct the limit if it was wrong.",
    Reason.WORSE_THAN_PAST: (
        "See what has changed since: the version, its data, or its users. If this is the new normal, write a larger "
        "limit, or against: stable."
    ),
    Reason.DATA_DRIFT: (
        "Look at the data, and retrain the model with what has come since: an earlier version would do no better."
    ),
    Reason.DIFFERENT_FROM_STABLE: (
        "Find out why the answers differ. If that is meant to be, {serin} promote {name} ends a hold; after a rollback "
        "raise the metric's limit or make it minor, then {serin} retry {name}."
    ),
    Reason.DRIFTED_FROM_REFERENCE: (
        "No rollback mends that: look at the inputs, retrain, or write a newer reference. "
        "{serin} promote {name} goes on all the same."
    ),
    Reason.SPLIT_NOT_AS_ROUTED: "Look for clients that reach the pods past the Service {name}.",
    Reason.GOLDEN_PROBE_FAILED: (
        "Mend the version and apply it. If the new answer is right, correct the probe in spec.integrity, "
        "then {serin} retry {name}."
    ),
    Reason.GOLDEN_PROBE_UNANSWERED: (
        "Mend what the message says: the probe's path or body, the version, or a NetworkPolicy that keeps "
        "serin-operator away; then {serin} retry {name}."
    ),
    Reason.SIGNATURE_INCOMPATIBLE: (
        "Mend the version, or correct spec.features.signature. If clients know of the change, "
        'write integrity.signature: "Off", then {serin} retry {name}.'
    ),
    Reason.SIGNATURE_UNKNOWN: (
        "Write spec.features.signature, or let the model server say it: see what the pod answers at /v2/models/NAME."
    ),
    Reason.DIGEST_MISMATCH: (
        "Write images by digest (NAME@sha256:...), find out who changed what the tag names, then {serin} retry {name}."
    ),
    Reason.DIGEST_UNKNOWN: "Do what the message says, or leave out spec.model.digest.",
    Reason.CANDIDATE_CRASHED: "Read the pod's last log, mend the version and apply it.",
    Reason.CANDIDATE_UNAVAILABLE: "Look at the pods and their node; the steps start over when they are back.",
    Reason.PROGRESS_DEADLINE_EXCEEDED: (
        "Mend what the message names (kubectl -n {namespace} describe pods -l serin.dev/model-deployment={name} says "
        "more). If only time was missing, raise spec.progressDeadline."
    ),
    Reason.WRITE_DENIED: (
        "Mend what refuses it: raise the quota (kubectl -n {namespace} describe quota), or correct the policy or "
        "Serin's rights. It is tried again by itself, at least once a minute."
    ),
    Reason.POD_TEMPLATE_REFUSED: "Correct spec.template as the API server's words say.",
    Reason.MAX_DURATION_EXCEEDED: "Send more requests, or raise maxDuration, then {serin} retry {name}.",
    Reason.NO_DATA_FOR_TOO_LONG: "Mend what keeps the data away, then {serin} retry {name}.",
    Reason.ABORTED_BY_USER: "Nothing. The same version is not tried again by itself.",
    Reason.ROLLED_BACK_BY_USER: "Nothing. The version that was left is not tried again by itself.",
    Reason.ROLLBACK_REFUSED: "{serin} history {name} shows the versions; one that was promoted can be gone back to.",
    Reason.VALIDATION_SKIPPED: (
        "Mend the Job of spec.rollback.validation as the message says; the rollback has gone on without it."
    ),
    Reason.NOT_RECOVERED: (
        "Look at what else has changed: the data, a service that the model asks, the limit itself. "
        "{serin} history {name} shows which version kept it."
    ),
    Reason.RECOVERY_NOT_SHOWN: "Send requests, or look at the metric yourself: too few were counted in its window.",
    Reason.ROLLBACK_FAILED: "Mend what the pods say and ask again, or {serin} rollback {name} --to another one.",
    Reason.REJECTED_CONTENT: (
        "Change the spec (other content is a new version), put the old one back, or {serin} retry {name}."
    ),
    Reason.PARTLY_ROLLED_BACK: (
        "Correct what is to blame in the spec and apply it; until then the combination serves. To have the spec's own "
        "version tried again, remove spec.rollback, then {serin} retry {name}."
    ),
    Reason.NO_TRAFFIC: "Send requests to the Service {name}: without any, nothing can be judged.",
    Reason.TARGET_DOWN: "Look at Prometheus' targets page: it cannot scrape what the metric needs.",
    Reason.SERIES_ABSENT: "Let Prometheus scrape the router's pods, and check the metric's PromQL.",
    Reason.STALE: "Look at Prometheus' targets page: there is no newer sample than the last one counted.",
    Reason.NOT_A_NUMBER: "Check the metric's PromQL for a division by zero.",
    Reason.PROMETHEUS_UNREACHABLE: "Look whether Prometheus runs, and where the operator's SERIN_PROMETHEUS_URL leads.",
    Reason.QUERY_FAILED: "Correct the metric's PromQL as Prometheus' words say.",
    Reason.CLOCK_SKEWED: "Let NTP set the clocks of the nodes that Prometheus and serin-operator run on.",
    Reason.PARTIAL: "A part of the data is missing; the metric's message says which.",
    Reason.TRAFFIC_TOO_LOW: (
        "It will take long. Write larger shares and see what they change: {serin} rehearse -f FILE --from-cluster."
    ),
    Reason.RETRAINING_WAITS: (
        "Correct what the message names: spec.retraining, a quota of {namespace}, or Serin's rights. It is tried again "
        "by itself, at least every five minutes, and at once after an edit."
    ),
    Reason.RETRAINING_FAILED: (
        "Read the Job's log and mend it (kubectl -n {namespace} get jobs -l serin.dev/model-deployment={name}); after "
        "the cool-down a trigger that still holds begins the next one."
    ),
    Reason.NOTIFICATION_WAITS: (
        "Mend the receiver, or correct spec.notifications: what the message names. It is tried again by itself for an "
        "hour, at least every five minutes."
    ),
    Reason.NOTIFICATION_FAILED: "Nothing more is sent of it. Mend the receiver, or correct spec.notifications.",
    Reason.REVIEW_NOT_SENT: (
        "Mend the webhook, or correct spec.guard.review.webhook: what the message names. That answer is gone; the next "
        "one is sent by itself."
    ),
    Reason.REVIEW_NOT_COUNTED: (
        "Nothing: what is said of other answers counts. {serin} review {name} shows what became of each."
    ),
    Reason.ROUTER_NOT_READY: "kubectl -n serin-system get pods -l app.kubernetes.io/name=serin-router",
    Reason.ROUTER_FULL: "Delete ModelDeployments that nobody needs; this one is then given what is free by itself.",
    Reason.ROUTE_NOT_TAKEN: (
        "Let the router's pods reach the operator, or delete those that the message names: "
        "kubectl -n serin-system logs -l app.kubernetes.io/name=serin-router"
    ),
    Reason.ROUTE_REFUSED: "The router goes on with what it had. Correct what its words name under spec.router.",
    Reason.SERVICE_NOT_OURS: "Rename the ModelDeployment, or delete the Service {name}: Serin leaves it alone.",
    Reason.NO_FALLBACK: "Create the Service in {namespace}, or correct spec.fallback: clients would get 503.",
    Reason.INVALID_SPEC: "Correct the field that the message names and apply again; {serin} lint -f FILE checks it.",
    Reason.METRIC_TEMPLATE_NOT_FOUND: "Create the MetricTemplate in {namespace}, or correct the name in spec.metrics.",
}

NOTHING_TO_DO: Final = frozenset(
    {
        Reason.INITIALIZING,
        Reason.SERVING,
        Reason.ROLLOUT_STARTED,
        Reason.CANDIDATE_STARTING,
        Reason.STEP_STARTED,
        Reason.BAKING,
        Reason.TESTING,
        Reason.BETTER_THAN_STABLE,
        Reason.BEST_ARM,
        Reason.WAITING,
        Reason.APPROVED,
        Reason.PROMOTING,
        Reason.PROMOTED,
        Reason.SUPERSEDED,
        Reason.SPEC_BACK_TO_STABLE,
        Reason.WATCHING,
        Reason.HOLDBACK_OVER,
        Reason.WITHIN_LIMITS,
        Reason.NOTHING_TO_DO,
        Reason.RETRIED_BY_USER,
        Reason.BISECTING,
        Reason.ROLLING_BACK,
        Reason.RECOVERED,
        Reason.VALIDATING,
        Reason.VALIDATED,
        Reason.EVIDENCE_AVAILABLE,
        Reason.NOT_WORSE,
        Reason.WARMING_UP,
        Reason.TRAFFIC_SUFFICES,
        Reason.ROUTED,
        Reason.FALLBACK_READY,
        Reason.RETRAINING_REQUESTED,
        Reason.RETRAINING_RUNS,
        Reason.RETRAINING_SUCCEEDED,
        Reason.RETRAINING_DELIVERED,
        Reason.RETRAINING_CANCELLED,
    }
)


def advice(reason: str, name: str, namespace: str, serin: str) -> str:
    """What to do, in a sentence; "" when nothing is to be done, or the reason is one of a newer operator."""
    return ADVICE.get(reason, "").format(name=name, namespace=namespace, serin=serin)
