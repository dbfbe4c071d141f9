"""A report of each rollback is kept, and nothing waits for it."""

import asyncio
import re
from pathlib import Path

from serin.cluster import kinds
from serin.cluster.protocol import Kind
from tests.simulation.api.faults import Fault, Request
from tests.system.stage import BAD, Stage, play
from tests.unit.golden import compare

GOLDEN = Path(__file__).parent / "golden" / "report.md"


class NoReports:
    """What happens to every request about a ConfigMap, or (`verb`) to those of another kind with this verb."""

    def __init__(self, *faults: Fault, kind: Kind = kinds.CONFIG_MAP, verb: str = "") -> None:
        self.faults, self.asked = list(faults), 0
        self.kind, self.verb = kind, verb

    def __call__(self, request: Request) -> Fault | None:
        if request.kind != self.kind or self.verb not in ("", request.verb):
            return None
        self.asked += 1
        return self.faults[min(self.asked, len(self.faults)) - 1]


def reports(stage: Stage) -> list[dict[str, object]]:
    return list(stage.server.store.all(kinds.CONFIG_MAP, "shop"))


async def rolled_back(stage: Stage) -> None:
    stage.qualities["shop", "2"] = BAD
    stage.create("shop")
    await stage.serves("shop", "1")
    stage.upgrade("shop", "2")
    await stage.until(lambda: stage.state("shop").last_rollback)
    await stage.serves("shop", "1")


async def told(stage: Stage) -> None:
    await rolled_back(stage)
    await stage.until(lambda: reports(stage), 120)


def test_a_report_is_kept_with_the_version_and_written_once() -> None:
    async def story(stage: Stage) -> None:
        await told(stage)
        stage.leader().kill()
        await asyncio.sleep(120)  # whoever decides then finds it written
        assert len(reports(stage)) == 1
        stage.annotate("shop", "serin.dev/retry")
        await stage.until(lambda: len(reports(stage)) > 1, 900)

    stage = play(Stage, story)
    last = stage.state("shop").last_rollback
    assert last is not None
    first, second = reports(stage)
    for one in (first, second):
        assert one["metadata"]["labels"] == {"serin.dev/model-deployment": "fraud", "serin.dev/report": "rollback"}
        [owner] = one["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["name"]) == ("ModelSnapshot", last.source)
    assert first["metadata"]["name"] != second["metadata"]["name"]
    compare(GOLDEN, first["data"]["report.md"])
    assert "<h2>Timeline</h2>" in first["data"]["report.html"]


def counted(stage: Stage, name: str, **labels: str) -> int:
    """What all Envoys have counted, as they know it themselves."""
    return round(
        sum(
            value
            for proxy in stage.proxies
            for (series, found), value in proxy.counters.values.items()
            if series == name and labels.items() <= dict(found).items()
        )
    )


def test_what_a_version_was_for_clients_is_what_the_router_has_counted() -> None:
    async def story(stage: Stage) -> None:
        await rolled_back(stage)
        stage.prometheus.unreachable = "connection refused"
        await asyncio.sleep(40)
        assert stage.state("shop").last_rollback.clients is None
        stage.prometheus.unreachable = ""
        await stage.until(lambda: stage.state("shop").last_rollback.clients, 60)

    stage = play(Stage, story)
    last = stage.state("shop").last_rollback
    assert last is not None
    assert last.clients is not None
    shield = {"serin_attempt": "shield"}
    shielded = counted(stage, "envoy_serin_attempts", **shield) - counted(stage, "envoy_serin_failures", **shield)
    assert shielded > 20
    assert (last.clients.exposed, last.clients.failed, last.clients.shielded) == (
        counted(stage, "envoy_serin_answers", serin_snapshot=last.source),
        counted(stage, "envoy_serin_answer_failures", serin_snapshot=last.source),
        shielded,
    )
    assert last.since == last.clients.since < last.at < last.clients.until


def test_without_an_answer_of_prometheus_a_report_says_that_it_does_not_know() -> None:
    async def story(stage: Stage) -> None:
        await rolled_back(stage)
        stage.prometheus.unreachable = "connection refused"
        await stage.until(lambda: reports(stage), 300)

    stage = play(Stage, story)
    text = str(reports(stage)[0]["data"]["report.md"])
    assert "How many requests of clients were exposed to the version, failed or were shielded is not known." in text


def test_what_the_api_server_does_with_a_report_changes_no_rollback() -> None:
    async def both(stage: Stage) -> None:
        await rolled_back(stage)
        await stage.until(lambda: stage.plan.asked, 120)
        stage.upgrade("shop", "3")
        await stage.serves("shop", "3")

    for fault in (Fault.FORBIDDEN, Fault.UNAVAILABLE, Fault.LOST, Fault.INVALID):
        stage = play(lambda fault=fault: Stage(plan=NoReports(fault)), both)
        last = stage.state("shop").last_rollback
        assert last is not None
        assert last.restored is not None
        assert last.restored - last.at < 10
        assert last.first_bad is not None
        assert last.first_bad <= last.at


def test_a_report_that_had_no_answer_is_there_once() -> None:
    plan = NoReports(Fault.UNAVAILABLE, Fault.LOST, Fault.CONFLICT)
    stage = play(lambda: Stage(plan=plan), told)
    assert len(reports(stage)) == 1
    assert re.fullmatch(r"fraud-[a-z0-9]+-report-[0-9a-f]+", str(reports(stage)[0]["metadata"]["name"]))


def test_a_report_does_without_events_that_cannot_be_read() -> None:
    plan = NoReports(Fault.FORBIDDEN, kind=kinds.EVENT, verb="list")
    stage = play(lambda: Stage(plan=plan), told)
    assert plan.asked == 1
    assert "Events of its pods could not be read: " in reports(stage)[0]["data"]["report.md"]  # type: ignore[index]
