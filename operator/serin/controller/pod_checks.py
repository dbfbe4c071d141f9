"""Asks the pods of a version on trial what `spec.integrity` says, and keeps what came of it.

That is answers that are known (golden probes), and the model's signature. A pod is asked as soon as it is ready, again
until it has answered, and from then on every `spec.integrity.every`. One wrong answer is asked for once more before it
counts. A pod whose container has restarted is another one, and what was answered to other questions is forgotten. Of
stable only the signature is asked, until its ModelSnapshot has it.

This is a task of its own beside the looks: nothing waits for it but a rise of the traffic. Each namespace has a few
requests under way at most, so that pods that never answer delay those of their own namespace alone. What is known is in
memory: a replica that has just been elected asks every pod again, and until then traffic stays as it is.
"""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import structlog

from serin.api import names
from serin.api.fields import Field, InvalidSpec
from serin.api.integrity import GoldenProbe, Integrity, read_integrity
from serin.api.json import JsonObject
from serin.api.names import Key
from serin.api.signature import NoSignature, Signature, declared, read_signature, recorded
from serin.api.snapshots import Snapshot, read_snapshot
from serin.api.spec import ModelDeployment
from serin.api.state import State
from serin.api.status import read_state
from serin.cluster import kinds
from serin.cluster.cache import ObjectCache
from serin.evaluation.golden import LONGEST_ANSWER, difference, fingerprint
from serin.evaluation.signature import incompatibility
from serin.rollout.model import GoldenAnswers, Signatures
from serin.workload.asking import Ask, NoAnswer, Question, ask
from serin.workload.golden import address_of, metadata_of, pods_to_ask

log: Final = structlog.get_logger("serin.integrity")

_EVERY_SECONDS: Final = 1.0
# How long after an answer that is missing or wrong the pod is asked again.
_AGAIN_SECONDS: Final = 5.0
_WRONG_SECONDS: Final = 1.0
# What one answer that is missing counts at most: the longest time-out, and until the pod is asked again.
_LONGEST_WAIT_SECONDS: Final = 65.0
# How long the model's metadata may take.
_METADATA_SECONDS: Final = 10.0
# Pods of one namespace that are asked at the same time.
_NAMESPACE_ASKS: Final = 4
# Wrong answers that count, without a right one between them.
_WRONG_ANSWERS: Final = 2
_NOT_ASKED: Final = "a generic runtime is not asked for it: write spec.features.signature"

PodKey = tuple[str, int]  # uid, and how often its containers have restarted


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a pod is asked."""

    probes: tuple[GoldenProbe, ...] = ()
    signature: bool = False


@dataclass(frozen=True, slots=True)
class _Found:
    """What a pod has answered. `at`: asked last (unix seconds).

    `waited`: seconds in which golden probes were asked in vain, `message`: the last answer in words, `wrong`: how often
    it was. `signature`: what the model server says, None: it has none; `untold`: why it is not known whether it has
    one, "": it is known; `untold_for`: seconds.
    """

    asked: _Asked
    at: float
    passed: bool = False
    waited: float = 0.0
    wrong: int = 0
    message: str = ""
    fingerprint: str = ""
    signature: Signature | None = None
    untold: str = ""
    untold_for: float = 0.0


@dataclass(frozen=True, slots=True)
class _Due:
    """A pod to be asked."""

    deployment: Key
    key: PodKey
    pod: JsonObject
    snapshot: Snapshot
    asked: _Asked
    every: float


class PodChecks:
    """`enqueue`: asks for a look at a deployment. `clock`: unix seconds. `ask`: sends a request to a pod."""

    def __init__(
        self,
        cache: ObjectCache,
        enqueue: Callable[[Key], None],
        *,
        clock: Callable[[], float] = time.time,
        ask: Ask = ask,
    ) -> None:
        self._cache, self._enqueue, self._clock, self._ask = cache, enqueue, clock, ask
        self._found: dict[PodKey, _Found] = {}
        self._under_way: dict[PodKey, str] = {}  # and its namespace

    def golden(self, deployment: ModelDeployment, state: State) -> Mapping[str, GoldenAnswers]:
        """What the ready pods of each version on trial have answered; nothing when nothing is to be asked."""
        asked = _of_trial(deployment.spec.integrity)
        if not asked.probes or state.judged is None:
            return {}
        return {one: _together(self._answers(deployment, one, asked)) for one in state.judged.active}

    def signatures(
        self, deployment: ModelDeployment, state: State, snapshots: Mapping[str, Snapshot]
    ) -> Mapping[str, Signatures]:
        """What is known of the signatures of stable and of each version on trial; nothing when they may differ."""
        if not deployment.spec.integrity.signature:
            return {}
        found = {}
        judged = state.judged
        active = judged.active if judged else ()
        for name in {*active, judged.stable if judged else "", state.stable or ""} & snapshots.keys():
            asked = _of_trial(deployment.spec.integrity) if name in active else _SIGNATURE
            found[name] = _signatures(snapshots[name], self._answers(deployment, name, asked))
        return found

    def _answers(self, deployment: ModelDeployment, snapshot: str, asked: _Asked) -> Mapping[str, _Found | None]:
        """What is known of each ready pod of a version, by the pod's name."""
        pods = self._cache.of_deployment(kinds.POD, deployment.namespace, deployment.name)
        return {pod["metadata"]["name"]: self._known(key, asked) for key, pod in pods_to_ask(pods, snapshot)}

    async def run(self) -> None:
        """Ask until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                try:
                    self._begin(group)
                except Exception:
                    # Pods that are not asked hold a rollout, and say so; without this loop all would be held for ever.
                    log.exception("integrity.failed")
                await asyncio.sleep(_EVERY_SECONDS)

    def _begin(self, group: asyncio.TaskGroup) -> None:
        """Ask whom it is time to ask, as far as each namespace has room."""
        there, now = list(self._to_ask()), self._clock()
        known = {one.key for one in there}
        self._found = {key: one for key, one in self._found.items() if key in known}
        room = Counter(self._under_way.values())
        for one in sorted(there, key=self._asked_at):
            namespace = one.deployment[0]
            if one.key in self._under_way or not self._is_due(one, now) or room[namespace] >= _NAMESPACE_ASKS:
                continue
            room[namespace] += 1
            self._under_way[one.key] = namespace
            group.create_task(self._ask_pod(one), name=f"integrity of {one.pod['metadata']['name']}")

    def _to_ask(self) -> Iterator[_Due]:
        for body in self._cache.all(kinds.MODEL_DEPLOYMENT):
            try:
                if (body.get("spec") or {}).get("integrity"):
                    yield from self._pods_of(body)
            except InvalidSpec:
                continue  # its own look says so
            except Exception:
                log.exception("deployment.unreadable", deployment=body["metadata"]["name"])

    def _pods_of(self, body: JsonObject) -> Iterator[_Due]:
        state, metadata = read_state(body.get("status") or {}), body["metadata"]
        place = metadata["namespace"], metadata["name"]
        integrity = read_integrity(Field(body["spec"], "spec").get("integrity"))
        on_trial = state.judged.active if state.judged else ()
        asked = dict.fromkeys(on_trial, _of_trial(integrity))
        if integrity.signature and state.stable and state.stable not in asked:
            asked[state.stable] = _SIGNATURE
        pods = self._cache.of_deployment(kinds.POD, *place) if asked else ()
        for name, what in asked.items():
            body_of = self._cache.get(kinds.MODEL_SNAPSHOT, place[0], name)
            if body_of is None or names.controller_uid(body_of) != metadata["uid"]:
                continue
            known = recorded((body_of.get("status") or {}).get("signature"))  # its records are many, and this is often
            if what == _Asked() or (known is not None and name not in on_trial):
                continue
            snapshot = read_snapshot(body_of)
            for key, pod in pods_to_ask(pods, name):
                yield _Due(place, key, pod, snapshot, what, integrity.every)

    def _asked_at(self, one: _Due) -> float:
        found = self._found.get(one.key)
        return found.at if found else 0.0

    def _known(self, key: PodKey, asked: _Asked) -> _Found | None:
        """What is known of a pod's answers to just this."""
        found = self._found.get(key)
        return found if found and found.asked == asked else None

    def _is_due(self, one: _Due, now: float) -> bool:
        found = self._known(one.key, one.asked)
        if found is None:
            return True
        settled = (found.passed or found.wrong >= _WRONG_ANSWERS) and not found.untold
        pause = one.every if settled else _WRONG_SECONDS if 0 < found.wrong < _WRONG_ANSWERS else _AGAIN_SECONDS
        return abs(now - found.at) >= pause  # also when the clock was set back

    async def _ask_pod(self, one: _Due) -> None:
        """Ask a pod everything, and keep what came of it."""
        try:
            found = await self._examine(one)
        except Exception as error:
            log.exception("integrity.failed", namespace=one.deployment[0], deployment=one.deployment[1])
            found = self._after(one, "", f"no answer: {type(error).__name__}", "")
        finally:
            del self._under_way[one.key]
        self._found[one.key] = found
        log.debug("integrity.asked", pod=one.pod["metadata"]["name"], passed=found.passed, message=found.message)
        self._enqueue(one.deployment)

    async def _examine(self, one: _Due) -> _Found:
        """What is known of a pod when it has been asked."""
        signature, untold = await self._signature(one) if one.asked.signature else (None, "")
        try:
            wrong, print_ = await self._first_difference(one)
            found = self._after(one, wrong, "", print_)
        except NoAnswer as error:
            found = self._after(one, "", str(error), "")
        before = self._known(one.key, one.asked)
        if not untold:
            return replace(found, signature=signature)
        if before and not before.untold:  # it was told, and is not doubted because it is once not told in time
            return replace(found, signature=before.signature)
        waited = self._waited(before.untold_for, before.at) if before else 0.0
        return replace(found, untold=untold, untold_for=waited)

    async def _signature(self, one: _Due) -> tuple[Signature | None, str]:
        """What a model server says of its model, None when it says nothing; and in words why that is not known."""
        own = declared(one.snapshot.content.get("features"))
        try:
            where = metadata_of(one.pod, one.snapshot)
            if where is None:
                return None, "" if own else _NOT_ASKED
            answer = await self._ask(
                Question(where.address, where.port, where.path, None, _METADATA_SECONDS, LONGEST_ANSWER)
            )
        except NoAnswer as error:
            return None, f"asked for the model's metadata: {error}"
        try:
            return read_signature(json.loads(answer)), ""
        except NoSignature as error:
            why = str(error)
        except (ValueError, RecursionError):
            why = "the model's metadata is no JSON"
        # Where the model server cannot say it, what is declared counts.
        return None, "" if own else f"{why}: let the model server say them, or write spec.features.signature"

    async def _first_difference(self, one: _Due) -> tuple[str, str]:
        """The first wrong answer, in words, "" when all are as expected; and their fingerprint. Raises NoAnswer."""
        answers = []
        for probe in one.asked.probes:
            try:
                where = address_of(one.pod, one.snapshot, probe)
                answer = await self._ask(
                    Question(where.address, where.port, where.path, probe.body.encode(), probe.timeout, LONGEST_ANSWER)
                )
            except NoAnswer as error:
                raise NoAnswer(f"golden probe {probe.name}: {error}") from None
            if different := difference(probe, answer):
                return f"golden probe {probe.name}: {different}", ""
            answers.append((probe, answer))
        return "", fingerprint(answers) if answers else ""

    def _after(self, one: _Due, wrong: str, unanswered: str, print_: str) -> _Found:
        """What is known of a pod now. One that has passed is not doubted because it once does not answer in time."""
        asked, now = one.asked, self._clock()
        before = self._known(one.key, asked) or _Found(asked, now)
        if wrong:
            return _Found(asked, now, waited=before.waited, wrong=before.wrong + 1, message=wrong)
        if not unanswered:
            return _Found(asked, now, passed=True, fingerprint=print_)
        if before.passed or before.wrong >= _WRONG_ANSWERS:
            return replace(before, at=now)
        waited = self._waited(before.waited, before.at)
        return _Found(asked, now, waited=waited, wrong=before.wrong, message=unanswered)

    def _waited(self, before: float, since: float) -> float:
        """A process that was stopped, or a clock that jumps, is not held against the pod."""
        return before + min(max(0.0, self._clock() - since), _LONGEST_WAIT_SECONDS)


_SIGNATURE: Final = _Asked(signature=True)


def _of_trial(integrity: Integrity) -> _Asked:
    """What the pods of a version on trial are asked."""
    return _Asked(integrity.golden_probes, integrity.signature)


def _together(pods: Mapping[str, _Found | None]) -> GoldenAnswers:
    """What all pods of a version have answered to golden probes; `pods`: by name."""
    wrong = [f"{one.message} (pod {name})" for name, one in pods.items() if one and one.wrong >= _WRONG_ANSWERS]
    waiting = {name: one for name, one in pods.items() if one is None or not one.passed}
    told = [f"{one.message} (pod {name})" for name, one in waiting.items() if one and one.message]
    return GoldenAnswers(
        asked=len(pods),
        passed=len(pods) - len(waiting),
        wrong=wrong[0] if wrong else "",
        waits=told[0] if told else "",
        waited=max((one.waited for one in waiting.values() if one), default=0.0),
        fingerprint=next((one.fingerprint for one in pods.values() if one and one.passed), ""),
    )


def _signatures(snapshot: Snapshot, pods: Mapping[str, _Found | None]) -> Signatures:
    """What is known of a version's signature: declared, or what its pods say, or what was recorded of them."""
    own = declared(snapshot.content.get("features"))
    told = [(name, one.signature) for name, one in pods.items() if one and one.signature]
    untold = {name: one for name, one in pods.items() if one is None or one.untold}
    why = [f"{one.untold} (pod {name})" for name, one in untold.items() if one]
    said = told[0][1] if told else snapshot.signature
    return Signatures(
        known=own or said,
        differs=_first_contradiction(own, told),
        asked=len(pods),
        told=len(pods) - len(untold),
        waits=why[0] if why else "",
        waited=max((one.untold_for for one in untold.values() if one), default=0.0),
    )


def _first_contradiction(own: Signature | None, told: Sequence[tuple[str, Signature]]) -> str:
    """How a pod's signature first differs from the declared one, or from another pod's; "" when none does."""
    if not told:
        return ""
    reference, called = (own, "spec.features.signature") if own else (told[0][1], f"pod {told[0][0]}")
    for name, one in told:
        if one != reference and (different := incompatibility(reference, one, called)):
            return f"{different} (pod {name})"
    return ""
