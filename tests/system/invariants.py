"""What must hold at every committed write, whatever fails. A broken rule is collected with the moment and the writer.

Rules look at what is true in the cluster, at the Envoys and at the requests, never at what the operator believes.
"""

from dataclasses import dataclass, field

from serin.api.json import JsonObject
from serin.api.names import (
    ANNOTATION_ABORT,
    ANNOTATION_ROLLBACK_TO,
    LABEL_MODEL_DEPLOYMENT,
    LABEL_SNAPSHOT,
    controller_uid,
)
from serin.api.state import State
from serin.api.status import read_state, read_status
from serin.api.verdicts import SnapshotVerdict
from serin.cluster import kinds
from serin.workload.pods import is_ready
from tests.simulation.api.store import Commit
from tests.simulation.traffic import Clients
from tests.system.stage import Place, Stage

BY_PERSON = (ANNOTATION_ABORT, ANNOTATION_ROLLBACK_TO)


@dataclass
class Rules:
    """Watches one stage. `broken`: every rule that did not hold, in words."""

    stage: Stage
    most_conflicts: float = 3
    broken: list[str] = field(default_factory=list)
    _raised: dict[Place, tuple[float, int]] = field(default_factory=dict)  # when, and requests of the candidate then

    def __post_init__(self) -> None:
        self.checked = 0
        self._lost: list[tuple[Place, Clients, int]] = []
        self._renewed = 0.0
        self._said: set[tuple[Place, str]] = set()
        self._owned: set[tuple[str, str]] = set()  # uid of a ModelDeployment, and each Deployment that it ever had
        self.stage.server.store.listen(self._on_commit)

    def _on_commit(self, commit: Commit) -> None:
        self.checked += 1
        ours = commit.who.startswith("serin-")
        if ours:
            self._one_writer(commit)
        if commit.kind == kinds.DEPLOYMENT and commit.after is not None:
            self._owned.add((controller_uid(commit.after), commit.key[1]))
        if commit.kind == kinds.MODEL_DEPLOYMENT and commit.after is not None and commit.before is not None:
            self._status(commit, commit.before, commit.after)
        if commit.kind == kinds.LEASE:
            self._one_holder(commit)
        if commit.kind == kinds.MODEL_SNAPSHOT and commit.after is not None:
            self._rejected_has_nothing(commit, commit.after)
        if commit.kind == kinds.EVENT and ours:
            self._event(commit)
        if commit.kind == kinds.DEPLOYMENT and ours:
            self._no_pod_goes_in_use(commit)

    def _tell(self, commit: Commit, rule: str) -> None:
        self.broken.append(f"{commit.at:.3f} s, {commit.who}, {commit.kind.name} {'/'.join(commit.key)}: {rule}")

    # ── Traffic ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _status(self, commit: Commit, old: JsonObject, new: JsonObject) -> None:
        if (old.get("status") or {}) == (new.get("status") or {}):
            return
        before, after = read_state(old.get("status") or {}), read_state(new.get("status") or {})
        total = sum(after.split.weights.values())
        if total != 100 and before.split.weights:
            self._tell(commit, f"weights {dict(after.split.weights)} are no split")
        self._only_arms(commit, after)
        self._never_to_nobody(commit, before, after)
        self._steps_only(commit, new, before, after)
        self._nothing_rejected_returns(commit, new, before, after)
        self._stable_serves(commit, before, after)
        self._proven(commit, new, before, after)
        self._told(commit, after)
        self._counts_its_own(commit, new)
        self._counted_once(commit, after, new)

    def ready(self, namespace: str, snapshot: str) -> int:
        """Pods of a snapshot that are ready in truth."""
        return sum(
            (pod["metadata"].get("labels") or {}).get(LABEL_SNAPSHOT) == snapshot and is_ready(pod)
            for pod in self.stage.server.store.all(kinds.POD, namespace)
        )

    def _never_to_nobody(self, commit: Commit, before: State, after: State) -> None:
        """Traffic never moves to a version without ready pods while a serving one has some."""
        namespace = commit.key[0]
        if not any(self.ready(namespace, one) for one in before.split.serving()):
            return
        for snapshot in after.split.serving():
            if after.split.of(snapshot) > before.split.of(snapshot) and not self.ready(namespace, snapshot):
                self._tell(commit, f"traffic moves to {snapshot}, which has no ready pod")

    def _only_arms(self, commit: Commit, after: State) -> None:
        """Stable, the candidate, and whom a person goes back to: nobody else has traffic. The candidate has copies."""
        back = after.manual_rollback.target if after.manual_rollback else None
        if after.split.mirror and after.split.mirror.snapshot != after.candidate:
            self._tell(commit, f"{after.split.mirror.snapshot} gets copies, the candidate is {after.candidate}")
        before = after.watch.before if after.watch else None
        arms = set(after.rollout.active) if after.rollout else set()
        if others := set(after.split.serving()) - {after.stable, back, before, *arms}:
            self._tell(commit, f"{', '.join(sorted(others))} has traffic and no part in this")

    def _steps_only(self, commit: Commit, new: JsonObject, before: State, after: State) -> None:
        """A candidate gets what the next step says, and not more."""
        candidate = after.candidate
        if candidate is None or before.stable is None or after.manual_rollback is not None:
            return
        if bandit := new["spec"]["strategy"].get("bandit"):
            self._moves_only(commit, bandit, before, after)
            return
        steps = [one.get("weight", 0) for one in new["spec"]["strategy"]["canary"]["steps"]]
        have, had = after.split.of(candidate), before.split.of(candidate)
        allowed = [0, *steps, 100]
        if have > had and (have not in allowed or allowed.index(have) > 1 + max(_at_most(allowed, had), 0)):
            self._tell(commit, f"the candidate's weight goes from {had} to {have}, the steps are {steps}")

    def _moves_only(self, commit: Commit, bandit: JsonObject, before: State, after: State) -> None:
        """An arm of a bandit rises by steps and keeps to its limits; what falls and what rises are two writes."""
        arms = after.rollout.active if after.rollout else ()
        moved = {one: after.split.of(one) - before.split.of(one) for one in arms}
        if after.split.is_all_to(after.candidate or ""):
            return  # it has won
        for arm, by in moved.items():
            have, first = after.split.of(arm), not before.split.of(arm)
            if by > 1 + bandit["maxStep"] and not first:  # whole percents round
                self._tell(commit, f"{arm} rises by {by} %, maxStep is {bandit['maxStep']}")
            if have and not bandit["minWeight"] <= have <= bandit["maxWeight"]:
                self._tell(commit, f"{arm} has {have} %, of {bandit['minWeight']} to {bandit['maxWeight']}")
        if min(moved.values(), default=0) < 0 < max(moved.values(), default=0):
            self._tell(commit, f"one write lowers one arm and raises another: {moved}")

    def _proven(self, commit: Commit, new: JsonObject, before: State, after: State) -> None:
        """More traffic follows only on evidence of the present step, its requests and its time; and on ready pods."""
        candidate, place = after.candidate or before.candidate, commit.key
        if (
            candidate is None
            or after.manual_rollback is not None
            or after.split.of(candidate) <= before.split.of(candidate)
        ):
            return
        had, have, replicas = before.split.of(candidate), after.split.of(candidate), new["spec"]["replicas"]
        needed = replicas if have >= 50 else max(1, -(-replicas * have // (100 - have)))
        if (ready := self.ready(place[0], candidate)) < needed:
            self._tell(commit, f"{ready} pods of {candidate} are to carry {have} %, {needed} are needed")
        requests = self.attempts(candidate)
        steps = new["spec"]["strategy"].get("canary", {}).get("steps", ())
        step = next((one for one in steps if one.get("weight") == had), None)
        if step is not None and had and place in self._raised:
            at, then = self._raised[place]
            if min(self.stage.prometheus.scraped.values()) <= at:
                self._tell(commit, f"{had} -> {have} % without a scrape since {had} % began")
            if requests - then < step.get("minRequests", 0):
                self._tell(
                    commit, f"{had} -> {have} % after {requests - then} requests, minRequests {step['minRequests']}"
                )
            if commit.at - at < float(step["bake"].removesuffix("s")) - 0.5:
                self._tell(commit, f"{had} -> {have} % after {commit.at - at:.1f} s, the step bakes for {step['bake']}")
        self._raised[place] = commit.at, requests

    def _told(self, commit: Commit, after: State) -> None:
        """Remember what the status has said, so that no Event says more."""
        if after.last_rollback:
            self._said.add((commit.key, after.last_rollback.source))

    def _counts_its_own(self, commit: Commit, new: JsonObject) -> None:
        """Pods are counted for this very deployment only: an earlier one of the same name had pods of these names."""
        for role in ("stable", "candidate", "watch"):
            one = new["status"].get(role) or {}
            if one.get("ready") and (new["metadata"]["uid"], one["snapshot"]) not in self._owned:
                self._tell(commit, f"{one['snapshot']} has {one['ready']} ready pods, and no Deployment of its own yet")

    def _event(self, commit: Commit) -> None:
        """An Event says that a version is rolled back only when the status has said so."""
        event = commit.after or {}
        key = (event["regarding"]["namespace"], event["regarding"]["name"]) if event else ("", "")
        gone = [one for one in str(event.get("note", "")).split() if one.startswith(f"{key[1]}-")]
        if "is rolled back" in str(event.get("note", "")) and gone and (key, gone[0]) not in self._said:
            self._tell(commit, f"told, but not written: {event['note']}")

    def _nothing_rejected_returns(self, commit: Commit, new: JsonObject, before: State, after: State) -> None:
        annotations = new["metadata"].get("annotations") or {}
        if any(name in annotations for name in ("serin.dev/retry", *BY_PERSON)):
            return
        for snapshot in after.split.serving():
            record = self.stage.server.store.get(kinds.MODEL_SNAPSHOT, (commit.key[0], snapshot))
            said = ((record.body.get("status") or {}) if record else {}).get("verdict")
            if not before.split.of(snapshot) and said == SnapshotVerdict.ROLLED_BACK.value:
                self._tell(commit, f"{snapshot} was rolled back and gets traffic again")

    def _rejected_has_nothing(self, commit: Commit, snapshot: JsonObject) -> None:
        """A version is recorded as rolled back only after its traffic is gone."""
        said = (snapshot.get("status") or {}).get("verdict")
        before = ((commit.before or {}).get("status") or {}).get("verdict")
        state = self.stage.state(commit.key[0], snapshot["spec"]["modelDeployment"])
        weight = state.split.of(commit.key[1])
        if said == SnapshotVerdict.ROLLED_BACK.value != before and weight:
            self._tell(commit, f"recorded as rolled back with {weight} % of the traffic")

    def _stable_serves(self, commit: Commit, before: State, after: State) -> None:
        """A version is stable once it has all the traffic, at every Envoy; back from a holdback waits for none."""
        if before.stable != after.stable and after.stable is not None and after.split.of(after.stable) != 100:
            self._tell(commit, f"{after.stable} is stable with {after.split.of(after.stable)} % of the traffic")
        back = before.watch is not None and before.watch.before == after.stable
        if before.stable not in (None, after.stable) and after.stable is not None and not back:
            for envoy in self.stage.envoys:
                share = envoy.weights("/".join(commit.key)).get(after.stable, 0.0)
                if share < 1.0:
                    self._tell(commit, f"{after.stable} is stable, {envoy.node} sends it {share:.0%}")

    def _counted_once(self, commit: Commit, after: State, new: JsonObject) -> None:
        """What is said of the candidate counts no request twice, and none that it never got."""
        if after.candidate is None or after.split.of(after.candidate) == 0:
            return
        had = self.attempts(after.candidate)
        for row in read_status(new["status"]).metrics:
            if row.requests > had:
                self._tell(commit, f"{row.name} counts {row.requests} requests, the candidate had {had}")

    def attempts(self, snapshot: str) -> int:
        """Requests that reached a snapshot's pods so far, at all Envoys, restarts included."""
        return sum(proxy.attempts[snapshot] for proxy in self.stage.proxies)

    # ── Pods ──────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _no_pod_goes_in_use(self, commit: Commit) -> None:
        """No pod goes that some Envoy may still send requests to: one that runs, and has a weight for its version."""
        before = (commit.before or {}).get("spec", {}).get("replicas", 0)
        after = (commit.after or {}).get("spec", {}).get("replicas", 0)
        namespace, snapshot = commit.key
        if after >= before or not before or self._is_deleted(namespace, commit):
            return
        owner = (commit.last["metadata"].get("labels") or {}).get(LABEL_MODEL_DEPLOYMENT)
        for envoy in self.stage.envoys:
            weight = envoy.weights(f"{namespace}/{owner}").get(snapshot, 0.0)
            if weight and (after == 0 or commit.after is None):
                self._tell(
                    commit, f"{envoy.node} still sends it {weight:.0%} of the requests, replicas {before} -> {after}"
                )

    def _is_deleted(self, namespace: str, commit: Commit) -> bool:
        owner = (commit.last["metadata"].get("labels") or {}).get(LABEL_MODEL_DEPLOYMENT, "")
        record = self.stage.server.store.get(kinds.MODEL_DEPLOYMENT, (namespace, owner))
        return record is None or "deletionTimestamp" in record.body["metadata"]

    # ── Who writes ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _one_writer(self, commit: Commit) -> None:
        """Only whoever holds the Lease writes anything but the Lease."""
        if commit.kind in (kinds.LEASE, kinds.EVENT) or self.stage.late:
            return
        record = self.stage.server.store.get(kinds.LEASE, ("serin-system", "serin"))
        holder = str((record.body["spec"] if record else {}).get("holderIdentity", ""))
        if not holder.startswith(f"{commit.who}-"):
            self._tell(commit, f"the Lease belongs to {holder or 'nobody'}")

    def serves(self, place: Place) -> None:
        """From now on no request of this deployment may meet nobody."""
        clients = self.stage.clients[place]
        self._lost.append((place, clients, clients.seen.nobody))

    def _one_holder(self, commit: Commit) -> None:
        """The Lease goes to another only when it was given back, or its term is over."""
        before, after = (commit.before or {}).get("spec") or {}, (commit.after or {}).get("spec") or {}
        holder, term = before.get("holderIdentity"), float(before.get("leaseDurationSeconds", 0))
        if holder and after.get("holderIdentity") not in (holder, "") and commit.at - self._renewed < term:
            self._tell(commit, f"{holder} has it for another {term - (commit.at - self._renewed):.1f} s")
        self._renewed = commit.at

    # ── The end ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def end(self, place: Place) -> tuple[object, ...]:
        """What a story leaves of one deployment; two stories that differ in faults alone leave the same."""
        namespace, name = place
        state = self.stage.state(namespace, name)
        verdicts = {
            self.stage.version(body["metadata"]["name"])[1]: (body.get("status") or {}).get("verdict")
            for body in self.stage.server.store.all(kinds.MODEL_SNAPSHOT, namespace)
        }
        services = sorted(
            self.stage.version(body["metadata"]["name"])[1] or body["metadata"]["name"]
            for body in self.stage.server.store.all(kinds.SERVICE, namespace)
        )
        why = state.last_rollback.reason if state.last_rollback else ""
        routed = [
            {self.stage.version(one)[1]: round(share, 3) for one, share in envoy.weights(f"{namespace}/{name}").items()}
            for envoy in self.stage.envoys
        ]
        return (
            state.phase,
            self.stage.serving(namespace, name),
            self.stage.version(state.stable or "")[1],
            state.candidate,
            why,
            dict(self.stage.pods_of(namespace)),
            verdicts,
            services,
            routed,
        )

    def finish(self) -> list[str]:
        """Every broken rule, with errors that ended a process and that no fault explains."""
        lost = [
            f"{clients.seen.nobody - before} requests of {place[0]}/{place[1]} met nobody"
            for place, clients, before in self._lost
            if clients.seen.nobody > before and place not in self.stage.may_lose
        ]
        conflicts = sum(pod.answers[409] for pod in self.stage.pods)
        if conflicts > self.most_conflicts:
            lost.append(f"{conflicts} conflicts: somebody plans on what is out of date")
        crashes = [f"{pod.name} ended by itself: {error!r}" for pod in self.stage.pods for error in pod.crashes]
        return [*self.broken, *lost, *crashes]


def _at_most(allowed: list[int], weight: int) -> int:
    """Index of the largest allowed weight that is not above this one."""
    return max((index for index, one in enumerate(allowed) if one <= weight), default=0)
