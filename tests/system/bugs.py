"""Bugs that are seeded into the operator, one at a time, to show that the stories find them.

A bug is another text in one module. Each is run in a process of its own, which loads that module changed, plays the
stories that are named, and ends with what they found: `python -m tests.system.bugs NAME`.
"""

import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Final

import serin

_SOURCE: Final = Path(str(serin.__file__)).parent


@dataclass(frozen=True)
class Bug:
    """In `module` (under serin), `old` reads `new`. `stories`: which find it, the cheapest first.

    A story may be followed by a fault: `good_candidate delete:Deployment 500` has it at the first deletion of a
    Deployment, `good_candidate each 409` at every other write of a status.
    """

    name: str
    module: str
    old: str
    new: str
    stories: tuple[str, ...]

    @property
    def path(self) -> Path:
        """The file that it is in."""
        return _SOURCE.joinpath(*self.module.split(".")).with_suffix(".py")


BUGS: Final = (
    # What is counted
    Bug(
        "Prometheus counts on without the readings that the evidence ends at",
        "controller.evidence_loop",
        "return [replace(want, base=self._live.begun(want)) for want in asked] if self._live else asked",
        "return asked",
        ("counted_at_the_pods",),
    ),
    Bug(
        "readings go on from where Prometheus has scraped each pod last",
        "metrics.counters",
        "tabulate([cut(each, want.since) for each in own])",
        "tabulate(own)",
        ("counted_at_the_pods",),
    ),
    # What is decided
    Bug(
        "promotion is recorded before the router has taken it",
        "rollout.strategies.moves",
        "if not route.has_taken(context.candidate):",
        "if False:",
        ("good_candidate",),
    ),
    Bug(
        "traffic rises before a pod has answered its golden probes",
        "rollout.gates",
        "    unverified,  # a pod may be another model than it should be\n",
        "",
        ("answers_late",),
    ),
    Bug(
        "the router is not read itself",
        "controller.live_evidence",
        "self._live = frozenset(ticks)",
        "self._live, ticks = frozenset(), {}",
        ("gone_bad_at_the_pods",),
    ),
    Bug(
        "a wrong answer to a golden probe is overlooked",
        "rollout.gates",
        "    answers_wrongly,  # it is not the model that it should be\n",
        "",
        ("wrong_answers",),
    ),
    Bug(
        "a version that takes other inputs than stable goes on",
        "rollout.gates",
        "    breaks_clients,  # clients that speak to stable could not speak to it\n",
        "",
        ("takes_another_input",),
    ),
    Bug(
        "what the pods run is not compared",
        "rollout.gates",
        "    runs_something_else,  # it runs, and is not what it says it is\n",
        "",
        ("tag_moves_in_mid_rollout",),
    ),
    Bug(
        "a validation is waited for without an end",
        "rollout.validation",
        "    if not 0 <= builder.seen.now - known.since < policy.timeout:",
        "    if False:",
        ("validation_is_not_admitted",),
    ),
    Bug(
        "a pod that has answered once is not asked again",
        "controller.pod_checks",
        "        pause = one.every if settled else ",
        "        pause = 1e9 if settled else ",
        ("goes_wrong_under_traffic",),
    ),
    Bug(
        "a world that has moved is taken for a bad version",
        "rollout.assess",
        "new = state.stable_since is not None and seen.now - state.stable_since <= within",
        "new = True",
        ("world_moves",),
    ),
    Bug(
        "slices are counted together",
        "metrics.counters",
        "case RatioSource(by=label) if label:",
        'case RatioSource(by=label) if label == "none":',
        ("bad_by_slices",),
    ),
    Bug(
        "what is worse than its past is overlooked",
        "analysis.past",
        "return sign * (state.now.value - allowed(policy, state)) > 0.0",
        "return False",
        ("worse_than_the_weeks_before",),
    ),
    Bug(
        "a breach in a holdback is overlooked",
        "rollout.watching",
        "if breach and seen.ready(one.before):",
        "if False:",
        ("gone_bad_in_the_holdback",),
    ),
    Bug(
        "the version that is held back drains",
        "rollout.workloads",
        "kept |= _keep(builder, kept) | _hold_back(builder)",
        "kept |= _keep(builder, kept)",
        ("good_holdback",),
    ),
    Bug(
        "a combination that has failed is tried again",
        "rollout.bisection",
        "replace(one, reason=why.reason, message=why.message, at=why.at) if one is search.present else one",
        "one",
        ("model_is_to_blame",),
    ),
    Bug(
        "a search is lost with the look that began it",
        "api.status",
        'result["bisection"] = _write_bisection(state.bisection)',
        "pass",
        ("runtime_is_to_blame",),
    ),
    Bug(
        "drained pods are deleted at once",
        "rollout.workloads",
        "DRAIN: Final = 30.0",
        "DRAIN: Final = 0.0",
        ("aborted",),
    ),
    Bug(
        "a raise is proven by one pod",
        "rollout.strategies.moves",
        "proof=context.proof, requeue_after=poll)",
        "proof={context.candidate: 1}, requeue_after=poll)",
        ("unready_unseen",),
    ),
    Bug(
        "a pass of an earlier step counts",
        "rollout.gates",
        "or (one.at or 0.0) < since):",
        "):",
        ("each_step_by_itself",),
    ),
    Bug(
        "minRequests counts earlier steps",
        "rollout.strategies.moves",
        "gathered = context.requests - stage.requests_before",
        "gathered = context.requests",
        ("each_step_by_itself",),
    ),
    Bug(
        "the bake is skipped",
        "rollout.strategies.moves",
        "if left > 0:",
        "if left > 1e9:",
        ("good_candidate",),
    ),
    Bug(
        "pods that an autoscaler asks for later are held against the version",
        "rollout.gates",
        "or context.ready + in_time >= context.needed:",
        "or context.ready >= context.needed:",
        ("scaled_while_it_starts",),
    ),
    Bug(
        "a failing major metric does not roll back",
        "rollout.gates",
        "one.verdict in FAILURES and one.severity in BLOCKING]",
        "one.verdict in FAILURES and one.severity is Severity.CRITICAL]",
        ("slow_candidate",),
    ),
    Bug(
        "a failing metric does not roll back",
        "rollout.gates",
        "    metric_failed,  # the evidence",
        "    # the evidence",
        ("bad_candidate",),
    ),
    Bug(
        "a rollback to nobody",
        "rollout.planner",
        "return bool(context.has_clients and context.ready and not context.seen.ready(context.stable))",
        "return False",
        ("stable_is_lost",),
    ),
    Bug(
        "rejected content is tried again",
        "rollout.planner",
        "if not due and not _retry(builder, wanted, stable):",
        "if False:",
        ("bad_candidate",),
    ),
    Bug(
        "a candidate gets all traffic in its first step",
        "rollout.strategies.canary",
        "state = replace(context.at(stage).state, split=split)\n        message",
        "split = between(context.stable, context.candidate, 100)\n"
        "        state = replace(context.at(stage).state, split=split)\n        message",
        ("good_candidate",),
    ),
    Bug(
        "an abort is not handled",
        "rollout.planner",
        "if handle(builder, names.ANNOTATION_ABORT):",
        "if False:",
        ("aborted",),
    ),
    Bug(
        "a superseded candidate keeps its traffic",
        "rollout.planner",
        "builder.state = without_rollout(builder.state, builder.seen.now)\n    if builder.state.rollout is None",
        "builder.state = replace(builder.state, rollout=None)\n    if builder.state.rollout is None",
        ("overtaken",),
    ),
    Bug(
        "who goes back arrives before the router has moved",
        "rollout.manual_rollback",
        "elif seen.route.has_taken(target):",
        "elif True:",
        ("goes_back",),
    ),
    Bug(
        "a rollback leaves the pods of the candidate",
        "rollout.workloads",
        "            builder.act(DeleteDeployment(name, workload.uid, workload.resource_version))",
        "            pass",
        ("aborted",),
    ),
    Bug(
        "the candidate has too few pods for its weight",
        "rollout.strategies.moves",
        "return replicas if weight >= others else max(1, -(-replicas * weight // others))",
        "return 1",
        ("good_candidate",),
    ),
    Bug(
        "stable shrinks while a candidate is under way",
        "rollout.workloads",
        "    _ensure(builder, stable, _at_least(builder, stable, replicas) if needed else replicas, ROLE_STABLE)",
        "    _ensure(builder, stable, 0 if needed else replicas, ROLE_STABLE)",
        ("good_candidate",),
    ),
    # How it is carried out
    Bug(
        "the status is written without the version that was planned on",
        "controller.apply",
        '        body["metadata"]["resourceVersion"] = planned_on["resourceVersion"]\n',
        "",
        ("leader_is_cut_off",),
    ),
    Bug(
        "deletions have no preconditions",
        "cluster.client",
        '"preconditions": preconditions}',
        '"preconditions": {}}',
        ("late_deletion",),
    ),
    Bug(
        "the cache is older than the operator's own write",
        "controller.apply",
        "        self._cache.put(kinds.of(body), answer)\n        return answer",
        "        return answer",
        ("slow_watches",),
    ),
    Bug(
        "a plan goes on after a conflict",
        "controller.apply",
        "                why, outcome = conflict.message, Outcome.CONFLICT\n                break",
        "                why, outcome = conflict.message, Outcome.CONFLICT",
        ("bad_candidate each 409",),
    ),
    Bug(
        "a conflict is taken for no answer",
        "cluster.errors",
        "        return Conflict(message, status)\n    if status == 422",
        "        return Retryable(message, status)\n    if status == 422",
        ("behind",),
    ),
    Bug(
        "live reads count pods that are not ready",
        "controller.apply",
        "ready = workload(deployment, pods).ready if deployment else 0",
        "ready = len(pods)",
        ("unready_unseen",),
    ),
    Bug(
        "a plan that stopped is never looked at again",
        "controller.reconcile",
        "plan.requeue_after if applied.outcome is Outcome.DONE else 1.0",
        "plan.requeue_after if applied.outcome is Outcome.DONE else None",
        ("unready_at_first",),
    ),
    Bug(
        "a look that failed is never tried again",
        "controller.reconcile",
        "            raise TryAgain\n        return again",
        "            return None\n        return again",
        ("good_candidate delete:Deployment 500",),
    ),
    Bug(
        "what was counted before nobody looked ends a rollout's evidence",
        "evaluation.samples",
        "begun = subject.since if ended is None else min(subject.since, ended)",
        "begun = subject.since",
        ("gone_bad_in_the_holdback_while_nobody_looks",),
    ),
    Bug(
        "a new leader waits for events",
        "controller.replica",
        "            self._queue.add(key_of(body))",
        "            pass",
        ("leader_is_gone",),
    ),
    Bug(
        "notes are told without the write",
        "controller.report",
        "        if not applied.recorded:\n            return\n",
        "",
        ("bad_candidate each 409",),
    ),
    Bug(
        "another uid's objects are taken for one's own",
        "controller.observe",
        'if names.controller_uid(body) == deployment.uid and "deletionTimestamp" not in body["metadata"]',
        'if "deletionTimestamp" not in body["metadata"]',
        ("made_again",),
    ),
    Bug(
        "deletions are not seen",
        "cluster.cache",
        "        self._forget(kind, _uid(body), _version(body))",
        "        return",
        ("deleted",),
    ),
    Bug(
        "queue: a key that is added while it is handled is lost",
        "controller.queue",
        "            if key in self._due:\n                self._offer(key)",
        "            self._due.pop(key, None)",
        ("good_candidate", "bad_candidate"),
    ),
    Bug(
        "the cache takes what is older",
        "cluster.cache",
        "if not self._is_restored(uid) and (late or (before is not None and not _supersedes(body, before))):",
        "if late:",
        ("slow_watches",),
    ),
    Bug(
        "a changed route is not carried to the Envoys",
        "routers.envoy.xds_feed",
        "                    self._dirty.update(self._ports.others(body))\n                self._changed.set()",
        "                    self._dirty.update(self._ports.others(body))",
        ("good_candidate",),
    ),
    Bug(
        "what peers know to be written is not heard",
        "routers.envoy.xds_feed",
        "tuple(one.split for one in self._newer.get(key, ()) if one.is_news_about(body)),",
        "(),",
        ("standby_watches_nothing", "rolled_back_by_the_other"),
    ),
    Bug(
        "the user's number of pods is not followed",
        "rollout.workloads",
        "state, replicas = builder.state, builder.seen.deployment.spec.replicas",
        "state, replicas = builder.state, 2",
        ("scaled",),
    ),
    # The Lease
    Bug(
        "the Lease is not released",
        "cluster.lease",
        '                        self._see(await self._write("", mine.transitions), self._clock())',
        "                        return",
        ("leader_stops",),
    ),
    Bug(
        "who cannot renew the Lease leads on",
        "cluster.lease",
        "self._end = started + self._terms.duration - self._terms.margin",
        "self._end = started + 10 * self._terms.duration",
        ("lease_is_out_of_reach",),
    ),
    Bug(
        "the Lease is written without a precondition",
        "cluster.lease",
        '        metadata["resourceVersion"] = self._sighting.version\n',
        "",
        ("standby_is_late",),
    ),
    # The router
    Bug(
        "the status is trusted instead of the route",
        "routers.envoy.router",
        "split=agreed or NOWHERE,",
        "split=state.split,",
        ("good_candidate",),
    ),
    Bug(
        "one Envoy is enough",
        "routers.envoy.router",
        "agreed = splits[0] if splits and all(split == splits[0] for split in splits) else None",
        "agreed = splits[0] if splits else None",
        ("good_candidate",),
    ),
    Bug(
        "the cache counts as complete before it is",
        "cluster.cache",
        "self._complete = self._complete or not (self._unlisted or any(self._outstanding.values()))",
        "self._complete = True",
        ("slow_restart",),
    ),
    # Evidence
    Bug(
        "failures reach the clients, the shield does not answer",
        "routers.envoy.routes",
        '_FAILURES: Final = "5xx,reset,connect-failure,refused-stream"',
        '_FAILURES: Final = "reset,connect-failure,refused-stream"',
        ("bad_candidate",),
    ),
)


class _Changed(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Loads one module with another text."""

    def __init__(self, bug: Bug) -> None:
        self._bug, self._module = bug, f"serin.{bug.module}"

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        del path, target
        if fullname != self._module:
            return None
        return importlib.util.spec_from_loader(fullname, self, origin=str(self._bug.path))

    def exec_module(self, module: ModuleType) -> None:
        text = self._bug.path.read_text()
        exec(compile(text.replace(self._bug.old, self._bug.new), str(self._bug.path), "exec"), module.__dict__)


def play(bug: Bug) -> str:
    """Play the stories of a bug until one finds it; what it found, empty when none did. It changes the process."""
    places = bug.path.read_text().count(bug.old)
    assert places == 1, f"{bug.path}: {places} places read {bug.old!r}"
    sys.meta_path.insert(0, _Changed(bug))
    from tests.simulation.api import faults
    from tests.simulation.api.faults import Fault
    from tests.system.plays import each_other, ends, perform

    for line in bug.stories:
        story, *fault = line.split()
        plan: faults.Plan = faults.nothing
        if fault:
            where, what = fault[0], Fault(fault[1])
            verb, _, kind = where.partition(":")
            plan = faults.matching(what, verb=verb, kind=kind) if kind else each_other(what)
        found = perform(story, plan)
        if broken := [*found.broken, *ends(story, found)]:
            return f"{line}: {broken[0]}"
    return ""


def find(name: str) -> str:
    """Play the bug of this name, once in the life of a process: what finds it, empty when no story does."""
    return play(next(bug for bug in BUGS if bug.name == name))


if __name__ == "__main__":
    found = find(sys.argv[1])
    print(found or "no story finds it")
    raise SystemExit(not found)
