"""The story: one version that is promoted, and three that are bad in different ways."""

from __future__ import annotations

import time
from dataclasses import dataclass

from serin.cli import output
from serin.cli.connection import Connection, connect
from serin.cli.exit_codes import Exit
from serin.cli.output import console
from serin.cli.watching import outcome
from serin.explain.facts import Facts
from tests.cluster.errors import ClusterError
from tests.e2e.conftest import RATE
from tests.e2e.demo.feedback import PORT as FEEDBACK_PORT
from tests.e2e.demo.feedback import Reporter
from tests.e2e.demo.stage import NAMESPACE, Stage
from tests.e2e.demo.summary import LEGEND, Costs, Trial, render
from tests.e2e.demo.view import follow
from tests.e2e.fraud import NAME
from tests.e2e.models.image import PORT
from tests.e2e.models.train import Cases, trained
from tests.e2e.traffic import Traffic

LONGEST = 240.0
SETTLE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Chapter:
    """A version. `words` say what is special about it; `metric` must roll it back, "" where it must be promoted."""

    version: str
    title: str
    words: str
    metric: str = ""


CHAPTERS = (
    Chapter("2", "as good as 1", "is as good as version 1: it gets 10 %, 50 % and then all of the requests"),
    Chapter("3", "fails on some inputs", "fails on some inputs: the stable version answers what it fails", "errors"),
    Chapter("4", "slow", "takes 0.3 s longer for every answer", "latency"),
    Chapter(
        "5",
        "quick, 200, wrong",
        "answers quickly, with 200, and wrongly: only a metric of your own can see it",
        "wrong-answers",
    ),
)


class BadEnding(ClusterError):
    """It did not end as it should; the text says what is different."""


def tell(stage: Stage) -> None:
    """Play the whole story and print its summary."""
    connection = connect(stage.shop.cluster.kubeconfig, None, NAMESPACE)
    _first(stage, connection)
    with Traffic(stage.url(NAME, PORT), Cases.load(trained()), rate=RATE) as traffic:
        traffic.settle()
        put(f"\nA client sends {RATE:.0f} requests a second from now on, and checks every answer.")
        with Reporter(stage.url("feedback", FEEDBACK_PORT), traffic) as reporter:
            trials = [_play(stage, connection, traffic, reporter, chapter) for chapter in CHAPTERS]
        total = traffic.stop()
    _sum_up(trials, traffic)
    stable = stage.shop.status(NAME)["stable"]["model"]
    if stable != "2":
        raise BadEnding(f"model {stable} is stable, and should be model 2")
    if total.failures:
        raise BadEnding(f"{total.failures} requests failed, and none should have (is this machine busy?):\n{total}")
    put(f"{total.requests:,} requests were sent, none failed; {total.wrong} were answered wrongly before Serin saw it.")


def _first(stage: Stage, connection: Connection) -> None:
    put(
        "\nWhat follows is what `serin status fraud --watch` shows."
        "\n\nVersion 1 is the first: it serves as soon as it is ready. Beside it runs the counter of wrong answers."
    )
    _apply(stage, "feedback.yaml")
    _apply(stage, "version-1.yaml")
    follow(connection, NAME, lambda facts: facts.serves_what_is_wanted, lambda: "", seconds=LONGEST)
    stage.shop.kubectl("rollout", "status", "deployment/feedback", "--timeout=60s")


def _play(stage: Stage, connection: Connection, traffic: Traffic, reporter: Reporter, chapter: Chapter) -> Trial:
    put(f"\nVersion {chapter.version} {chapter.words}.")
    begun = time.time()
    _apply(stage, f"version-{chapter.version}.yaml")
    facts = follow(
        connection,
        NAME,
        lambda facts: outcome(facts) is not None,
        lambda: _client(traffic, begun, reporter),
        seconds=LONGEST,
        whole=not chapter.metric,
    )
    trial = _trial(facts, chapter, begun)
    if trial.decided:
        put(f"         {trial.reason}: {trial.message}")
    time.sleep(SETTLE_SECONDS)
    return trial


def _trial(facts: Facts, chapter: Chapter, begun: float) -> Trial:
    """What became of it.

    Raises:
        BadEnding: when that is not what the version deserves.
    """
    last, took = facts.state.last_rollback, time.time() - begun
    promoted = outcome(facts) is Exit.DONE
    metric = "" if promoted or last is None else last.metric or last.reason
    if metric != chapter.metric:
        told = "was promoted" if promoted else f"was rolled back: {last.message if last else facts.message}"
        raise BadEnding(f"version {chapter.version} {told}")
    if promoted or last is None:
        name = facts.state.stable or ""
        return Trial(chapter.version, chapter.title, name, begun, took, None, "Promoted", "")
    return Trial(chapter.version, chapter.title, last.source, begun, took, last.at, last.reason, last.message)


def _client(traffic: Traffic, since: float, reporter: Reporter) -> str:
    seen = traffic.summary(since=since)
    told = f"client  {seen.requests} requests, {seen.failures} failed, {seen.wrong} wrong"
    return f"{told}\n{reporter.problem}" if reporter.problem else told


def _sum_up(trials: list[Trial], traffic: Traffic) -> None:
    ends = [*(trial.begun for trial in trials[1:]), time.time()]
    rows = [(one, Costs.of(one, traffic.answers, end)) for one, end in zip(trials, ends, strict=True)]
    put("\nWhat it cost\n")
    output.put(render(rows))
    put("")
    for trial in trials:
        if trial.decided:
            put(f"{trial.version}  {trial.reason}: {trial.message}")
    put(f"\n{LEGEND}\n")


def _apply(stage: Stage, name: str) -> None:
    put(f"  $ kubectl apply -f manifests/samples/demo/{name}")
    stage.apply(name)


def put(text: str) -> None:
    """A line for people, at once."""
    console().print(text, soft_wrap=True)
