"""The adapter against a real Prometheus: typed answers, credentials, TLS, time-outs, warnings; nothing raised."""

import asyncio
import gc
import json
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from serin.analysis.types import NoData
from serin.api.conditions import Reason
from serin.metrics import prometheus as adapter
from serin.metrics.answers import Answer, Failed, Partial, Value, answer_of
from serin.metrics.prometheus import SHARED, Prometheus, Settings, read_settings
from tests.cluster.pki import Authority
from tests.cluster.ports import free_port
from tests.integration.prometheus_server import PrometheusServer, answering, wait_for, write_history

pytestmark = pytest.mark.usefixtures("debian_packages")

# bcrypt of "open sesame", as Prometheus' web configuration wants it.
HASH = "$2b$04$9TlkDzQk7HL2IXW1gXbiP.SsViE43YxLTMdxgRyzZRBPKQS9rL7yK"


@pytest.fixture(scope="module")
def now() -> int:
    """When the history below was written: unix seconds. Prometheus forgets a sample five minutes later."""
    return round(time.time())


@pytest.fixture(scope="module")
def server(now: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrometheusServer]:
    folder = tmp_path_factory.mktemp("prometheus")
    moments = [now - 60, now - 45, now - 30]
    codes = ("200", "500")
    samples = [("requests_total", {"job": "a", "code": code}, float(at), at) for code in codes for at in moments]
    write_history(folder / "data", samples)
    server = PrometheusServer(folder).start()
    yield server
    server.stop()


async def ask(settings: Settings, query: str, at: float | None = None) -> Answer:
    prometheus = Prometheus(settings)
    try:
        return await prometheus.query(query, time.time() if at is None else at)
    finally:
        prometheus.close()


@pytest.mark.parametrize("ahead", [0.0, 40.0, -40.0])
async def test_every_answer_tells_how_far_the_clocks_are_apart(server: PrometheusServer, ahead: float) -> None:
    prometheus = Prometheus(Settings(server.url), clock=lambda: time.time() - ahead)
    assert prometheus.skew.seconds == 0.0
    for query in ("up", "nothing", "no PromQL)"):
        await prometheus.query(query, time.time())
    prometheus.close()
    assert prometheus.skew.seconds == pytest.approx(ahead, abs=1.1)
    assert ("at least 30 s" in prometheus.skew.words) is bool(ahead)


async def test_vector_matrix_and_scalar_are_values(server: PrometheusServer, now: int) -> None:
    settings = Settings(server.url)
    vector = await ask(settings, "requests_total", now)
    assert isinstance(vector, Value)
    assert {one.labels["code"] for one in vector.series} == {"200", "500"}
    matrix = await ask(settings, 'requests_total{code="500"}[5m]', now)
    assert isinstance(matrix, Value)
    (series,) = matrix.series
    assert len(series.times) == 3
    assert series.times == series.values  # the history counts seconds
    scalar = await ask(settings, "vector(42) > 1")
    assert isinstance(scalar, Value)
    assert scalar.series[0].values == (42.0,)


async def test_the_time_is_explicit(server: PrometheusServer, now: int) -> None:
    at = now - 39.5
    answer = await ask(Settings(server.url), 'requests_total{code="200"}', at)
    assert isinstance(answer, Value)
    assert answer.series[0].times[0] == pytest.approx(at, abs=0.001)
    assert answer.series[0].values == (now - 45,)


async def test_nothing_found_is_no_data(server: PrometheusServer) -> None:
    answer = await ask(Settings(server.url), "nothing_of_that_name")
    assert isinstance(answer, NoData)
    assert answer.reason is Reason.SERIES_ABSENT


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("sum(", "parse error"),
        ("rate(requests_total)", "expected type range vector"),
        ("requests_total / on() requests_total", "many-to-many"),
    ],
)
async def test_bad_promql_keeps_prometheus_words(server: PrometheusServer, query: str, words: str) -> None:
    answer = await ask(Settings(server.url), query)
    assert isinstance(answer, Failed)
    assert answer.reason is Reason.QUERY_FAILED
    assert words in answer.message
    assert server.url in answer.message


async def test_a_long_query_goes_into_the_body(server: PrometheusServer, now: int) -> None:
    names = "|".join(f"snapshot-{number:060d}" for number in range(20_000))
    answer = await ask(Settings(server.url, timeout=60), f'requests_total{{code!~"{names}"}}', now)
    assert isinstance(answer, Value), answer


async def test_nobody_listens() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    took = []
    for _ in range(2):  # the machine may hold one up, hidden retries would hold up every one
        began = time.monotonic()
        answer = await ask(Settings(url), "up")
        took.append(time.monotonic() - began)
    assert min(took) < 4.0, "the library's hidden retries, with back-off, are on"
    assert isinstance(answer, Failed)
    assert answer.reason is Reason.PROMETHEUS_UNREACHABLE
    assert url in answer.message
    assert "refused" in answer.message.lower()


async def test_a_password_in_the_url_is_never_shown() -> None:
    port = free_port()
    answer = await ask(Settings(f"http://admin:hunter2@127.0.0.1:{port}"), "up")
    assert isinstance(answer, Failed)
    assert f"http://127.0.0.1:{port}" in answer.message
    assert "hunter2" not in answer.message
    assert "admin" not in answer.message


async def test_a_slow_answer_is_given_up_and_not_asked_again() -> None:
    asked, over = [], threading.Event()

    def slow(path: str, _: bytes) -> tuple[int, dict[str, str], bytes]:
        asked.append(path)
        over.wait(120)
        return 200, {}, b"{}"

    with answering(slow) as url:
        began = time.monotonic()
        answer = await ask(Settings(url, timeout=0.5), "up")
        assert time.monotonic() - began < 60.0
        assert isinstance(answer, Failed)
        assert answer.reason is Reason.PROMETHEUS_UNREACHABLE
        assert "no answer within 0.5 s" in answer.message
        await asyncio.sleep(1.5)
        assert len(asked) == 1
        over.set()


async def test_overload_is_not_asked_again() -> None:
    asked = []

    def overloaded(path: str, _: bytes) -> tuple[int, dict[str, str], bytes]:
        asked.append(path)
        return 503, {}, b'{"status":"error","errorType":"timeout","error":"query timed out in expression evaluation"}'

    with answering(overloaded) as url:
        answer = await ask(Settings(url), "up")
    assert isinstance(answer, Failed)
    assert answer.reason is Reason.PROMETHEUS_UNREACHABLE
    assert "query timed out in expression evaluation" in answer.message
    assert len(asked) == 1


async def test_the_server_stops_working_on_a_query_that_nobody_waits_for(server: PrometheusServer) -> None:
    heavy = "count_over_time(count_over_time(vector(1)[3h:10ms])[30m:1s])"
    answer = await ask(Settings(server.url, timeout=0.3), heavy)
    assert isinstance(answer, Failed)
    assert answer.reason is Reason.PROMETHEUS_UNREACHABLE, answer


async def test_warnings_make_a_real_answer_partial(server: PrometheusServer, now: int) -> None:
    def proxy(path: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        with urllib.request.urlopen(urllib.request.Request(server.url + path, body, headers), timeout=60) as real:
            answer = json.load(real)
        return 200, {}, json.dumps({**answer, "warnings": ["store 10.0.0.7 gave no answer"]}).encode()

    with answering(proxy) as url:
        answer = await ask(Settings(url, timeout=60), "requests_total", now)
    assert isinstance(answer, Partial)
    assert answer.warnings == ("store 10.0.0.7 gave no answer",)
    assert len(answer.series) == 2


@pytest.mark.parametrize(
    ("status", "headers", "body", "words"),
    [
        (200, {}, b"<html>Please log in</html>", "not Prometheus'"),
        (200, {}, b"[]", "not Prometheus'"),
        (404, {}, b"404 page not found", "path prefix"),
        (302, {"Location": "http://me:secret@other.example/login"}, b"", "redirects to http://other.example/login"),
        (401, {}, b"Unauthorized", "refuses our credentials (HTTP 401: Unauthorized)"),
        (401, {}, b"no org id\n", "refuses our credentials (HTTP 401: no org id)"),
        (401, {"Content-Type": "text/html"}, b"secret", "refuses our credentials (HTTP 401); check the Secret's"),
        (502, {}, b"bad gateway", "HTTP 502 with an answer that is not Prometheus': bad gateway (is the address right"),
        (500, {}, b"long " * 100_000, "long long\u2026 (is the address"),
        (200, {}, b'{"status": "success"}', "not Prometheus'"),
        (200, {}, b'{"status": "success", "data": {"resultType": "vector", "result": [1]}}', "not Prometheus'"),
        (200, {}, b"[" * 100_000, "not Prometheus'"),
    ],
)
async def test_what_is_not_prometheus_is_said(status: int, headers: dict[str, str], body: bytes, words: str) -> None:
    with answering(lambda *_: (status, headers, body)) as url:
        answer = await ask(Settings(url), "up")
    assert isinstance(answer, Failed)
    assert answer.reason is Reason.PROMETHEUS_UNREACHABLE
    assert words in answer.message
    assert "secret" not in answer.message
    assert len(answer.message) <= 500


async def test_nothing_looks_for_garbage_while_an_answer_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    collects: list[bool] = []

    def reading(body: Mapping[str, Any]) -> Answer:
        collects.append(gc.isenabled())
        if not body["data"]["result"]:
            raise ValueError("none")
        return answer_of(body)

    monkeypatch.setattr(adapter, "answer_of", reading)
    vector = '{"status": "success", "data": {"resultType": "vector", "result": [%s]}}'
    for one in ('{"metric": {}, "value": [1, "2"]}', ""):
        with answering(lambda *_, one=one: (200, {}, (vector % one).encode())) as url:
            await ask(Settings(url), "up")
        assert gc.isenabled(), "also after one that cannot be read"
    assert collects == [False, False]


async def test_an_answer_that_is_too_large_is_given_up() -> None:
    """Read no further than allowed: the server gets no chance to send the rest."""
    one = b'{"metric":{"__name__":"a","id":"%d"},"value":[1,"1"]},'
    many = b"".join(one % number for number in range(60_000))
    head, tail = b'{"status":"success","data":{"resultType":"vector","result":[', b"]}}"
    for items, words in ((many, "50000 series or more"), (b" " * 13_000_000 + many, "more than 12 MB")):
        with answering(lambda *_, items=items: (200, {}, head + items[:-1] + tail)) as url:
            answer = await ask(Settings(url, timeout=60), "a")
        assert isinstance(answer, Failed)
        assert (answer.reason, answer.too_large) == (Reason.QUERY_FAILED, True)
        assert f"the answer has {words}" in answer.message


async def test_the_number_of_series_is_limited_by_prometheus_where_it_can() -> None:
    bodies: list[bytes] = []

    def reply(_: str, body: bytes) -> tuple[int, Mapping[str, str], bytes]:
        bodies.append(body)
        return 200, {}, b"{}"

    with answering(reply) as url:
        await ask(Settings(url), "up", 1.0)
    assert b"limit=50000" in bodies[0]


async def test_half_a_character_is_refused() -> None:
    answer = await ask(Settings("http://127.0.0.1:9"), 'up{a="\ud800"}')
    assert isinstance(answer, Failed)
    assert answer.reason is Reason.QUERY_FAILED


def secret(folder: Path, **files: str | bytes) -> Path:
    """Files as kubelet mounts a Secret; a double underscore in a name stands for a dot."""
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        path = folder / name.replace("__", ".")
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


async def test_a_bearer_token_is_sent_and_read_again_when_it_changes(tmp_path: Path) -> None:
    folder = secret(tmp_path / "secret", token="first\n")
    empty = b'{"status":"success","data":{"resultType":"vector","result":[]}}'
    seen: list[str | None] = []
    with answering(lambda *_: (200, {}, empty), authorizations=seen) as url:
        prometheus = Prometheus(Settings(url, folder))
        await prometheus.query("up", 1.0)
        secret(folder, token="second, longer")
        await prometheus.query("up", 1.0)
        prometheus.close()
    assert seen == ["Bearer first", "Bearer second, longer"]


async def test_headers_of_the_settings_and_of_the_secret_are_sent(tmp_path: Path) -> None:
    folder = secret(tmp_path / "secret", headers="X-Scope-OrgID: team-b\nX-Key: a secret: of ours\n")
    settings = read_settings(
        {
            "SERIN_PROMETHEUS_URL": "http://mimir",
            "SERIN_PROMETHEUS_HEADERS": "X-Scope-OrgID: team-a\nX-Other: 1",
            "SERIN_PROMETHEUS_CREDENTIALS": str(folder),
        }
    )
    seen: list[Mapping[str, str]] = []
    with answering(lambda *_: (200, {}, b"{}"), headers=seen) as url:
        prometheus = Prometheus(replace(settings, url=url))
        await prometheus.query("up", 1.0)
        secret(folder, headers="X-Key: another one, longer")
        await prometheus.query("up", 1.0)
        prometheus.close()
    names = ("X-Scope-OrgID", "X-Other", "X-Key")
    assert [seen[0].get(name) for name in names] == ["team-b", "1", "a secret: of ours"]
    assert [seen[1].get(name) for name in names] == ["team-a", "1", "another one, longer"]


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[PrometheusServer, Path]]:
    """A Prometheus with TLS, client certificates and basic authentication; and the folder with its authority."""
    folder = tmp_path_factory.mktemp("guarded")
    authority = Authority(folder)
    authority.issue("server", "prometheus", hosts=["127.0.0.1"])
    authority.issue("client", "serin")
    (folder / "web.yml").write_text(
        f"tls_server_config: {{cert_file: {folder}/server.crt, key_file: {folder}/server.key, "
        f"client_auth_type: RequireAndVerifyClientCert, client_ca_file: {folder}/ca.crt}}\n"
        f"basic_auth_users: {{serin: '{HASH}'}}\n"
    )
    server = PrometheusServer(folder, options=[f"--web.config.file={folder}/web.yml"]).start(wait=False)
    wait_for(lambda: "Server is ready" in (folder / "log").read_text(), f"not ready: {folder}/log")
    yield server, folder
    server.stop()


def full_secret(folder: Path, certificates: Path, **changes: str) -> Path:
    return secret(
        folder,
        **{
            "username": "serin",
            "password": "open sesame",
            "ca__crt": (certificates / "ca.crt").read_bytes(),
            "tls__crt": (certificates / "client.crt").read_bytes(),
            "tls__key": (certificates / "client.key").read_bytes(),
            **changes,
        },
    )


async def test_tls_client_certificate_and_basic_authentication(
    guarded: tuple[PrometheusServer, Path], tmp_path: Path
) -> None:
    server, certificates = guarded
    url = f"https://127.0.0.1:{server.port}"
    answer = await ask(Settings(url, full_secret(tmp_path / "good", certificates)), "vector(1)")
    assert isinstance(answer, Value), answer

    wrong = await ask(Settings(url, full_secret(tmp_path / "wrong", certificates, password="guess")), "vector(1)")
    assert isinstance(wrong, Failed)
    assert "refuses our credentials (HTTP 401: Unauthorized)" in wrong.message

    folder = full_secret(tmp_path / "anonymous", certificates)
    (folder / "tls.crt").unlink()
    anonymous = await ask(Settings(url, folder), "vector(1)")
    assert isinstance(anonymous, Failed)
    assert anonymous.reason is Reason.PROMETHEUS_UNREACHABLE

    folder = full_secret(tmp_path / "stranger", certificates)
    (folder / "ca.crt").unlink()
    stranger = await ask(Settings(url, folder), "vector(1)")
    assert isinstance(stranger, Failed)
    assert "TLS failed" in stranger.message
    assert "certificate verify failed" in stranger.message
    unverified = await ask(Settings(url, folder, insecure_skip_verify=True), "vector(1)")
    assert isinstance(unverified, Value), unverified


async def test_a_rotated_password_is_used_at_once(guarded: tuple[PrometheusServer, Path], tmp_path: Path) -> None:
    server, certificates = guarded
    folder = full_secret(tmp_path / "rotated", certificates, password="old")
    prometheus = Prometheus(Settings(f"https://127.0.0.1:{server.port}", folder))
    assert isinstance(await prometheus.query("vector(1)", time.time()), Failed)
    secret(folder, password="open sesame")
    assert isinstance(await prometheus.query("vector(1)", time.time()), Value)
    prometheus.close()


async def test_a_missing_secret_is_said(tmp_path: Path) -> None:
    answer = await ask(Settings("http://127.0.0.1:1", tmp_path / "absent"), "up")
    assert isinstance(answer, Failed)
    assert "mount the Secret there" in answer.message


async def test_slow_queries_of_one_namespace_fail_nobody_elses() -> None:
    waiting, over = list[bytes](), threading.Event()

    def reply(_: str, body: bytes) -> tuple[int, Mapping[str, str], bytes]:
        if b"slow" in body:
            waiting.append(body)
            over.wait(120)
        return 200, {}, b'{"status":"success","data":{"resultType":"scalar","result":[1,"1"]}}'

    with answering(reply) as url:
        prometheus = Prometheus(Settings(url, timeout=60))
        slow = [asyncio.create_task(prometheus.query("slow", 1.0, "noisy")) for _ in range(16)]
        await asyncio.to_thread(wait_for, lambda: len(waiting) >= 2, "nothing is asked")
        for namespace in ("quiet", SHARED):
            answers = await asyncio.gather(*(prometheus.query("fast", 1.0, namespace) for _ in range(20)))
            assert all(isinstance(answer, Value) for answer in answers)
        assert len(waiting) == 2, "of one namespace, no more at once"
        over.set()
        assert all(isinstance(answer, Value) for answer in await asyncio.gather(*slow))
        prometheus.close()


async def test_the_time_of_a_query_begins_when_it_is_sent() -> None:
    def reply(_: str, __: bytes) -> tuple[int, Mapping[str, str], bytes]:
        time.sleep(0.4)
        return 200, {}, b'{"status":"success","data":{"resultType":"scalar","result":[1,"1"]}}'

    with answering(reply) as url:
        prometheus = Prometheus(Settings(url, timeout=3.0))
        answers = await asyncio.gather(*(prometheus.query("up", 1.0, "busy") for _ in range(40)))
        prometheus.close()
    assert all(isinstance(answer, Value) for answer in answers), "8 s of queries, two at once"


async def test_what_queries_cost_is_counted(server: PrometheusServer) -> None:
    prometheus = Prometheus(Settings(server.url))
    await prometheus.query("requests_total", time.time())
    await prometheus.query("sum(", time.time())
    prometheus.close()
    assert (prometheus.usage.queries, prometheus.usage.failed) == (2, 1)
    assert prometheus.usage.answer_bytes > 100
    assert prometheus.usage.seconds > 0
