"""A change of the spec is answered by the first write of the look that it leads to, and that look waits for nothing.

Until then Argo CD shows `Progressing`, and `serin status` says that the newest spec was not looked at yet.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from serin.cluster import kinds
from tests.simulation import clock
from tests.system.stage import Stage, play

# What the simulated cluster takes (seconds): for an event to arrive, and for a request to be carried out and answered.
EVENT, REQUEST = 0.01, 0.004
ONE_WRITE = 1.01 * (EVENT + REQUEST / 2)
# A write that is refused, a live read, and the write again. The shortest pause after a failed look is 0.1 s.
WRITTEN_AGAIN = 1.01 * (EVENT + 2 * REQUEST + REQUEST / 2)
Change = Callable[[Stage, int], None]


def deadline(stage: Stage, times: int) -> None:
    """Decides nothing."""
    stage.change("shop", progressDeadline=f"{10 + times}m")


def another_version(stage: Stage, times: int) -> None:
    stage.upgrade("shop", str(10 + times))


def nonsense(stage: Stage, times: int) -> None:
    """Two keys become one variable, which no schema sees."""
    stage.change("shop", config={"a-b": str(times), "a.b": "2"})


class Answers:
    """What the operator wrote after the newest change of the spec, until it had answered that."""

    def __init__(self) -> None:
        self.asked = self.answered = 0  # generations
        self.since = self.took = 0.0
        self.before: list[str] = []  # what was written before the answer

    def see(self, commit: Any) -> None:
        body = commit.after or {}
        generation = body.get("metadata", {}).get("generation", 0)
        ours = commit.kind == kinds.MODEL_DEPLOYMENT
        if ours and generation > self.asked:
            self.asked, self.since, self.before = generation, clock.now(), []
        elif ours and (body.get("status") or {}).get("observedGeneration") == self.asked > self.answered:
            self.answered, self.took = self.asked, clock.now() - self.since
        elif commit.who.startswith("serin") and self.answered < self.asked and commit.kind != kinds.LEASE:
            self.before.append(f"{commit.kind.name} {commit.key}")


async def begin(stage: Stage, *, rollout: bool) -> Answers:
    """A deployment that serves, or is in mid-rollout."""
    stage.create("shop")
    await stage.serves("shop", "1")
    if rollout:
        stage.upgrade("shop", "2")
        await stage.until(lambda: stage.serving("shop") == {"1": 80, "2": 20})
    await asyncio.sleep(2.0)
    answers = Answers()
    stage.server.store.listen(answers.see)
    return answers


@pytest.mark.parametrize("change", [deadline, another_version, nonsense])
@pytest.mark.parametrize("rollout", [False, True])
def test_the_first_write_after_a_change_of_the_spec_answers_it(change: Change, rollout: bool) -> None:
    async def story(stage: Stage) -> None:
        answers = await begin(stage, rollout=rollout)
        for times in range(5):
            change(stage, times)
            await asyncio.sleep(0.3)
            assert answers.answered == answers.asked
            assert not answers.before
            assert answers.took <= ONE_WRITE
            await asyncio.sleep(1.7)

    play(Stage, story)


def test_a_conflict_is_looked_at_again_at_once() -> None:
    """The write was planned on what is not the newest any more: it is read, and there is nothing to wait for."""

    async def story(stage: Stage) -> None:
        answers = await begin(stage, rollout=True)
        for times in range(5):
            deadline(stage, times)
            await asyncio.sleep(EVENT + REQUEST / 4)  # the write is on its way
            stage.annotate("shop", "somebody.example/note", str(times))
            await asyncio.sleep(0.3)
            assert answers.answered == answers.asked
            assert ONE_WRITE < answers.took <= WRITTEN_AGAIN
            await asyncio.sleep(1.7)

    play(Stage, story)
