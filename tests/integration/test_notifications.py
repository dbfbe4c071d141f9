"""Notifications of a real operator and a real API server, and what a real Alertmanager makes of them."""

import asyncio
import json
import signal
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from serin.api import names
from serin.api.notifications import Happening, Notification
from serin.controller.notification_formats import body_of
from serin.controller.webhooks import Format, NotTaken, Webhook, post
from tests.cluster.ports import free_port
from tests.integration.operator_process import Cluster, OperatorProcess, routing, until
from tests.integration.test_operator_life import ROUTER, router, serving


class Receiver:
    """A server: what came. `status`: its answer."""

    def __init__(self, status: int = 200) -> None:
        self.came: list[Any] = []
        self.status = status

    async def handle(self, request: web.Request) -> web.Response:
        self.came.append(await request.json())
        return web.Response(status=self.status)


@asynccontextmanager
async def listening(status: int = 200) -> AsyncIterator[tuple[Receiver, str]]:
    receiver = Receiver(status)
    app = web.Application()
    app.router.add_post("/", receiver.handle)
    async with TestServer(app) as server:
        yield receiver, str(server.make_url("/"))


@asynccontextmanager
async def operator_telling(
    control_plane: Any, cluster: Cluster, folder: Path, webhooks: str
) -> AsyncIterator[OperatorProcess]:
    operator = OperatorProcess(control_plane.kubeconfig, cluster, folder / "operator.log", webhooks=webhooks)
    try:
        await operator.wait_until_ready()
        await operator.wait_until_leading()
        yield operator
    finally:
        await operator.stop(signal.SIGKILL)


@pytest.mark.control_plane
async def test_a_rollback_is_told_although_a_receiver_is_down_and_the_operator_dies(
    control_plane: Any, cluster: Cluster, tmp_path: Path
) -> None:
    control_plane.kubectl("apply", "-f", "-", input=json.dumps(router(cluster)))
    async with listening(503) as (oncall, first), listening() as (chat, second):
        webhooks = json.dumps([{"name": "oncall", "url": first}, {"name": "chat", "url": second, "format": "Slack"}])
        asked = [{"webhook": {"name": "oncall"}, "events": ["RolledBack"]}, {"webhook": {"name": "chat"}}]

        def reasons() -> set[str]:
            return {one["reason"] for one in cluster.read("events")["items"]}

        def pending() -> list[Any]:
            found: list[Any] = (cluster.status().get("notifications") or {}).get("pending") or []
            return found

        async with operator_telling(control_plane, cluster, tmp_path, webhooks) as operator, routing(operator, ROUTER):
            cluster.deploy(replicas=1, notifications=asked)
            await serving(cluster)
            cluster.deploy(version="2", replicas=1, notifications=asked)
            await until(lambda: cluster.make_pods_ready() and "candidate" in cluster.status(), what="a candidate")
            cluster.kubectl("annotate", "md", "fraud", f"{names.ANNOTATION_ABORT}=1")
            await until(lambda: "lastRollback" in cluster.status(), what="the rollback, which waits for nobody")
            await until(lambda: len(chat.came) == 2 and oncall.came, what="the first attempts")
            told = "webhook oncall: it answers with status 503"
            await until(
                lambda: (cluster.status().get("notifications") or {}).get("problem") == told, what="the problem"
            )
            [left] = pending()
            assert left["receivers"] == ["oncall"]
            await until(lambda: "NotificationWaits" in reasons(), what="the Event")
        assert [one["text"].split("\n")[0] for one in chat.came] == [
            f"*{cluster.shop}/fraud: RolloutStarted*",
            f"*{cluster.shop}/fraud: RolledBack*",
        ]

        oncall.status = 202
        before = len(oncall.came)
        async with operator_telling(control_plane, cluster, tmp_path, webhooks):
            await until(lambda: not pending(), what="an empty outbox")
        assert len(oncall.came) == before + 1
        assert {one["id"] for one in oncall.came} == {left["id"]}
        assert len(chat.came) == 2, "what was taken is not told again"
        event = oncall.came[-1]
        assert event["type"] == "serin.dev.notification.RolledBack"
        assert event["data"]["reason"] == "AbortedByUser"
        assert event["data"]["rolledBackTo"] == cluster.status()["stable"]["snapshot"]


# ── Alertmanager ──────────────────────────────────────────────────────────────────────────────────────────────────────

_CONFIG = """
route: {receiver: people, group_by: ["..."], group_wait: 0s, group_interval: 1s, repeat_interval: 1h}
receivers:
- name: people
  webhook_configs: [{url: "URL", send_resolved: true}]
"""


@asynccontextmanager
async def alertmanager(program: Path, folder: Path, people: str) -> AsyncIterator[str]:
    """Alertmanager's own program. Yields its address."""
    port = free_port()
    (folder / "alertmanager.yml").write_text(_CONFIG.replace("URL", people))
    command = [
        str(program),
        f"--config.file={folder}/alertmanager.yml",
        f"--storage.path={folder}/data",
        f"--web.listen-address=127.0.0.1:{port}",
        "--cluster.listen-address=",
    ]
    with (folder / "log").open("wb") as log:
        process = await asyncio.to_thread(subprocess.Popen, command, stdout=log, stderr=log)
    try:
        url = f"http://127.0.0.1:{port}"
        await until(lambda: process.poll() is None and _ready(url), what="Alertmanager")
        yield url
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait, 60)


def _ready(url: str) -> bool:
    return subprocess.run(["curl", "-fso", "/dev/null", f"{url}/-/ready"], check=False).returncode == 0


async def _alerts(url: str) -> list[Any]:
    async with aiohttp.ClientSession() as session, session.get(f"{url}/api/v2/alerts") as answer:
        found: list[Any] = await answer.json()
        return found


async def test_alertmanager_tells_people_of_each_event_once(alertmanager_program: Path, tmp_path: Path) -> None:
    now = time.time()
    one = Notification(
        "1", Happening.ROLLED_BACK, now, "OverLimit", 'errors: 4% "quoted" ü', "fraud-b", target="fraud-a"
    )
    other = Notification("2", Happening.PROMOTED, now, "Promoted", "fraud-c is the new stable snapshot", "fraud-c")
    deployment = {"metadata": {"namespace": "shop", "name": "fraud"}}
    async with listening() as (people, address), alertmanager(alertmanager_program, tmp_path, address) as url:
        webhook = Webhook("oncall", f"{url}/api/v2/alerts", format=Format.ALERTMANAGER)
        for each in (one, other, one):
            await post(webhook, body_of(webhook.format, deployment, each))
        await until(lambda: len(people.came) >= 2, what="what Alertmanager sends on")
        await asyncio.sleep(2.5)  # longer than group_interval: a third would come
        told = [alert for each in people.came for alert in each["alerts"]]
        assert sorted(alert["labels"]["alertname"] for alert in told) == ["SerinPromoted", "SerinRolledBack"]
        [back] = [alert for alert in told if alert["labels"]["alertname"] == "SerinRolledBack"]
        assert (back["status"], back["labels"]["severity"]) == ("firing", "warning")
        assert back["annotations"]["summary"] == one.message
        assert {alert["labels"]["event_id"] for alert in await _alerts(url)} == {"1", "2"}
        with pytest.raises(NotTaken, match="status 400") as refused:
            await post(webhook, [{"labels": {}}])
        assert refused.value.refused
