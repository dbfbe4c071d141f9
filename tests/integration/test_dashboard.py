"""The web page in real Chromium, from a click to a real API server, as the user's own kubeconfig lets them.

Screenshots go to $SERIN_SCREENSHOTS where it is set, and else to the test's own folder.
"""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
import yaml

from serin.api import names
from serin.api.json import JsonObject
from tests.integration.browser import Page, browser
from tests.integration.cli_rig import Serin, put
from tests.integration.operator_process import Cluster
from tests.integration.proxy import proxied
from tests.integration.test_cli_actions import user
from tests.narratives import holdbacks, stories
from tests.narratives.film import Frame, film

pytestmark = pytest.mark.control_plane

EVIL = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"


def _with_plot() -> Frame:
    return next(one for one in film(stories.good_candidate) if any(len(row.trail) > 5 for row in one.facts.metrics))


def _arms() -> Frame:
    frames = film(stories.bandit_of_variants)
    return next(one for one in frames if one.facts.is_asked and any(row.requests for row in one.facts.metrics))


def _state(story: Any, state: str) -> Frame:
    return next(one for one in film(story) if one.state == state)


APPROVAL = _state(stories.pause_and_approve, "Paused-WaitingForApproval")
BAKING = _state(stories.good_candidate, "Progressing-Baking")
STATES = {
    "baking": _with_plot(),
    "waits-for-approval": APPROVAL,
    "rejected": film(holdbacks.holdback_falls_back_to_the_best)[-1],
    "several-arms": _arms(),
    "serving": _state(stories.good_candidate, "Healthy-Serving"),
}


@pytest.fixture(scope="module")
def cluster(control_plane: Any) -> Any:
    made = Cluster(control_plane)
    yield made
    made.remove()


@pytest.fixture
async def page(tmp_path: Path) -> AsyncIterator[Page]:
    async with browser(tmp_path / "profile") as opened:
        await opened.look_like()
        yield opened


@pytest.fixture
def picture(tmp_path: Path) -> Callable[[str], Path]:
    folder = Path(os.environ.get("SERIN_SCREENSHOTS") or tmp_path / "screenshots")
    return lambda name: folder / f"{name}.png"


@asynccontextmanager
async def dashboard(kubeconfig: Path, *words: str) -> AsyncIterator[tuple[str, asyncio.subprocess.Process]]:
    """`serin dashboard` as a user starts it: its address, and its process."""
    command = [sys.executable, "-m", "serin", "dashboard", "--no-browser", "--kubeconfig", str(kubeconfig), *words]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    try:
        assert process.stdout
        async with asyncio.timeout(60):
            url = (await process.stdout.readline()).decode().strip()
        assert url.startswith("http://127.0.0.1:")
        yield url, process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_each_view_in_each_state(
    serin: Serin, page: Page, picture: Callable[[str], Path], control_plane: Any
) -> None:
    async with dashboard(control_plane.kubeconfig, "-n", serin.cluster.shop) as (url, _):
        for number, (name, state) in enumerate(STATES.items()):
            await asyncio.to_thread(put, serin.cluster, state)
            await page.look_like(dark=number % 2 == 1)
            await page.go(url)
            await page.click(f"a[href$='/in/{serin.cluster.shop}/fraud']")
            await page.shows("Conditions")
            told = await asyncio.to_thread(serin, "explain", "fraud")
            for sentence in told.out.split("\n"):
                if sentence.startswith("  Metric ") or sentence.startswith("  If "):
                    words = sentence.strip().split(" within ")[0]
                    assert words in await page.text(), "the very sentences of explain"
            await page.photograph(picture(name))
            await page.look_like(width=390, height=800, phone=True)
            assert await page.run("document.documentElement.scrollWidth <= 390"), "nothing is beside a phone's screen"
            await page.photograph(picture(f"{name}-phone"))
            await page.look_like()
            if name == "baking":
                assert await page.run("document.querySelectorAll('svg.plot .fails').length") > 0
                assert await page.run("document.querySelectorAll('svg.traffic rect').length") == 2
            if name == "several-arms":
                assert await page.run("document.querySelectorAll('#arms tbody tr').length") > 1
            if name == "rejected":
                await page.click("#history a[href*='/report/']")
                await page.shows("What was different")
                await page.photograph(picture("report"))
                await page.run("history.back()")
                await page.click("#history a[href*='/diff/']")
                await page.shows("differ in")
        assert page.complaints == []  # an open page complains when the server ends
    host = url.split("/")[2]
    assert {one.split("/")[2] for one in page.addresses if one.startswith("http")} == {host}, "nothing of another host"


async def test_a_click_asks_first_and_then_reaches_the_cluster(
    serin: Serin, page: Page, picture: Callable[[str], Path], control_plane: Any
) -> None:
    cluster = serin.cluster
    before = await asyncio.to_thread(put, cluster, APPROVAL)
    async with dashboard(control_plane.kubeconfig, "-n", cluster.shop) as (url, _):
        here = f"{url}in/{cluster.shop}/fraud"
        await page.go(here)
        await page.click("[id='do.approve']")
        await page.shows("Yes, approve fraud")
        await page.photograph(picture("question"))
        assert cluster.read("md", "fraud") == before, "nothing is done before the answer"
        await page.press("Enter", "\r")  # the answer has the focus: no mouse is needed
        value = await annotation(cluster, names.ANNOTATION_APPROVE, before)
        assert names.APPROVAL_FOR in value
        assert names.APPROVED_BY in value
        await page.shows("the operator has not answered")  # none runs here, and the page says so
        await page.go(here)
        await page.click("[id='do.kill-switch']")
        await page.click("input[value=Candidate]")
        await page.click("#yes")
        assert await annotation(cluster, names.ANNOTATION_KILL_SWITCH, before) == "Candidate"
        # Live: what somebody else changes is shown without a reload.
        await page.go(here)
        await page.shows("Conditions")
        await page.run("window.same = true")
        await asyncio.to_thread(cluster.kubectl, "annotate", "md", "fraud", "serin.dev/pause=true", "--overwrite")
        await page.until("!!document.querySelector(\"[id='do.resume']\")", "the new button")
        assert await page.run("window.same"), "the page was not loaded again"
        # A question that is about an earlier state is not answered by yes.
        await page.go(f"{here}/ask/approve")
        await asyncio.to_thread(put, cluster, BAKING)
        await page.click("#yes")
        await page.shows("nothing was asked")
        assert names.ANNOTATION_APPROVE not in cluster.read("md", "fraud")["metadata"].get("annotations", {})


async def annotation(cluster: Cluster, key: str, before: JsonObject) -> str:
    """Wait until a deployment has an annotation, another one than before; answers its value."""
    old = before["metadata"].get("annotations", {}).get(key)
    async with asyncio.timeout(60):
        while True:
            body = await asyncio.to_thread(cluster.read, "md", "fraud")
            value = body["metadata"].get("annotations", {}).get(key)
            if value and value != old:
                return str(value)
            await asyncio.sleep(0.2)


async def test_users_without_rights_are_told_so(
    serin: Serin, page: Page, picture: Callable[[str], Path], control_plane: Any, tmp_path: Path
) -> None:
    cluster = serin.cluster
    before = await asyncio.to_thread(put, cluster, BAKING)
    reader = await asyncio.to_thread(user, cluster, control_plane.kubeconfig, tmp_path, "watcher", ["get", "list"])
    async with dashboard(reader, "-n", cluster.shop) as (url, _):
        await page.go(f"{url}in/{cluster.shop}/fraud")
        await page.click("[id='do.pause']")
        await page.click("#yes")
        await page.shows('cannot patch resource "modeldeployments"')
        await page.photograph(picture("without-rights"))
        assert cluster.read("md", "fraud") == before
        await page.go(f"{url}all")
        await page.shows('cannot list resource "modeldeployments"')
        await page.go(f"{url}in/{cluster.shop}/nothing")
        await page.shows("there is no ModelDeployment nothing")


async def test_nobody_else_acts_through_it(serin: Serin, control_plane: Any) -> None:
    cluster = serin.cluster
    before = await asyncio.to_thread(put, cluster, BAKING)
    async with dashboard(control_plane.kubeconfig, "-n", cluster.shop) as (url, _), aiohttp.ClientSession() as session:
        host, do = url.split("/")[2], f"{url}in/{cluster.shop}/fraud/do/pause"
        own = f"http://{host}"
        for headers in (
            {},
            {"Origin": "null"},
            {"Origin": "http://evil.test"},
            {"Origin": f"http://127.0.0.1:{int(host.split(':')[1]) + 1}"},
            {"Origin": own, "Host": "evil.test"},
            {"Origin": own, "Host": f"evil.test:{host.split(':')[1]}"},
        ):
            async with session.post(do, headers=headers) as answer:
                assert answer.status in (403, 421), headers
        for path in ("", "x" * 32 + "/", f"..{url.split('/')[3]}/", "static/page.js"):
            async with session.get(f"{own}/{path}") as answer:
                assert answer.status == 403, path
        async with session.get(url, headers={"Host": "evil.test"}) as answer:
            assert answer.status == 421, "another name was pointed here"
        async with session.get(f"{url}in/{cluster.shop}/..%2F..%2Fsecrets") as answer:
            assert answer.status == 404
        async with session.get(url) as answer:
            policy = answer.headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert answer.headers["Referrer-Policy"] == "same-origin"
    assert cluster.read("md", "fraud") == before


async def test_what_a_user_has_written_is_text(serin: Serin, page: Page, control_plane: Any) -> None:
    cluster = serin.cluster
    body = await asyncio.to_thread(put, cluster, _with_plot())
    status = body["status"]
    status["message"] = EVIL
    status["metrics"][0] |= {"message": EVIL, "estimate": "<i>1x", "trail": ["<img src=x> 1", "1 2 1 1 1", "9 3 1 1 1"]}
    status["conditions"][0]["message"] = EVIL
    patch = json.dumps({"status": status})
    words = ("patch", "md", "fraud", "--subresource=status", "--type=merge", "-p", patch)
    await asyncio.to_thread(cluster.kubectl, *words)
    async with dashboard(control_plane.kubeconfig, "-n", cluster.shop) as (url, _):
        for where in (
            f"{url}in/{cluster.shop}",
            f"{url}in/{cluster.shop}/fraud",
            f"{url}in/{cluster.shop}/{quote(EVIL, safe='')}",
        ):
            await page.go(where)
            await page.until("document.readyState == 'complete'", "the page")
            assert await page.run("document.querySelectorAll('img, main script').length") == 0
            assert await page.run("document.title != 'owned'")
        await page.go(f"{url}in/{cluster.shop}/fraud")
        await page.shows("<script>document.title='owned'</script>")


async def test_five_hundred_deployments_and_a_filter(
    cluster: Cluster, page: Page, picture: Callable[[str], Path], control_plane: Any
) -> None:
    container = {"name": "model", "image": "registry.test/model:1", "ports": [{"containerPort": 8080}]}
    spec = {"template": {"spec": {"containers": [container]}}}
    head = {"apiVersion": names.API_VERSION, "kind": names.MODEL_DEPLOYMENT, "spec": spec}
    items = [{**head, "metadata": {"name": f"model-{number:03}"}} for number in range(500)]
    body = {"apiVersion": "v1", "kind": "List", "items": items}
    await asyncio.to_thread(cluster.kubectl, "delete", "md,msnap", "--all", "--wait=true")
    await asyncio.to_thread(cluster.kubectl, "create", "-f", "-", body=body)
    try:
        async with dashboard(control_plane.kubeconfig, "-n", cluster.shop) as (url, _):
            await page.go(url)
            await page.shows("500 deployments")
            assert await page.run("document.querySelectorAll('tbody tr').length") == 500
            await page.run("document.getElementById('filter').focus()")
            await page.type("model-123")
            await page.until(
                "[...document.querySelectorAll('tbody tr')].filter(one => !one.hidden).length == 1", "one row"
            )
            await page.photograph(picture("list"))
            await asyncio.to_thread(cluster.kubectl, "delete", "md", "model-000", "--wait=true")
            await page.shows("499 deployments")
            assert await page.run("[...document.querySelectorAll('tbody tr')].filter(one => !one.hidden).length") == 1
            assert await page.run("document.activeElement.id == 'filter'"), "the focus stays where it was"
    finally:
        await asyncio.to_thread(cluster.kubectl, "delete", "md", "--all", "--wait=false")


async def test_a_lost_connection_is_said_and_comes_back(
    serin: Serin, page: Page, picture: Callable[[str], Path], control_plane: Any, tmp_path: Path
) -> None:
    await asyncio.to_thread(put, serin.cluster, BAKING)
    async with proxied(control_plane.kubeconfig) as proxy:
        known = yaml.safe_load(control_plane.kubeconfig.read_text())
        known["clusters"] = [{"name": one["name"], "cluster": {"server": proxy.url}} for one in known["clusters"]]
        known["users"] = [{"name": one["name"], "user": {}} for one in known["users"]]
        config = tmp_path / "through-the-proxy"
        config.write_text(yaml.safe_dump(known))
        async with dashboard(config, "-n", serin.cluster.shop) as (url, process):
            await page.go(f"{url}in/{serin.cluster.shop}/fraud")
            await page.shows("Conditions")
            proxy.cut()
            await page.shows("trying again")
            await page.shows("fraud tries model 2")  # what was known stays
            await page.photograph(picture("lost"))
            proxy.mend()
            await page.until("!document.body.innerText.includes('trying again')", "the cluster again")
            process.kill()
            await page.shows("The connection to serin dashboard is lost")
