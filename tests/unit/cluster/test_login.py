"""Where requests to the API server go: by the kubeconfig, and by the environment where a proxy is between."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from serin.cluster import kinds
from serin.cluster.client import KubernetesCluster
from serin.cluster.login import log_in, watch_session

API = "http://api.test:6443"
PROXIES = ("HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "https_proxy", "http_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)


def kubeconfig(folder: Path, server: str, **more: str) -> Path:
    path = folder / "kubeconfig"
    body = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "it",
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
        "clusters": [{"name": "it", "cluster": {"server": server, **more}}],
        "users": [{"name": "it", "user": {"token": "secret"}}],
    }
    path.write_text(json.dumps(body))
    return path


@pytest.fixture
async def server() -> AsyncIterator[tuple[str, list[str]]]:
    """An address, and the targets of the requests that come to it."""
    seen: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append(request.raw_path if request.raw_path.startswith("http") else str(request.url))
        return web.json_response({"kind": "Service", "metadata": {"name": "fraud"}})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}", seen
    await runner.cleanup()


@pytest.mark.parametrize(
    ("environment", "server", "proxy"),
    [
        ({"HTTPS_PROXY": "http://proxy.test:3128"}, "https://api.test:6443", "http://proxy.test:3128"),
        ({"https_proxy": "http://proxy.test:3128"}, "https://api.test:6443", "http://proxy.test:3128"),
        ({"HTTP_PROXY": "http://proxy.test:3128"}, "https://api.test:6443", None),
        ({"HTTPS_PROXY": "http://proxy.test:3128", "NO_PROXY": "localhost,.test"}, "https://api.test:6443", None),
        ({"HTTPS_PROXY": "http://proxy.test:3128", "NO_PROXY": "api.test:6443"}, "https://api.test:6443", None),
        ({}, "https://api.test:6443", None),
    ],
)
async def test_the_environment_names_a_proxy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], server: str, proxy: str | None
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert (await log_in(kubeconfig(tmp_path, server))).proxy == proxy


async def test_requests_and_watches_go_through_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: tuple[str, list[str]]
) -> None:
    proxy, seen = server
    monkeypatch.setenv("HTTP_PROXY", proxy)
    configuration = await log_in(kubeconfig(tmp_path, API))
    cluster = KubernetesCluster(configuration)
    await cluster.get(kinds.SERVICE, "shop", "fraud")
    await cluster.close()
    async with watch_session(configuration) as session, session.get(f"{API}/watched") as response:
        assert response.status == 200
    assert seen == [f"{API}/api/v1/namespaces/shop/services/fraud", f"{API}/watched"]


async def test_no_request_asks_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: tuple[str, list[str]]
) -> None:
    def asked(*_: object) -> None:
        raise AssertionError("a request has asked the environment")

    address, seen = server
    configuration = await log_in(kubeconfig(tmp_path, address))
    monkeypatch.setattr(aiohttp.client, "get_env_proxy_for_url", asked)
    monkeypatch.setattr(aiohttp.client, "netrc_from_env", asked)
    cluster = KubernetesCluster(configuration)
    await cluster.get(kinds.SERVICE, "shop", "fraud")
    await cluster.close()
    async with watch_session(configuration) as session, session.get(f"{address}/watched") as response:
        assert response.status == 200
    assert len(seen) == 2
