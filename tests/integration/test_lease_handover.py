"""Two real processes and a real Lease: one writes at a time, and the other goes on when it is killed or paused."""

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from serin.api.json import JsonObject
from serin.cluster.client import KubernetesCluster
from serin.cluster.kinds import LEASE
from serin.cluster.lease import Election, boottime
from serin.cluster.login import log_in
from tests.integration.lease_worker import TERMS

pytestmark = pytest.mark.control_plane

WORKER = Path(__file__).with_name("lease_worker.py")


class Replicas:
    """Starts workers on one Lease and reads what they wrote, in order of time."""

    def __init__(self, kubeconfig: Path, folder: Path) -> None:
        self.lease, self._kubeconfig, self._counter = f"lease-{uuid4().hex[:8]}", kubeconfig, folder / "writes"
        self._counter.touch()
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, identity: str, skew: float = 0.0, *, wait: bool = True) -> None:
        command = [sys.executable, WORKER, self._kubeconfig, self.lease, identity, self._counter, str(skew)]
        self.running[identity] = subprocess.Popen([str(part) for part in command])
        if wait:
            self.wait_until_standing(identity)

    def wait_until_standing(self, identity: str) -> None:
        end = time.monotonic() + 90.0
        while not self._counter.with_name(f"writes.{identity}").exists():
            assert time.monotonic() < end, f"{identity} did not start"
            time.sleep(0.05)

    def send(self, identity: str, number: signal.Signals) -> float:
        self.running[identity].send_signal(number)
        return time.monotonic()

    def writes(self) -> list[tuple[float, str]]:
        lines = [line.split() for line in self._counter.read_text().splitlines()]
        return sorted((float(at), identity) for at, identity in lines)

    def wait_for_a_write(self, identity: str, after: float = 0.0, seconds: float = 90.0) -> float:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for at, writer in self.writes():
                if writer == identity and at > after:
                    return at
            time.sleep(0.05)
        raise AssertionError(f"{identity} wrote nothing within {seconds} s")

    def leaders(self) -> list[str]:
        """Who wrote, in order, repetitions left out: with one writer at a time each name is one unbroken stretch."""
        order = [identity for _, identity in self.writes()]
        return [now for before, now in zip(["", *order], order, strict=False) if now != before]


@pytest.fixture
def replicas(control_plane: Any, tmp_path: Path) -> Iterator[Replicas]:
    started = Replicas(control_plane.kubeconfig, tmp_path)
    yield started
    for process in started.running.values():
        process.kill()
        process.wait()


def test_a_killed_leader_is_followed_within_its_term(replicas: Replicas) -> None:
    replicas.start("first")
    replicas.wait_for_a_write("first")
    replicas.start("second")
    time.sleep(1.0)
    killed = replicas.send("first", signal.SIGKILL)
    followed = replicas.wait_for_a_write("second", killed)
    assert replicas.leaders() == ["first", "second"]
    assert followed - killed < 2 * TERMS.duration, "the standby waited for more than one term"


def test_a_leader_that_stops_gracefully_is_followed_at_once(replicas: Replicas) -> None:
    replicas.start("first")
    replicas.wait_for_a_write("first")
    replicas.start("second")
    time.sleep(1.0)
    stopped = replicas.send("first", signal.SIGTERM)
    followed = replicas.wait_for_a_write("second", stopped)
    assert replicas.leaders() == ["first", "second"]
    # The term would have gone on for all but the second between two renewals.
    assert followed - stopped < TERMS.duration - 2 * TERMS.renew, (
        "the standby waited for the term of a leader that had gone"
    )
    assert replicas.running["first"].wait(30) == 0


def test_a_paused_leader_writes_nothing_when_it_wakes_after_its_term(replicas: Replicas) -> None:
    replicas.start("first")
    replicas.wait_for_a_write("first")
    replicas.start("second")
    time.sleep(1.0)
    paused = replicas.send("first", signal.SIGSTOP)
    replicas.wait_for_a_write("second", paused)
    woken = replicas.send("first", signal.SIGCONT)
    time.sleep(1.5)
    assert replicas.leaders() == ["first", "second"]
    assert replicas.wait_for_a_write("second", woken + 1.0) > woken
    # The one that was paused is a standby now, and takes its turn again.
    stopped = replicas.send("second", signal.SIGTERM)
    replicas.wait_for_a_write("first", stopped)
    assert replicas.leaders() == ["first", "second", "first"]


@pytest.mark.parametrize("skew", [-3600.0, 3600.0])
def test_clocks_that_are_an_hour_apart_change_nothing(replicas: Replicas, skew: float) -> None:
    replicas.start("first", skew)
    replicas.wait_for_a_write("first")
    replicas.start("second")
    time.sleep(TERMS.duration + 1.0)
    assert replicas.leaders() == ["first"]
    killed = replicas.send("first", signal.SIGKILL)
    assert replicas.wait_for_a_write("second", killed) > killed + TERMS.margin
    assert replicas.leaders() == ["first", "second"]


def test_of_many_that_start_together_one_leads(replicas: Replicas) -> None:
    names = [f"replica-{number}" for number in range(3)]
    for name in names:
        replicas.start(name, wait=False)
    for name in names:
        replicas.wait_until_standing(name)
    end = time.monotonic() + 60.0
    while not replicas.leaders() and time.monotonic() < end:
        time.sleep(0.05)
    time.sleep(2.0)
    [leader] = replicas.leaders()
    assert leader in names


async def test_the_lease_tells_people_who_leads_and_how_often_that_changed(replicas: Replicas) -> None:
    replicas.start("first")
    replicas.wait_for_a_write("first")
    client = KubernetesCluster(await log_in(replicas._kubeconfig))
    lease = await client.get(LEASE, "default", replicas.lease)
    assert (lease["spec"]["holderIdentity"], lease["spec"]["leaseTransitions"]) == ("first", 0)
    acquired = lease["spec"]["acquireTime"]
    replicas.start("second")
    for _ in range(300):
        later = await client.get(LEASE, "default", replicas.lease)
        if later != lease:
            break
        await asyncio.sleep(0.2)
    assert later["spec"]["acquireTime"] == acquired
    assert later["spec"]["renewTime"] > lease["spec"]["renewTime"]
    stopped = replicas.send("first", signal.SIGTERM)
    replicas.wait_for_a_write("second", stopped)
    after = await client.get(LEASE, "default", replicas.lease)
    assert (after["spec"]["holderIdentity"], after["spec"]["leaseTransitions"]) == ("second", 1)
    await client.close()


class CarriedOutUnheard(KubernetesCluster):
    """The API server carries out the request named last, but its answer never comes."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.unheard, self.carried_out = "", asyncio.Event()

    async def create(self, body: JsonObject) -> JsonObject:
        return await self._hear("create", await super().create(body))

    async def apply(self, body: JsonObject, *, force: bool = True, uid: str | None = None) -> JsonObject:
        return await self._hear("apply", await super().apply(body, force=force, uid=uid))

    async def _hear(self, request: str, answer: JsonObject) -> JsonObject:
        if request != self.unheard:
            return answer
        self.unheard = ""
        self.carried_out.set()
        return await asyncio.Future()


async def test_a_leader_whose_machine_slept_starts_no_write_and_stands_for_election_again(control_plane: Any) -> None:
    slept = 0.0
    terms: asyncio.Queue[str] = asyncio.Queue()

    async def lead() -> None:
        terms.put_nowait("begun")
        try:
            await asyncio.Future()
        finally:
            terms.put_nowait("ended")

    client = KubernetesCluster(await log_in(control_plane.kubeconfig))
    name = f"lease-{uuid4().hex[:8]}"
    election = Election(client, "default", name, "me", terms=TERMS, clock=lambda: boottime() + slept)
    standing = asyncio.ensure_future(election.run(lead))
    assert await asyncio.wait_for(terms.get(), 30.0) == "begun"
    assert election.leading()
    slept = TERMS.duration
    assert not election.leading()
    assert await asyncio.wait_for(terms.get(), 30.0) == "ended"
    assert await asyncio.wait_for(terms.get(), 30.0) == "begun"
    standing.cancel()
    await asyncio.wait([standing])
    await client.close()


@pytest.mark.parametrize("request_under_way", ["create", "apply"])
async def test_a_leader_that_stops_with_a_request_under_way_leaves_a_free_lease(
    control_plane: Any, request_under_way: str
) -> None:
    """A term's first write or its renewal is stored as the replica is told to stop; nobody waits for its end."""
    client = CarriedOutUnheard(await log_in(control_plane.kubeconfig))
    client.unheard = request_under_way
    name = f"lease-{uuid4().hex[:8]}"
    standing = asyncio.ensure_future(Election(client, "default", name, "me", terms=TERMS).run(asyncio.Event().wait))
    await asyncio.wait_for(client.carried_out.wait(), 30.0)
    assert (await client.get(LEASE, "default", name))["spec"]["holderIdentity"] == "me"
    standing.cancel()
    await asyncio.wait([standing])
    assert not (await client.get(LEASE, "default", name))["spec"].get("holderIdentity")
    await client.close()
