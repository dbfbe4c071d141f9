"""Going back: a person asks for an earlier version, also long after what followed it was promoted.

Its pods are gone by then, so they come up first, in full, while the present stable version serves on. Then it gets all
traffic in one write; until the router has taken that, the present one stays stable and answers in its place. Only then
is it the new stable version, and the one that was left is rejected: the spec still describes it, and must not bring it
back by itself. A wish that cannot come true leaves everything as it is, and says so.

What the spec says meanwhile has to wait: whoever asks to leave a version wants nothing compared with it any more. A new
version is rolled out from the earlier one, in steps, when that serves.
"""

from dataclasses import replace

from serin.api.conditions import Reason
from serin.api.names import ANNOTATION_ABORT, ANNOTATION_ROLLBACK_TO
from serin.api.split import all_to
from serin.api.times import human
from serin.rollout.draft import Draft
from serin.rollout.gates import ROUTER_SECONDS, Finding, Look, has_taken, unrouted
from serin.rollout.model import Note, Workload
from serin.rollout.phases import Phase
from serin.rollout.requests import handle
from serin.rollout.rollback import roll_back
from serin.rollout.snapshots import CannotGoBack, choose
from serin.rollout.status import GoingBack, Rollback


def go_back(draft: Draft, wanted: str) -> bool:
    """Hear the request and carry it on. True when this look belongs to it, and to nothing else.

    `wanted`: the snapshot that the spec describes.
    """
    if ANNOTATION_ROLLBACK_TO not in draft.seen.deployment.annotations:
        draft.state = replace(draft.state, gave_up="")
    elif handle(draft, ANNOTATION_ROLLBACK_TO) and _hear(draft, wanted):
        return True
    if draft.state.going_back is None:
        return False
    _carry_on(draft, draft.state.going_back)
    return True


def _hear(draft: Draft, wanted: str) -> bool:
    """Act on a new request. False when it is refused, so that everything goes on as if nobody had asked."""
    asked = draft.seen.deployment.annotations[ANNOTATION_ROLLBACK_TO].partition("@")[0].strip()
    state = draft.state
    try:
        target = choose(asked, wanted, draft.seen.snapshots, state)
    except CannotGoBack as why:
        draft.happened(Reason.ROLLBACK_REFUSED, f"{ANNOTATION_ROLLBACK_TO}: {why}", warning=True)
        return False
    if state.candidate:
        look = Look(draft.seen, state, stable=str(state.stable), candidate=state.candidate)
        roll_back(draft, look, Finding(Reason.ROLLED_BACK_BY_USER, "rolled back by the user"))
    if target != state.stable:
        _begin(draft, target)
    elif state.going_back:
        _stay(draft, Reason.ABORTED_BY_USER, f"the user asks for {state.stable}")
    return True


def _begin(draft: Draft, target: str) -> None:
    """Ask for the pods. Whoever had traffic besides stable has none from now on."""
    stable = str(draft.state.stable)
    draft.state = replace(
        draft.state,
        phase=Phase.ROLLING_BACK,
        split=all_to(stable),
        going_back=GoingBack(target, since=draft.seen.now),
        gave_up="",
    )
    message = f"the user asks for {target}: its pods come up first; {_meanwhile(draft)}"
    draft.why = Note(Reason.ROLLING_BACK, message)
    draft.notes.append(draft.why)


def _carry_on(draft: Draft, going: GoingBack) -> None:
    """Wait for the pods, move the traffic, wait for the router, arrive; or give up."""
    seen = draft.seen
    workload, needed = seen.workloads.get(going.target), _needed(draft)
    ready, waited = workload.ready if workload else 0, seen.now - going.since
    deadline = seen.deployment.spec.progress_deadline
    if handle(draft, ANNOTATION_ABORT):
        _stay(draft, Reason.ABORTED_BY_USER, "aborted by the user")
    elif going.target not in seen.snapshots:
        _give_up(draft, f"{going.target} is remembered no longer: its ModelSnapshot was deleted")
    elif workload and workload.refused:
        _give_up(draft, f"the API server refuses the pod template of {going.target}: {workload.problem}")
    elif going.moved is not None and not ready:
        _return(draft, going, workload)
    elif going.moved is None and ready < needed and waited >= deadline:
        so_far = f"{ready} of {needed} pods of {going.target} are ready after {human(waited)}"
        _give_up(draft, f"{so_far} (progressDeadline {human(deadline)}){_problem(workload)}")
    elif going.moved is None and ready < needed:
        message = f"{ready} of {needed} pods of {going.target} are ready{_problem(workload)}; {_meanwhile(draft)}"
        draft.why = Note(Reason.ROLLING_BACK, message)
        draft.look_again(deadline - waited)
    elif lost := unrouted(seen.route):
        # What was decided would not be what is served, and the pods of what is served would go.
        draft.why = Note(lost.reason, lost.message, warning=True)
    elif going.moved is None:
        _move(draft, going, needed)
    elif has_taken(seen, going.target, going.moved):
        _arrive(draft, going)
    else:
        draft.why = Note(Reason.ROLLING_BACK, f"all traffic to {going.target}, as soon as the router has taken it")
        draft.look_again(ROUTER_SECONDS)


def _needed(draft: Draft) -> int:
    """Pods that the earlier version needs before it gets everything: as many as carry the traffic now.

    That is all replicas when stable is well, and one when stable is down: waiting would help nobody then.
    """
    stable = draft.seen.workloads.get(str(draft.state.stable))
    return min(max(1, stable.ready if stable else 0), max(1, draft.seen.deployment.spec.replicas))


def _move(draft: Draft, going: GoingBack, needed: int) -> None:
    draft.state = replace(
        draft.state,
        split=all_to(going.target),
        going_back=replace(going, moved=draft.seen.now),
        phase=Phase.ROLLING_BACK,
    )
    draft.proof = {going.target: needed}
    ready = f"{needed} of its pods are ready" if needed > 1 else "one of its pods is ready"
    draft.why = Note(Reason.ROLLING_BACK, f"all traffic from {draft.state.stable} to {going.target}: {ready}")
    draft.notes.append(draft.why)
    draft.look_again(ROUTER_SECONDS)


def _return(draft: Draft, going: GoingBack, workload: Workload | None) -> None:
    """The earlier version has everything and no ready pod: back to stable, which is still there, until it has one."""
    stable = str(draft.state.stable)
    draft.state = replace(draft.state, split=all_to(stable), going_back=replace(going, moved=None))
    message = f"no pod of {going.target} is ready any more{_problem(workload)}; all traffic to {stable} until one is"
    draft.why = Note(Reason.ROLLING_BACK, message, warning=True)
    draft.notes.append(draft.why)
    draft.look_again(0.0)


def _arrive(draft: Draft, going: GoingBack) -> None:
    """The earlier version is stable; the one that was left is rejected, and drains."""
    state, now, left = draft.state, draft.seen.now, str(draft.state.stable)
    draft.state = replace(
        state,
        phase=Phase.HEALTHY,
        stable=going.target,
        split=all_to(going.target),
        going_back=None,
        draining={**state.draining, left: now},
        last_rollback=Rollback(left, going.target, Reason.ROLLED_BACK_BY_USER.value, "rolled back by the user", now),
    )
    message = f"{left} is rolled back by the user: {going.target} is the stable snapshot again"
    draft.why = Note(Reason.ROLLED_BACK_BY_USER, message, warning=True)
    draft.notes.append(draft.why)


def _stay(draft: Draft, reason: Reason, why: str) -> None:
    """Not to go back after all: stable gets everything, which it mostly has still."""
    target, stable = draft.state.going_back.target if draft.state.going_back else "", str(draft.state.stable)
    draft.state = replace(draft.state, phase=Phase.HEALTHY, split=all_to(stable), going_back=None)
    draft.why = Note(reason, f"{stable} stays and {target} does not come back: {why}")
    draft.notes.append(draft.why)


def _give_up(draft: Draft, why: str) -> None:
    """The wish cannot come true. Remembered until something else begins, so that nobody has to find the Event."""
    _stay(draft, Reason.ROLLBACK_GAVE_UP, why)
    draft.notes[-1] = draft.why = replace(draft.why, warning=True)
    draft.state = replace(draft.state, gave_up=draft.why.message)


def _meanwhile(draft: Draft) -> str:
    stable = draft.seen.workloads.get(str(draft.state.stable))
    return f"{draft.state.stable} {'serves all traffic until then' if stable and stable.ready else 'is down'}"


def _problem(workload: Workload | None) -> str:
    return f": {workload.problem}" if workload and workload.problem else ""
