"""What a router needs to know of one ModelDeployment: pure data, and how to read it from cached Kubernetes objects.

Weights come from `status.traffic.weights` (the decision and the route are one write), addresses from the EndpointSlices
of the snapshots' Services, and how their pods are spoken to from each ModelSnapshot: never from the spec, which may
describe another version already.

What somebody wrote badly never takes a deployment out of the router: of what cannot be read the last good reading
stays, and the rest goes on changing. Lowering traffic waits for no setting to be corrected.
"""

import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from serin.api.fields import Field, InvalidSpec
from serin.api.guard import LONGEST_WRITTEN, OutputGuard, read_output
from serin.api.guard_agreement import AgreementGuard, read_agreement
from serin.api.guard_inputs import InputGuard, read_input, with_signature, write_input
from serin.api.guard_keys import BYTES
from serin.api.guard_record import RecordGuard, read_record
from serin.api.guard_review import ReviewGuard, read_review
from serin.api.json import JsonObject
from serin.api.kill_switch import FallbackService, FixedAnswer, Killed, KillSwitch, read_fallback, read_kill_switch
from serin.api.names import Key
from serin.api.serving import UNWRITTEN, Serving, read_serving
from serin.api.signature import Signature, declared, recorded
from serin.api.spec import WARMUP
from serin.api.split import NOWHERE, Mirror, Rule, Split, Sticky, all_to
from serin.api.state import State
from serin.api.status import read_state
from serin.routers.endpoints import Endpoint, pods_by_snapshot
from serin.routers.envoy.settings import NAME, EnvoySettings, read_settings, with_defaults
from serin.routers.envoy.xds_written import lower

# Ports of the router's that are given to deployments; it has others of its own.
PORTS: Final = range(10_000, 30_000)
_NOBODYS_KEY: Final = secrets.token_bytes(BYTES)
_TOO_LONG: Final = (
    "its signature is too long for the guard: remove spec.guard.input.signature, and write the columns that matter"
)


@dataclass(frozen=True, slots=True)
class Arm:
    """One snapshot: its weight in whole percent, its ready pods, sorted, and how they are spoken to."""

    snapshot: str
    weight: int
    endpoints: tuple[Endpoint, ...]
    serving: Serving = UNWRITTEN


@dataclass(frozen=True, slots=True)
class Agreement:
    """How two versions are compared. `uid`: of the deployment. `candidate`: None: no rollout has just one."""

    how: AgreementGuard
    uid: str
    candidate: str | None


@dataclass(frozen=True, slots=True)
class Review:
    """Which answers people look at. `uid`: of the deployment."""

    how: ReviewGuard
    uid: str


@dataclass(frozen=True, slots=True)
class RoutedModel:
    """One ModelDeployment as its clients see it: a port of the router, and the snapshots behind it.

    `stable`: the snapshot that answers when another one fails (None: none yet). `arms`: every snapshot that the router
    must know, also those that get no traffic yet, so that their clusters are there before a route names them. `rules`:
    which requests go to one of them, whatever the weights are. `sticky`: how users keep their snapshot. `mirror`: which
    one gets copies. `killed`: no version may answer. `fallback`: what does then (None: 503). `warmup`: seconds for
    which a new pod gets less than its share. `guard`: what all answers must look like, `inputs`: what
    all requests must (None: anything). `agreement`: None: no answers are compared. `review`: None: nobody
    looks at any. `guard_key`: signs what the guard is told.
    """

    namespace: str
    name: str
    port: int
    settings: EnvoySettings
    stable: str | None
    arms: tuple[Arm, ...]
    rules: tuple[Rule, ...] = ()
    sticky: Sticky | None = None
    killed: bool = False
    fallback: FixedAnswer | Endpoint | None = None
    warmup: float = WARMUP
    mirror: Mirror | None = None
    guard: OutputGuard | None = None
    inputs: InputGuard | None = None
    agreement: Agreement | None = None
    record: RecordGuard | None = None
    review: Review | None = None
    guard_key: bytes = field(default=b"", repr=False)

    @property
    def key(self) -> Key:
        """Namespace and name."""
        return self.namespace, self.name

    def signed(self, key: bytes) -> "RoutedModel":
        """The same with a key for what the guard is told.

        Without one (b"") it is told by a key that no guard has. So the guard refuses, and what passes unchecked is
        counted: without filters nobody would know that this router checks nothing while another replica's does.
        """
        if not (self.guard or self.inputs or self.agreement or self.record or self.review):
            return self
        return replace(self, guard_key=key or _NOBODYS_KEY)

    def arm(self, snapshot: str | None) -> Arm | None:
        """The arm of one snapshot, None when there is none."""
        return next((arm for arm in self.arms if arm.snapshot == snapshot), None)

    def copies_to(self, arm: Arm) -> bool:
        """Whether copies of requests are decided to go to an arm, the router's or the guard's."""
        return (self.mirror is not None and self.mirror.snapshot == arm.snapshot) or self.compared() == arm.snapshot

    def compared(self) -> str | None:
        """The snapshot whose answers are compared with stable's: a candidate that is judged by requests, or copies."""
        found = self.agreement.candidate if self.agreement else None
        if found is None or self.sticky or self.killed or self.stable in (None, found):
            return None
        ruled = any(one.snapshot == found and not one.preview for one in self.rules)
        mirrored = self.mirror is not None and self.mirror.snapshot == found
        weighted = any(arm.weight for arm in self.arms if arm.snapshot == found)
        return found if ruled or mirrored or weighted else None

    def split(self) -> Split:
        """What can be served now: what an arm without a ready pod should get goes to stable.

        Stable keeps its own weight without pods: an unproven version never gets more than was decided.
        """
        weights = {arm.snapshot: arm.weight for arm in self.arms if arm.weight}
        if self.stable is None or not weights:
            return Split(weights) if weights else NOWHERE
        moved = sum(arm.weight for arm in self.arms if arm.snapshot != self.stable and not arm.endpoints)
        gone = {arm.snapshot for arm in self.arms if arm.snapshot != self.stable and not arm.endpoints}
        served = {snapshot: weight for snapshot, weight in weights.items() if snapshot not in gone}
        if moved:
            served[self.stable] = served.get(self.stable, 0) + moved
        rules = tuple(rule for rule in self.rules if rule.preview or rule.snapshot not in gone)
        mirror = self.mirror if self.mirror and self.mirror.snapshot not in gone else None
        return Split(served, rules, self.sticky, mirror)


@dataclass(frozen=True, slots=True)
class Reading:
    """What was read of a deployment. `model`: None when clients cannot reach it yet. `problem`: what was not read."""

    model: RoutedModel | None
    problem: str = ""


def _nothing(_: FallbackService) -> None:
    """No Service is known."""


def read_model(
    body: JsonObject,
    slices: Iterable[JsonObject],
    snapshots: Iterable[JsonObject] = (),
    last: RoutedModel | None = None,
    address: Callable[[FallbackService], Endpoint | None] = _nothing,
    newer: Iterable[Split] = (),
) -> Reading:
    """Read a ModelDeployment; `slices`, `snapshots`: those with its label, `last`: what was read of it before.

    `address`: of a Service of its namespace, None when that cannot answer. `newer`: what later versions of it than
    `body` are known to say.
    A deployment without a listener port in its status has no model: nobody can reach it yet.
    """
    metadata, state = body["metadata"], decided(body)
    for split in newer:
        before = state.watch.before if state.watch else None
        state = replace(state, split=lower(state.split, state.stable, split, before))
    settings, bad_settings = _read_settings(body["spec"], last)
    port, bad_port = _read_port(state, last)
    snapshots = tuple(snapshots)
    servings, bad_servings = _read_servings(snapshots, last)
    problem = "; ".join(one for one in (bad_settings, bad_port, *bad_servings) if one)
    if port is None:
        return Reading(None, problem)
    pods = pods_by_snapshot(slices)
    evaluated = (arm.snapshot for arm in state.rollout.arms) if state.rollout else ()
    known = {
        *state.split.weights,
        *state.split.reached(),
        *pods,
        *([state.stable] if state.stable else []),
        *evaluated,
        *([state.watch.before] if state.watch else []),
    }
    arms = tuple(
        Arm(
            snapshot,
            state.split.of(snapshot),
            pods[snapshot].serving() if snapshot in pods else (),
            servings.get(snapshot, UNWRITTEN),
        )
        for snapshot in sorted(known)
    )
    warmup, bad_warmup = _read_warmup(body["spec"], last)
    guard, inputs, agreement, record, review, bad_guard = _read_guard(body["spec"], last)
    if inputs:
        inputs, too_many = _with_signature(inputs, snapshots, state.stable)
        bad_guard = "; ".join(filter(None, (bad_guard, too_many)))
    problem = "; ".join(one for one in (problem, bad_warmup, bad_guard) if one)
    model = RoutedModel(
        namespace=metadata["namespace"],
        name=metadata["name"],
        port=port,
        settings=settings,
        stable=state.stable,
        arms=arms,
        rules=state.split.rules,
        sticky=state.split.sticky,
        mirror=state.split.mirror,
        killed=_killed(body).level is KillSwitch.ALL,
        fallback=_read_fallback(body, address),
        warmup=warmup,
        guard=guard,
        inputs=inputs,
        agreement=Agreement(agreement, str(metadata.get("uid", "")), _one_candidate(state)) if agreement else None,
        record=record,
        review=Review(review, str(metadata.get("uid", ""))) if review else None,
    )
    return Reading(model, problem)


def decided(body: JsonObject) -> State:
    """The status of a ModelDeployment, with the split that its kill switch leaves of the one that is written."""
    state = read_state(body.get("status") or {})
    if _killed(body) and state.rollout:
        # Whatever the status still says: this waits for no plan.
        return replace(state, split=all_to(state.rollout.stable))
    if _killed(body) and state.watch and state.stable and state.split.of(state.stable):
        return replace(state, split=all_to(state.stable))
    return state


def _killed(body: JsonObject) -> Killed:
    return read_kill_switch(body["metadata"].get("annotations") or {}, body["spec"])


def _read_fallback(
    body: JsonObject, address: Callable[[FallbackService], Endpoint | None]
) -> FixedAnswer | Endpoint | None:
    """What answers in the place of every version. What is wrong with it is told by the planner, not here."""
    try:
        found = read_fallback(body["spec"], body["metadata"]["name"])
    except InvalidSpec:
        return None
    return address(found) if isinstance(found, FallbackService) else found


def _read_settings(spec: JsonObject, last: RoutedModel | None) -> tuple[EnvoySettings, str]:
    """The settings; the last ones (none: the defaults) and what is wrong, when another version's CRD let in a word."""
    envoy = (spec.get("router") or {}).get(NAME) or {}
    try:
        return read_settings(with_defaults(envoy)), ""
    except InvalidSpec as error:
        return last.settings if last else EnvoySettings(), str(error)


def _read_servings(snapshots: Iterable[JsonObject], last: RoutedModel | None) -> tuple[dict[str, Serving], list[str]]:
    """How each snapshot's pods are spoken to: as it was read last when its ModelSnapshot is gone or cannot be read."""
    found, problems = {arm.snapshot: arm.serving for arm in last.arms} if last else {}, []
    for body in snapshots:
        name = body["metadata"]["name"]
        try:
            found[name] = read_serving(body["spec"]["content"]["runtime"])
        except InvalidSpec as error:
            problems.append(f"ModelSnapshot {name}: {error}")
    return found, problems


def _read_warmup(spec: JsonObject, last: RoutedModel | None) -> tuple[float, str]:
    """`spec.analysis.warmup` in seconds; the last one and what is wrong, when it cannot be read."""
    found = (spec.get("analysis") or {}).get("warmup")
    if found is None:
        return WARMUP, ""
    try:
        return Field(found, "spec.analysis.warmup").duration(), ""
    except InvalidSpec as error:
        return last.warmup if last else WARMUP, str(error)


def _read_guard(
    spec: JsonObject, last: RoutedModel | None
) -> tuple[OutputGuard | None, InputGuard | None, AgreementGuard | None, RecordGuard | None, ReviewGuard | None, str]:
    """`spec.guard`; the last one and what is wrong, when it cannot be read."""
    found = spec.get("guard")
    field = Field(found, "spec.guard") if found else None
    try:
        return read_output(field), read_input(field), read_agreement(field), read_record(field), read_review(field), ""
    except InvalidSpec as error:
        agreement = last.agreement.how if last and last.agreement else None
        return (
            *((last.guard, last.inputs) if last else (None, None)),
            agreement,
            last.record if last else None,
            last.review.how if last and last.review else None,
            str(error),
        )


def _one_candidate(state: State) -> str | None:
    arms = state.rollout.arms if state.rollout else ()
    return arms[0].snapshot if len(arms) == 1 else None


def _with_signature(
    guard: InputGuard, snapshots: Iterable[JsonObject], stable: str | None
) -> tuple[InputGuard | None, str]:
    """With the columns of stable's signature, as far as that is known; None when nothing is to be checked then.

    And what is wrong with it: it is left out then.
    """
    body = next((one for one in snapshots if one["metadata"]["name"] == stable), None)
    found, problem = with_signature(guard, _signature_of(body) if guard.signature else None), ""
    if len(write_input(found)) > LONGEST_WRITTEN:
        found, problem = guard, f"ModelSnapshot {stable}: {_TOO_LONG}"
    return found if found.columns or found.rows or found.schema else None, problem


def _signature_of(body: JsonObject | None) -> Signature | None:
    if body is None:
        return None
    return declared(body["spec"]["content"].get("features")) or recorded((body.get("status") or {}).get("signature"))


def _read_port(state: State, last: RoutedModel | None) -> tuple[int | None, str]:
    """The listener port; the last one and what is wrong, when that is no port."""
    try:
        return port_of(state), ""
    except ValueError as error:
        return last.port if last else None, str(error)


def port_of(state: State) -> int | None:
    """The listener port in `status.router.envoy`, None before there is one. Raises ValueError for what is no port."""
    return read_port(state.router)


def read_port(router: Mapping[str, JsonObject]) -> int | None:
    """The same, of the map `status.router`."""
    port = (router.get(NAME) or {}).get("port")
    if port is None:
        return None
    if type(port) is not int or port not in PORTS:
        raise ValueError(f"status.router.{NAME}.port: {port!r} is no listener port")
    return port
