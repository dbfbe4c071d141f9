"""The web page as it is served in the cluster: real Chromium, a real API server, users with tokens of their own.

The process is the one of the pod, with no kubeconfig and no rights. Each browser is a machine of its own.
"""

import asyncio
import base64
import os
import ssl
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from serin.api import names
from serin.cli.dashboard.connections import MOST_STRANGERS
from serin.cli.dashboard.sign_in import COOKIE
from tests.cluster.ports import free_port
from tests.integration.browser import Page, browser
from tests.integration.cli_rig import await_right, put
from tests.integration.operator_process import Cluster
from tests.integration.test_dashboard import APPROVAL, BAKING, annotation

pytestmark = pytest.mark.control_plane

READ, WRITE = ("get", "list"), ("get", "list", "patch")


@dataclass(frozen=True)
class Person:
    """Somebody with rights in one namespace, who signs in with a token."""

    name: str
    token: str


@dataclass(frozen=True)
class Served:
    """The page as a browser on the machine of a port-forward reaches it."""

    port: int
    log: Path

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}"


def person(control_plane: Any, namespace: str, name: str, verbs: tuple[str, ...]) -> Person:
    def kubectl(*words: str) -> str:
        return str(control_plane.kubectl("--namespace", namespace, *words))

    kubectl("create", "serviceaccount", name)
    resources = "modeldeployments.serin.dev,modelsnapshots.serin.dev"
    kubectl("create", "role", name, f"--resource={resources}", *(f"--verb={one}" for one in verbs))
    kubectl("create", "rolebinding", name, f"--role={name}", f"--serviceaccount={namespace}:{name}")
    for verb in verbs:
        for plural in ("modeldeployments", "modelsnapshots"):
            about = {"namespace": namespace, "verb": verb, "group": names.GROUP, "resource": plural}
            await_right(control_plane.kubeconfig, f"{namespace}:{name}", **about)
    return Person(f"system:serviceaccount:{namespace}:{name}", kubectl("create", "token", name).strip())


@pytest.fixture
async def served(control_plane: Any, tmp_path: Path) -> AsyncIterator[Served]:
    async with serving(control_plane, tmp_path) as found:
        yield found


@asynccontextmanager
async def serving(control_plane: Any, folder: Path, *flags: str) -> AsyncIterator[Served]:
    """The process of the pod: it has the address of the API server and what proves it, and nothing else."""
    known = yaml.safe_load(control_plane.kubeconfig.read_text())["clusters"][0]["cluster"]
    ca, log, port = folder / "ca.crt", folder / "dashboard.log", free_port()
    ca.write_bytes(base64.b64decode(known["certificate-authority-data"]))
    words = ("--port", str(port), "--server", known["server"], "--server-ca", str(ca), *flags)
    environment = {key: value for key, value in os.environ.items() if key != "KUBECONFIG"} | {"HOME": str(folder)}
    with log.open("wb") as output:
        command = (sys.executable, "-m", "serin", "serve-dashboard", *words)
        process = await asyncio.create_subprocess_exec(*command, stderr=output, env=environment)
    try:
        async with asyncio.timeout(60):
            while "dashboard.serving" not in log.read_text():
                assert process.returncode is None, log.read_text()
                await asyncio.sleep(0.05)
        yield Served(port, log)
        process.terminate()
        assert await process.wait() == 0
        assert "Traceback" not in log.read_text()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.fixture
def people(control_plane: Any, cluster: Cluster) -> Callable[..., Person]:
    def made(name: str, verbs: tuple[str, ...] = WRITE, namespace: str = "") -> Person:
        return person(control_plane, namespace or cluster.shop, name, verbs)

    return made


@asynccontextmanager
async def opened(folder: Path, name: str) -> AsyncIterator[Page]:
    # The page's certificate is its own; what proves it is tested below.
    async with browser(folder / name, "--ignore-certificate-errors") as page:
        await page.look_like()
        yield page


async def sign_in(page: Page, who: Person) -> None:
    await page.shows("Sign in")
    await page.until("document.activeElement.id == 'token'", "the focus in the field")
    await page.type(who.token)
    await page.press("Enter", "\r")
    await page.shows(who.name)


def trusting() -> aiohttp.ClientSession:
    """A client without a jar: who it is, each request says."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=False, limit=1), cookie_jar=aiohttp.DummyCookieJar()
    )


async def session_of(client: aiohttp.ClientSession, served: Served, who: Person) -> dict[str, str]:
    """The Cookie header of a new session."""
    form = {"token": who.token, "to": "/"}
    about: Any = {"data": form, "headers": {"Origin": served.url}, "allow_redirects": False}
    async with client.post(f"{served.url}/sign-in", **about) as answer:
        assert answer.status == 303, await answer.text()
        cookie = answer.headers["Set-Cookie"]
        assert {"Secure", "HttpOnly", "Path=/", "SameSite=Strict"} <= set(cookie.split("; "))
        assert not {"Domain", "Max-Age", "expires"} & {one.partition("=")[0] for one in cookie.split("; ")}
        return {"Cookie": cookie.partition(";")[0]}


async def test_from_a_token_to_an_approval_in_the_users_own_name(
    cluster: Cluster, served: Served, people: Callable[..., Person], tmp_path: Path
) -> None:
    alice = await asyncio.to_thread(people, "alice")
    before = await asyncio.to_thread(put, cluster, APPROVAL)
    async with opened(tmp_path, "browser") as page:
        await page.go(f"{served.url}/in/{cluster.shop}/fraud")
        await sign_in(page, alice)
        await page.shows("Conditions")  # where the browser wanted to go
        assert await page.run("document.cookie") == "", "no script gets the session"
        await page.click("[id='do.approve']")
        await page.click("#yes")
        value = await annotation(cluster, names.ANNOTATION_APPROVE, before)
        assert value.endswith(f"{names.APPROVED_BY}{alice.name}")
        await page.shows("the operator has not answered")  # none runs here
        await page.click("[id='do.pause']")
        await page.click("#yes")
        assert await annotation(cluster, names.ANNOTATION_PAUSE, before)
        # Live: what somebody else changes is shown without a reload.
        await page.go(f"{served.url}/")
        await page.click(f"a[href='/in/{cluster.shop}']")
        await page.shows("1 deployments")
        await page.run("window.same = true")
        await asyncio.to_thread(cluster.kubectl, "delete", "md", "--all", "--wait=true")
        await page.shows("There is no ModelDeployment here yet")
        assert await page.run("window.same"), "the page was not loaded again"
        await page.click("form.who button")
        await page.shows("Paste a token")
        await page.go(f"{served.url}/in/{cluster.shop}")
        await page.shows("Paste a token")
        assert not [one for one in page.complaints if "401" not in one], "a page without a session is 401"
    assert not [one for one in page.addresses if alice.token in one]
    assert {one.split("/")[2] for one in page.addresses if one.startswith("http")} == {f"localhost:{served.port}"}
    said = served.log.read_text()
    assert '"event": "user.signed_in"' in said
    assert alice.name in said
    assert alice.token not in said


async def test_a_token_that_is_refused_then_and_later(
    cluster: Cluster, served: Served, people: Callable[..., Person], tmp_path: Path
) -> None:
    alice = await asyncio.to_thread(people, "alice")
    await asyncio.to_thread(put, cluster, BAKING)
    async with opened(tmp_path, "browser") as page:
        await page.go(f"{served.url}/")
        await page.shows("Paste a token")
        for token, words in (("two words", "That is no token"), (f"{alice.token[:-6]}AAAAAA", "does not accept")):
            await page.type(token)
            await page.press("Enter", "\r")
            await page.shows(words)
        await sign_in(page, alice)
        await page.go(f"{served.url}/in/{cluster.shop}/fraud")
        await page.shows("Conditions")
        # An open page: the account goes, and with it the token. The API server remembers tokens for some seconds.
        await asyncio.to_thread(cluster.kubectl, "delete", "serviceaccount", "alice")
        await page.shows("does not accept this token")
        again = await asyncio.to_thread(people, "bob")
        await sign_in(page, again)
        await page.shows("Conditions")
    assert alice.token not in served.log.read_text()


async def test_rights_are_the_users_own(
    cluster: Cluster, served: Served, people: Callable[..., Person], tmp_path: Path
) -> None:
    before = await asyncio.to_thread(put, cluster, BAKING)
    watcher = await asyncio.to_thread(people, "watcher", READ)
    async with opened(tmp_path, "browser") as page:
        await page.go(f"{served.url}/")
        await sign_in(page, watcher)
        await page.shows("You may not list the model deployments of all namespaces")
        await page.click(f"a[href='/in/{cluster.shop}']")  # his own: he may not list namespaces
        await page.click("th a")
        await page.click("[id='do.pause']")
        await page.click("#yes")
        await page.shows('cannot patch resource "modeldeployments"')
        assert cluster.read("md", "fraud") == before
        await page.run("document.querySelector('[name=namespace]').focus()")
        await page.type(cluster.system)
        await page.press("Enter", "\r")
        await page.shows(
            f'cannot list resource "modeldeployments" in API group "serin.dev" in the namespace "{cluster.system}"'
        )
        await page.go(f"{served.url}/all")
        await page.shows('cannot list resource "modeldeployments"')


async def test_who_may_list_namespaces_sees_those_that_are_open_to_him(
    cluster: Cluster, control_plane: Any, served: Served, people: Callable[..., Person]
) -> None:
    carol = await asyncio.to_thread(people, "carol", READ)
    role = f"namespaces-{cluster.shop}"
    try:
        control_plane.kubectl("create", "clusterrole", role, "--resource=namespaces", "--verb=list")
        who = f"--serviceaccount={cluster.shop}:carol"
        control_plane.kubectl("create", "clusterrolebinding", role, f"--clusterrole={role}", who)
        account = f"{cluster.shop}:carol"
        await asyncio.to_thread(
            await_right, control_plane.kubeconfig, account, verb="list", group="", resource="namespaces"
        )
        async with trusting() as client:
            cookie = await session_of(client, served, carol)
            async with client.get(f"{served.url}/", headers=cookie) as answer:
                text = await answer.text()
                assert f'href="/in/{cluster.shop}"' in text
                assert 'href="/in/default"' not in text
                assert cluster.system not in text
    finally:
        control_plane.kubectl("delete", "clusterrolebinding,clusterrole", role, "--ignore-not-found")


async def test_two_users_side_by_side_see_their_own(
    cluster: Cluster, served: Served, people: Callable[..., Person], tmp_path: Path
) -> None:
    """The same pages at the same time, over the same connections as behind an ingress."""
    await asyncio.to_thread(put, cluster, BAKING)
    alice = await asyncio.to_thread(people, "alice")
    bob = await asyncio.to_thread(people, "bob", READ, cluster.system)
    async with opened(tmp_path, "a") as one, opened(tmp_path, "b") as other:
        here = f"{served.url}/in/{cluster.shop}/fraud"
        for page, who in ((one, alice), (other, bob)):
            await page.go(here)
            await sign_in(page, who)
        await one.shows("Conditions")
        await other.shows("cannot get resource")
        await one.click("[id='do.pause']")
        await one.click("#yes")
        await one.shows("the operator has not answered")
        told = await one.run("location.search")
        await other.go(f"{here}{told}")
        await other.shows("cannot get resource")
        assert "the operator has not answered" not in await other.text()
        await other.go(f"{served.url}/in/{cluster.system}{told}")
        await other.shows("There is no ModelDeployment here yet")
        assert bob.name not in await one.text()
        assert alice.name not in await other.text()
    async with trusting() as client:
        cookies = [await session_of(client, served, who) for who in (alice, bob)]

        async def ask(number: int) -> None:
            mine = number % 2
            async with client.get(here, headers=cookies[mine]) as answer:
                text = await answer.text()
                assert answer.status == (403 if mine else 200)
                assert (alice, bob)[mine].name in text
                assert (bob, alice)[mine].name not in text
                assert ("Conditions" in text) is not bool(mine)

        await asyncio.gather(*(ask(number) for number in range(40)))
        # Sessions are apart too: one ends, the other goes on.
        about: Any = {"headers": {**cookies[0], "Origin": served.url}, "allow_redirects": False}
        async with client.post(f"{served.url}/sign-out", **about) as answer:
            assert answer.status == 303
        async with client.get(here, headers=cookies[0]) as answer:
            assert answer.status == 401
        async with client.get(f"{served.url}/in/{cluster.system}", headers=cookies[1]) as answer:
            assert answer.status == 200


async def test_no_other_site_uses_it(cluster: Cluster, served: Served, people: Callable[..., Person]) -> None:
    before = await asyncio.to_thread(put, cluster, BAKING)
    alice = await asyncio.to_thread(people, "alice")
    here, port = f"{served.url}/in/{cluster.shop}/fraud", served.port
    async with trusting() as client:
        cookie = await session_of(client, served, alice)
        for headers in (
            {},
            {"Origin": "null"},
            {"Origin": "https://evil.test"},
            {"Origin": f"http://localhost:{port}"},
            {"Origin": f"https://localhost:{port + 1}"},
            {"Origin": f"https://127.0.0.1:{port}"},
            {"Origin": "https://evil.test", "Host": "evil.test"},
            {"Origin": served.url, "Host": f"localhost.evil.test:{port}"},
        ):
            for path in (f"{here}/do/pause", f"{served.url}/sign-in", f"{served.url}/sign-out"):
                async with client.post(path, headers={**cookie, **headers}, allow_redirects=False) as answer:
                    assert answer.status in (403, 421), headers
        for host in ("evil.test", f"evil.test:{port}", "", "localhost@evil.test", "10.0.0.1"):
            async with client.get(here, headers={**cookie, "Host": host}) as answer:
                assert answer.status in (400, 421), host
                assert "fraud" not in await answer.text()
        async with client.get(f"{served.url}/healthz", headers={"Host": f"10.0.0.1:{port}"}) as answer:
            assert (answer.status, await answer.text()) == (200, "ok\n")
        async with client.get(here, headers=cookie) as answer:
            policy = answer.headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert answer.headers["Cache-Control"] == "no-store"
        for to in ("https://evil.test/", "//evil.test", "/\\evil.test", "/in/../../x", "javascript:alert(1)"):
            form = {"token": alice.token, "to": to}
            about: Any = {"data": form, "headers": {"Origin": served.url}, "allow_redirects": False}
            async with client.post(f"{served.url}/sign-in", **about) as answer:
                assert (answer.status, answer.headers["Location"]) == (303, "/")
        for wrong in ({"Cookie": f"{COOKIE}=x"}, {"Cookie": f"{COOKIE}={alice.token}"}, {}):
            async with client.get(here, headers=wrong) as answer:
                assert answer.status == 401
    assert cluster.read("md", "fraud") == before


async def test_a_link_of_another_site_finds_who_is_signed_in(
    cluster: Cluster, served: Served, people: Callable[..., Person], tmp_path: Path
) -> None:
    """The browser keeps a strict cookie back from the first request that a chat or a mail leads to."""
    await asyncio.to_thread(put, cluster, BAKING)
    alice = await asyncio.to_thread(people, "alice")
    here = f"{served.url}/in/{cluster.shop}/fraud"
    site = await asyncio.start_server(lambda reader, writer: _link(reader, writer, here), "127.0.0.1", 0)
    async with site, opened(tmp_path, "browser") as page:
        await page.go(here)
        await sign_in(page, alice)
        await page.go(f"http://127.0.0.1:{site.sockets[0].getsockname()[1]}/")
        await page.click("a")
        await page.shows("Conditions")
        assert "Paste a token" not in await page.text()


async def _link(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, to: str) -> None:
    # A connection that is closed before its request was read is reset, and the page is never complete.
    with suppress(asyncio.IncompleteReadError):
        await reader.readuntil(b"\r\n\r\n")
    text = f"<a href={to}>look at this</a>".encode()
    writer.write(f"HTTP/1.0 200 OK\r\nContent-Type: text/html\r\nContent-Length: {len(text)}\r\n\r\n".encode() + text)
    await writer.drain()
    writer.close()


async def test_guessing_is_slow_and_nobody_keeps_others_out(served: Served, people: Callable[..., Person]) -> None:
    alice = await asyncio.to_thread(people, "alice")
    async with trusting() as client:
        cookie = await session_of(client, served, alice)
        about: Any = {"headers": {"Origin": served.url}, "allow_redirects": False}

        async def guess(number: int) -> int:
            form = {"token": f"guess{number}"}
            async with trusting() as other, other.post(f"{served.url}/sign-in", data=form, **about) as answer:
                assert answer.headers["Connection"] == "close", "of who is not signed in"
                return answer.status

        began = time.monotonic()
        guesses = asyncio.gather(*map(guess, range(25)))
        await session_of(client, served, alice)  # people behind one ingress have one address
        assert await guesses == [401] * 25
        assert time.monotonic() - began >= 1.0, "who guesses waits"
        async with client.get(f"{served.url}/", headers=cookie) as answer:
            assert answer.status == 200, "who is signed in is not concerned"
        # Connections that say nothing: the oldest go, and a browser gets its answer.
        silent = [
            await asyncio.open_connection("127.0.0.1", served.port, ssl=_blind()) for _ in range(MOST_STRANGERS + 20)
        ]
        try:
            async with trusting() as other, other.get(f"{served.url}/", headers=cookie) as answer:
                assert answer.status == 200
            async with asyncio.timeout(120):
                with suppress(ConnectionError):
                    assert await silent[0][0].read() == b"", "closed"
        finally:
            for _, writer in silent:
                writer.close()


def _blind() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


async def test_a_certificate_of_a_secret_proves_the_page_under_its_own_name(control_plane: Any, tmp_path: Path) -> None:
    import datetime

    from serin.cli.dashboard.certificates import made_for

    folder = tmp_path / "tls"
    folder.mkdir()
    certificate, key = made_for(["serin.example"], datetime.datetime.now(datetime.UTC))
    (folder / "tls.crt").write_bytes(certificate)
    (folder / "tls.key").write_bytes(key)
    flags = ("--tls", str(folder), "--hosts", "serin.example")
    async with serving(control_plane, tmp_path, *flags) as served:
        trust = ssl.create_default_context(cafile=str(folder / "tls.crt"))
        connector = aiohttp.TCPConnector(ssl=trust)
        async with aiohttp.ClientSession(connector=connector) as client:
            about: Any = {"server_hostname": "serin.example"}
            for host, status in (("serin.example", 401), ("serin.example:8443", 401), ("other.example", 421)):
                url = f"https://127.0.0.1:{served.port}/"
                async with client.get(url, headers={"Host": host}, **about) as answer:
                    assert answer.status == status, host
