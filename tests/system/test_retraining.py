"""A retraining that was decided has one Job, whatever meets the requests that decide it, make it and follow it."""

import pytest

from serin.api.names import MODEL_DEPLOYMENT
from serin.api.retraining import Trigger
from serin.cluster import kinds
from tests.simulation.api.faults import Fault, Request
from tests.system.plays import Nth, ends, perform, smooth
from tests.system.stage import Stage, play
from tests.system.stories import jobs_made

AT_THE_JOB = (
    Fault.DIE_BEFORE,
    Fault.DIE_AFTER,
    Fault.LOST,
    Fault.LATE,
    Fault.CONFLICT,
    Fault.FORBIDDEN,
    Fault.TIMEOUT,
)


def writes() -> list[Request]:
    """What the operator writes in the story without a fault, in its order."""
    return [one for one in smooth("retrained").requests if one.write]


def of_the_job() -> int:
    """Which write makes the Job, counted from 1."""
    return 1 + next(at for at, one in enumerate(writes()) if one.kind == kinds.JOB)


def of_the_status(after: bool) -> int:
    """Which write of shop's status comes next to it: the one that has decided, or the one that has seen the Job."""
    job = of_the_job()
    status = ("shop", MODEL_DEPLOYMENT, "status")
    found = [at for at, one in enumerate(writes(), 1) if (one.namespace, one.kind.name, one.subresource) == status]
    return min(at for at in found if at > job) if after else max(at for at in found if at < job)


@pytest.mark.parametrize("fault", AT_THE_JOB)
def test_a_fault_at_the_job_makes_no_second_one(fault: Fault) -> None:
    found = perform("retrained", Nth(of_the_job(), fault))
    assert [*found.broken, *ends("retrained", found)] == []


@pytest.mark.parametrize("fault", [Fault.DIE_BEFORE, Fault.DIE_AFTER, Fault.LOST])
@pytest.mark.parametrize("after", [False, True], ids=["decides", "follows"])
def test_a_fault_at_the_status_beside_it_makes_no_second_one(after: bool, fault: Fault) -> None:
    found = perform("retrained", Nth(of_the_status(after), fault))
    assert [*found.broken, *ends("retrained", found)] == []


VOLUME = {
    "triggers": [{"volume": {"metric": "errors", "requests": 50_000}}],
    "cooldown": "24h",
    "job": {"spec": {"template": {"spec": {"containers": [{"name": "train", "image": "train:1"}]}}}},
}


async def _enough_requests(stage: Stage) -> None:
    stage.create("shop", retraining=VOLUME)
    await stage.serves("shop", "1")
    await stage.until(lambda: stage.state("shop").retraining and stage.state("shop").retraining.run, 1200.0)  # type: ignore[union-attr]


def test_requests_are_counted_as_they_were_sent() -> None:
    stage = play(lambda: Stage(rate=100.0), _enough_requests)
    kept = stage.state("shop").retraining
    assert kept is not None
    assert kept.run is not None
    cause, sent = kept.run.cause, stage.clients["shop", "fraud"].seen.requests
    assert cause.trigger is Trigger.VOLUME
    assert 50_000 <= cause.requests <= sent
    assert cause.requests > 0.9 * sent, "none is forgotten but those before the trigger was seen, and after the count"
    assert len(jobs_made(stage)) == 1
