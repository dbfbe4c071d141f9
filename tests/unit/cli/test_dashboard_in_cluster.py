"""What bounds the web page in the cluster: sessions, turns, connections; its names and its certificate."""

import asyncio
import base64
import datetime
import json
import socket
import ssl
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from serin.cli.dashboard import sessions, sign_in
from serin.cli.dashboard.as_user import ApiServer, AsUser, SignedOut
from serin.cli.dashboard.certificates import Certificate, made_for
from serin.cli.dashboard.connections import MOST_OF_ONE, Connections
from serin.cli.dashboard.hosts import Hosts
from serin.cli.dashboard.server import Dashboard
from serin.cli.dashboard.sessions import Sessions, seconds_left
from serin.cli.dashboard.sign_in import SignIn, _ours
from serin.cli.dashboard.visitor import Turns, Visitor, keep

NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def connection() -> object:
    return ApiServer("https://api.test", None).connection("t")


def opened(kept: Sessions, name: str, seconds: float = sessions.LONGEST) -> str:
    return kept.open(name, connection(), seconds)  # type: ignore[arg-type]


def test_a_session_ends_by_its_time_by_standing_idle_and_by_being_closed(clock: Clock) -> None:
    kept = Sessions(clock)
    short, long, left = opened(kept, "a", 100.0), opened(kept, "a"), opened(kept, "b")
    assert [one.name for key in (short, long, left) if (one := kept.find(key))] == ["a", "a", "b"]
    kept.close(left)
    clock.now = 100.0
    assert [kept.find(key) is None for key in (short, long, left)] == [True, False, True]
    while clock.now < sessions.LONGEST:
        assert kept.find(long)
        clock.now += sessions.IDLE - 1.0
    assert kept.find(long) is None, "used all the time, and over all the same"
    idle = opened(kept, "a")
    clock.now += sessions.IDLE
    assert kept.find(idle) is None
    assert kept.find("") is None
    assert len(kept) == 0, "nothing is left of them"


def test_a_user_has_a_few_sessions_and_takes_none_of_others(clock: Clock) -> None:
    kept = Sessions(clock, most=sessions.MOST_OF_ONE + 1)
    other = opened(kept, "other")
    mine = [opened(kept, "me") for _ in range(sessions.MOST_OF_ONE + 3)]
    assert [kept.find(key) is not None for key in mine] == [False] * 3 + [True] * sessions.MOST_OF_ONE
    assert kept.find(other)
    third = opened(kept, "third")
    assert kept.find(third), "nobody is kept out"
    assert kept.find(other), "it was used just now"
    assert [kept.find(key) is not None for key in mine[3:]] == [False] + [True] * (sessions.MOST_OF_ONE - 1)
    clock.now = sessions.IDLE
    opened(kept, "fourth")
    assert len(kept) == 1, "those that are over fill no place"


def test_nothing_is_shared_between_sessions_but_one_users_turns(clock: Clock) -> None:
    kept = Sessions(clock)
    first, second, other = (kept.find(opened(kept, name)) for name in ("me", "me", "other"))
    assert first
    assert second
    assert other
    assert first.turns is second.turns is not other.turns
    keep(first.told, "key", ("done", True))
    keep(first.seen, "key", {})
    for one in (second, other):
        assert (one.told, one.seen) == ({}, {})
        assert one.connection is not first.connection


def test_of_what_is_kept_for_a_visitor_the_newest_stays() -> None:
    visitor = Visitor(connection(), Turns())  # type: ignore[arg-type]
    for number in range(1000):
        keep(visitor.told, str(number), ("", True))
    assert len(visitor.told) < 50
    assert "999" in visitor.told


async def test_a_user_takes_so_much_at_a_time() -> None:
    turns = Turns(looks=1, acts=2, follows=1)
    with turns.take("actions"), turns.take("actions"), turns.take("pages"):
        for what in ("actions", "pages"):
            with pytest.raises(web.HTTPTooManyRequests, match=f"too many {what} of yours"), turns.take(what):
                pass
        with turns.take("looks"):
            pass
    with turns.take("actions"):
        pass


class Known(ApiServer):
    """An API server that takes one token."""

    def connection(self, token: str) -> AsUser:
        found = AsUser(self, token)
        found.who_am_i = lambda: self.whose(token)  # type: ignore[method-assign]
        return found

    def whose(self, token: str) -> str:
        if token != "good":
            raise SignedOut("it is nobody's")
        return "alice"


async def test_who_guesses_waits_and_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sign_in, "_REFUSED_SECONDS", 3600.0)
    access = SignIn(Known("https://api.test", None), Hosts([]), lambda *_: None)
    async with TestClient(TestServer(Dashboard(access).application())) as client:

        async def status(token: str) -> int:
            headers = {"Origin": f"https://{client.host}:{client.port}"}
            async with client.post("/sign-in", data={"token": token}, headers=headers, allow_redirects=False) as answer:
                return answer.status

        guesses = [asyncio.create_task(status("guess")) for _ in range(3)]
        assert [await status("good") for _ in range(3)] == [303] * 3
        done, _ = await asyncio.wait(guesses, timeout=0.2)
        assert not done
        for one in guesses:
            one.cancel()


def jwt(claims: object) -> str:
    middle = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"e30.{middle}.c2ln"


def test_a_session_is_no_longer_than_its_token() -> None:
    assert seconds_left(jwt({"exp": 1600}), 1000.0) == 600.0
    assert seconds_left(jwt({"exp": 900}), 1000.0) == 0.0
    assert seconds_left(jwt({"exp": 10**9}), 1000.0) == sessions.LONGEST
    wrong = (jwt({}), jwt([]), jwt({"exp": "x"}), jwt({"exp": None}), jwt({"exp": 1e400}), "a.b.c", "opaque", "a.é.c")
    for one in wrong:
        assert seconds_left(one, 1000.0) == sessions.LONGEST
    assert seconds_left(f"a.{base64.urlsafe_b64encode(b'[' * 12000).decode()}.c", 0.0) == sessions.LONGEST


@given(st.text(alphabet="/.\\:a%0@?#-é\n", max_size=20))
def test_after_signing_in_one_stays_on_the_page(to: str) -> None:
    found = _ours(to)
    assert found == "/" or found == to
    assert found.startswith("/")
    assert not set(found) & set("\\:%@?#\n")
    assert "//" not in found
    assert "/." not in found


def test_the_pages_names() -> None:
    hosts = Hosts(["serin.example", "10.1.2.3", "other.example:8443", "[fd00::1]"])
    for good in ("serin.example", "serin.example:444", "localhost", "localhost:8000", "127.0.0.1:1", "[::1]:8443"):
        assert hosts.has(good), good
    assert hosts.has("other.example:8443")
    assert hosts.has("[fd00::1]:443")
    for bad in (
        "",
        "example",
        "other.example",
        "other.example:1",
        "serin.example.evil",
        "x@localhost",
        "localhost:",
        " ",
    ):
        assert not hosts.has(bad), bad
    assert hosts.names == sorted(
        ["serin.example", "10.1.2.3", "other.example", "[fd00::1]", "localhost", "127.0.0.1", "[::1]"]
    )
    for wrong in ("https://serin.example", "a b", "*.example", "/x"):
        with pytest.raises(ValueError, match=r"write for example serin\.example"):
            Hosts([wrong])


def test_a_certificate_is_made_for_the_pages_names() -> None:
    text, key = made_for(Hosts(["serin.example"]).names, NOW)
    assert b"PRIVATE KEY" in key
    found = x509.load_pem_x509_certificate(text)
    names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert set(names.get_values_for_type(x509.DNSName)) == {"serin.example", "localhost"}
    assert {str(one) for one in names.get_values_for_type(x509.IPAddress)} == {"127.0.0.1", "::1"}
    assert found.not_valid_before_utc <= NOW < found.not_valid_after_utc
    made = Certificate(None, ["localhost"])
    assert not made.renew(), "a new one each minute would end every browser's trust"


def test_a_secrets_certificate_is_read_again_when_it_has_changed(tmp_path: Path) -> None:
    def write(pair: tuple[bytes, bytes]) -> None:
        (tmp_path / "tls.crt").write_bytes(pair[0])
        (tmp_path / "tls.key").write_bytes(pair[1])

    first, second = made_for(["a.example"], NOW), made_for(["b.example"], NOW)
    with pytest.raises(FileNotFoundError):
        Certificate(tmp_path, [])
    write(first)
    served = Certificate(tmp_path, [])
    assert not served.renew()
    assert _shown(served) == _plain(first)
    write((first[0], second[1]))
    with pytest.raises(ssl.SSLError):
        served.renew()
    assert _shown(served) == _plain(first), "what does not fit together changes nothing"
    write(second)
    assert served.renew()
    assert _shown(served) == _plain(second)


def _plain(pair: tuple[bytes, bytes]) -> bytes:
    return ssl.PEM_cert_to_DER_cert(pair[0].decode())


def _shown(served: Certificate) -> bytes | None:
    """What a client is shown."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    sides = []
    wires = [ssl.MemoryBIO() for _ in range(2)]
    sides = [client.wrap_bio(wires[0], wires[1]), served.context.wrap_bio(wires[1], wires[0], server_side=True)]
    for _ in range(5):
        for one in sides:
            try:
                one.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return sides[0].getpeercert(binary_form=True)


async def test_connections_of_strangers_go_and_of_a_user_the_newest_stay() -> None:
    async def answer(_request: web.BaseRequest) -> web.StreamResponse:
        return web.Response()

    connections = Connections(web.Server(answer), most=3, patience=0.0)
    listener = await asyncio.get_running_loop().create_server(connections.accept, "127.0.0.1", 0)
    where = listener.sockets[0].getsockname()
    try:
        readers = [await asyncio.open_connection(*where) for _ in range(5)]
        async with asyncio.timeout(30):
            assert [await reader.read() for reader, _ in readers[:2]] == [b"", b""], "the oldest"
            connections.sweep()
            assert [await reader.read() for reader, _ in readers[2:]] == [b"", b"", b""], "their time is over"
        made = []
        for _ in range(MOST_OF_ONE + 1):
            one = connections.accept()
            one.connection_made(_Transport())
            connections.admit(one, "me")
            made.append(one)
        assert [one.transport is None for one in made] == [True] + [False] * MOST_OF_ONE
        connections.admit(made[1], "other")  # behind an ingress: the same connection, another user
        connections.admit(connections.accept(), "me")
        assert made[2].transport is not None
        assert made[1].transport is not None
        for one in made[1:]:
            one.force_close()
        connections.sweep()
        assert len(connections._owners) == 0
        assert connections._owned == {}
    finally:
        listener.close()


class _Transport(asyncio.Transport):
    """Of a connection that nobody has at its other end."""

    def get_extra_info(self, name: str, default: object = None) -> object:
        return socket.socket() if name == "socket" else default

    def close(self) -> None:
        """It has nothing to close."""

    def is_closing(self) -> bool:
        return False
