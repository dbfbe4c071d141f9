"""A real HTTP server gets the events: what it is sent, and what becomes of each way in which it does not take them."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from serin.api.notifications import Happening
from serin.controller.webhooks import Format, NotTaken, Webhook, WebhookError, post, read_webhooks, told_of_all
from tests.cluster.pki import Authority

EVENT = {"specversion": "1.0", "id": "1", "data": {"message": "Grüße"}}


class Receiver:
    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.answer: web.StreamResponse = web.Response(status=202)
        self.hangs = False

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append((request.path, dict(request.headers), await request.read()))
        if self.hangs:
            await asyncio.sleep(60.0)
        return self.answer


@pytest.fixture
async def receiver() -> AsyncIterator[tuple[Receiver, str]]:
    found = Receiver()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", found.handle)
    async with TestServer(app) as server:
        yield found, str(server.make_url("/events"))


async def test_an_event_is_sent_as_structured_json(receiver: tuple[Receiver, str], tmp_path: Path) -> None:
    found, url = receiver
    (tmp_path / "token").write_text("secret-word\n")
    await post(Webhook("pipelines", url, credentials=tmp_path), EVENT)
    [(path, headers, body)] = found.requests
    assert path == "/events"
    assert json.loads(body) == EVENT
    assert headers["Content-Type"].startswith("application/cloudevents+json")
    assert headers["Authorization"] == "Bearer secret-word"


@pytest.mark.parametrize("status", [301, 302, 400, 404, 410, 429, 500, 503])
async def test_only_a_success_counts_and_nothing_is_followed(receiver: tuple[Receiver, str], status: int) -> None:
    found, url = receiver
    found.answer = web.Response(status=status, headers={"Location": "/elsewhere"}, text="secret-answer")
    with pytest.raises(NotTaken) as refused:
        await post(Webhook("pipelines", url), EVENT)
    assert str(refused.value).startswith(f"it answers with status {status}")
    assert [path for path, _, _ in found.requests] == ["/events"]


async def test_an_answer_is_not_waited_for_without_end(
    receiver: tuple[Receiver, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found, url = receiver
    found.hangs = True
    monkeypatch.setattr("serin.controller.webhooks.TIMEOUT_SECONDS", 0.2)
    with pytest.raises(NotTaken, match=r"no answer within 0.2 s"):
        await post(Webhook("pipelines", url), EVENT)


async def test_an_answer_without_end_is_not_read(receiver: tuple[Receiver, str]) -> None:
    found, url = receiver
    sent = 0

    class Endless(web.StreamResponse):
        async def write_eof(self, data: bytes = b"") -> None:  # noqa: ARG002 - as aiohttp calls it
            nonlocal sent
            for _ in range(10_000):
                await self.write(b"x" * 65536)
                sent += 65536

    found.answer = Endless(status=200)
    async with asyncio.timeout(5.0):
        await post(Webhook("pipelines", url), EVENT)
    assert sent < 100 * 65536


async def test_a_proxy_of_the_process_is_not_used(
    receiver: tuple[Receiver, str], unused_tcp_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{unused_tcp_port}")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    found, url = receiver
    await post(Webhook("pipelines", url), EVENT)
    assert len(found.requests) == 1


async def test_a_certificate_counts_that_its_authority_has_issued_and_no_other(tmp_path: Path) -> None:
    right, wrong = Authority(tmp_path / "right"), Authority(tmp_path / "wrong")
    pair = right.issue("server", "server", hosts=["127.0.0.1"])
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pair.certificate, pair.key)
    found = Receiver()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", found.handle)
    server = TestServer(app, scheme="https")
    await server.start_server(ssl=context)
    try:
        url = str(server.make_url("/events"))
        for credentials in (None, wrong.pair.certificate.parent):
            with pytest.raises(NotTaken, match="cannot be reached"):
                await post(Webhook("pipelines", url, credentials=credentials), EVENT)
        assert found.requests == []
        await post(Webhook("pipelines", url, credentials=right.pair.certificate.parent), EVENT)
        assert len(found.requests) == 1
    finally:
        await server.close()


async def test_nobody_there_is_told_without_an_address(unused_tcp_port: int) -> None:
    with pytest.raises(NotTaken) as refused:
        await post(Webhook("pipelines", f"http://127.0.0.1:{unused_tcp_port}/x"), EVENT)
    assert "127.0.0.1" not in str(refused.value)
    assert "cannot be reached" in str(refused.value)


@pytest.mark.parametrize(
    "text",
    [
        "{",
        '{"name": "a"}',
        "[1]",
        '[{"name": "a"}]',
        '[{"name": "a", "url": "ftp://x"}]',
        '[{"name": "a", "url": "https://user:word@x"}]',
        '[{"name": "a", "url": "x"}]',
        '[{"name": "a", "url": "http://x"}, {"name": "a", "url": "http://y"}]',
    ],
)
def test_settings_that_cannot_be_are_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(WebhookError, match="SERIN_WEBHOOKS"):
        read_webhooks(text, tmp_path)


def test_credentials_are_those_of_its_name(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    found = read_webhooks('[{"name": "a", "url": "https://a.test"}, {"name": "b", "url": "http://b.test"}]', tmp_path)
    assert [one.credentials for one in found.values()] == [tmp_path / "a", None]


def test_a_webhook_is_open_to_its_namespaces_and_without_any_to_all(tmp_path: Path) -> None:
    text = '[{"name": "a", "url": "https://a.test", "namespaces": ["shop"]}, {"name": "b", "url": "http://b.test"}]'
    found = read_webhooks(text, tmp_path)
    assert [(one.name, one.is_open_to("shop"), one.is_open_to("bank")) for one in found.values()] == [
        ("a", True, False),
        ("b", True, True),
    ]


async def test_the_format_says_what_kind_of_document_it_is(receiver: tuple[Receiver, str]) -> None:
    found, url = receiver
    for form in Format:
        found.answer = web.Response(status=202)
        await post(Webhook("oncall", url, format=form), [EVENT] if form is Format.ALERTMANAGER else EVENT)
    kinds = [headers["Content-Type"].partition(";")[0] for _, headers, _ in found.requests]
    assert kinds == ["application/cloudevents+json", "application/json", "application/json"]


async def test_an_address_that_is_a_secret_is_read_anew_for_each_event(
    receiver: tuple[Receiver, str], tmp_path: Path
) -> None:
    found, url = receiver
    webhook = Webhook("chat", "", credentials=tmp_path)
    with pytest.raises(NotTaken, match="its Secret has no key url"):
        await post(webhook, EVENT)
    for wrong in ("", "file:///etc/passwd", "http://user:secret-word@127.0.0.1", "http://[::1", "x" * 100_000):
        (tmp_path / "url").write_text(wrong)
        with pytest.raises(NotTaken, match="the url in its Secret is none") as refused:
            await post(webhook, EVENT)
        assert "secret-word" not in str(refused.value)
    (tmp_path / "url").write_text(f"{url}\n")
    await post(webhook, EVENT)
    assert len(found.requests) == 1


@pytest.mark.parametrize(("status", "refused"), [(400, True), (413, True), (422, True), (404, False), (503, False)])
async def test_whether_it_is_the_event_that_is_wrong(
    receiver: tuple[Receiver, str], status: int, refused: bool
) -> None:
    found, url = receiver
    found.answer = web.Response(status=status)
    with pytest.raises(NotTaken) as error:
        await post(Webhook("pipelines", url), EVENT)
    assert error.value.refused == refused


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (404, "nothing takes events at its address (any more)"),
        (410, "nothing takes events at its address (any more)"),
        (401, "the token or url in its Secret has to be mended"),
        (308, "leads elsewhere and is not followed"),
        (503, ""),
    ],
)
async def test_what_has_to_be_mended_is_said(receiver: tuple[Receiver, str], status: int, words: str) -> None:
    found, url = receiver
    found.answer = web.Response(status=status)
    with pytest.raises(NotTaken) as told:
        await post(Webhook("bus", url), EVENT)
    assert not told.value.refused, "the next event fares no better"
    said = str(told.value)
    assert words in said if words else said == f"it answers with status {status}"
    assert url not in said


def test_a_webhook_without_an_address_or_with_another_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WebhookError, match="chat: write its url, or authSecret with the key url"):
        read_webhooks('[{"name": "chat"}]', tmp_path)
    (tmp_path / "chat").mkdir()
    assert read_webhooks('[{"name": "chat", "format": "Slack"}]', tmp_path)["chat"].format is Format.SLACK
    with pytest.raises(WebhookError, match="the format Teams is not known: write one of CloudEvents, Alertmanager"):
        read_webhooks('[{"name": "chat", "format": "Teams"}]', tmp_path)


def test_a_webhook_may_be_told_of_every_deployment_that_it_is_open_to(tmp_path: Path) -> None:
    rows = [
        {"name": "oncall", "url": "https://a.test", "events": ["RolledBack", "KillSwitch"], "namespaces": ["shop"]},
        {"name": "chat", "url": "https://b.test"},
    ]
    found = read_webhooks(json.dumps(rows), tmp_path)
    asked = frozenset({Happening.ROLLED_BACK, Happening.KILL_SWITCH})
    assert [(one.webhook, one.events) for one in told_of_all(found, "shop")] == [("oncall", asked)]
    assert told_of_all(found, "bank") == ()
    with pytest.raises(WebhookError, match="oncall: the event Rollback is not known: write one of RolloutStarted, "):
        read_webhooks(json.dumps([{**rows[0], "events": ["Rollback"]}]), tmp_path)
