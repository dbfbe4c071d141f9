"""A user keeps a version on the real Envoy: while the split stands, when it changes, and when Envoy restarts."""

import asyncio
from collections import Counter
from dataclasses import replace
from http.cookies import SimpleCookie
from pathlib import Path

from serin.api.split import Sticky
from serin.routers.envoy.routed_model import RoutedModel
from tests.integration.envoy_rig import CANDIDATE, STABLE, Rig, eventually, model, rig

USERS = [f"user-{number}" for number in range(500)]
BY_HEADER = Sticky(header="x-user-id", salt="test-1")
BY_COOKIE = Sticky(cookie="serin-ab", ttl=3600, salt="test-1")


async def route(it: Rig, weight: int, sticky: Sticky | None) -> RoutedModel:
    wanted = replace(model(it.port, (it.stable,), (it.candidate,), weight), sticky=sticky)
    it.xds.update([wanted])
    await it.served(wanted)
    await it.envoy.listens(wanted)
    return wanted


async def versions(it: Rig, headers: dict[str, dict[str, str]]) -> dict[str, str]:
    """Which snapshot answers each user."""
    found = {}
    slots = asyncio.Semaphore(20)

    async def ask(user: str) -> None:
        async with slots, it.client.post(it.url + "/predict", data=b"{}", headers=headers[user]) as response:
            await response.read()
            assert response.status == 200
            found[user] = response.headers["x-serin-snapshot"]

    await asyncio.gather(*map(ask, headers))
    return found


def moved(before: dict[str, str], after: dict[str, str]) -> dict[str, tuple[str, str]]:
    """Every user that has another version now, by name."""
    return {user: (before[user], after[user]) for user in before if before[user] != after[user]}


async def test_500_users_keep_their_version_when_the_split_changes_and_envoy_restarts(tmp_path: Path) -> None:
    keys = {user: {"x-user-id": user} for user in USERS}
    async with rig(tmp_path) as it:
        wanted = await route(it, 20, BY_HEADER)
        first = await versions(it, keys)
        assert 60 < Counter(first.values())[CANDIDATE] < 140, "about 20 %"
        assert moved(first, await versions(it, keys)) == {}

        wanted = await route(it, 50, BY_HEADER)
        grown = await versions(it, keys)
        went = moved(first, grown)
        print(f"20 % to 50 %: {len(went)} of 500 users moved: {sorted(went)}")
        assert set(went.values()) == {(STABLE, CANDIDATE)}, "a share that grows takes users and gives none away"
        assert 200 < Counter(grown.values())[CANDIDATE] < 300

        await it.envoy.stop()
        await it.envoy.start()
        await it.envoy.ready()
        await it.envoy.listens(wanted)
        assert moved(grown, await versions(it, keys)) == {}

        await route(it, 20, BY_HEADER)
        assert moved(first, await versions(it, keys)) == {}, "and back to just the same"
        other = replace(BY_HEADER, salt="test-2")
        await route(it, 20, other)
        assert moved(first, await versions(it, keys)), "another test draws anew"


THIRD = "fraud-c"


async def test_an_arm_that_is_out_gives_its_users_to_stable_and_moves_no_others(tmp_path: Path) -> None:
    keys = {user: {"x-user-id": user} for user in USERS}
    sticky = replace(BY_HEADER, arms=(CANDIDATE, THIRD))

    async def routed(it: Rig, second: int, third: int) -> dict[str, str]:
        wanted = replace(model(it.port, (it.stable,), (it.candidate,), second), sticky=sticky)
        stable, other = (wanted.arm(one) for one in (STABLE, CANDIDATE))
        assert stable is not None
        assert other is not None
        arms = (replace(stable, weight=100 - second - third), other, replace(other, snapshot=THIRD, weight=third))
        wanted = replace(wanted, arms=arms)
        it.xds.update([wanted])
        await it.served(wanted)
        await it.envoy.listens(wanted)
        return await versions(it, keys)

    async with rig(tmp_path) as it:
        first = await routed(it, 20, 20)
        counts = Counter(first.values())
        assert 60 < counts[CANDIDATE] < 140, "about 20 %"
        assert 60 < counts[THIRD] < 140, "about 20 %"
        without = moved(first, await routed(it, 0, 20))
        assert set(without.values()) == {(CANDIDATE, STABLE)}
        assert len(without) == counts[CANDIDATE]
        grown = moved(first, await routed(it, 40, 40))
        assert set(grown.values()) == {(STABLE, CANDIDATE), (STABLE, THIRD)}, "stable's users alone move"


async def test_requests_without_the_key_go_to_stable_and_are_not_counted(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        await route(it, 50, BY_HEADER)
        for headers in ({}, {"x-user-id": ""}):
            seen = await it.send(50, headers=headers)
            assert (seen["200"], seen[STABLE]) == (50, 50)
        unkeyed = {"serin_snapshot": STABLE, "serin_attempt": "unkeyed"}
        await eventually(lambda: it.envoy.count("envoy_serin_attempts", **unkeyed), lambda count: count == 100)
        assert await it.envoy.count("envoy_serin_attempts", serin_attempt="first") == 0
        await versions(it, {user: {"x-user-id": user} for user in USERS[:100]})
        await eventually(
            lambda: it.envoy.count("envoy_serin_attempts", serin_attempt="first"), lambda count: count == 100
        )


async def test_what_the_candidate_fails_is_still_answered_by_stable(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        await route(it, 50, BY_HEADER)
        it.candidate.error_share = 1.0
        seen: Counter[str] = Counter()
        for user in USERS[:60]:
            seen += await it.send(1, headers={"x-user-id": user})
        assert seen["200"] == 60
        assert seen["shielded"] == it.candidate.truth["failed"] > 10


async def test_a_cookie_is_given_to_whom_has_none_and_keeps_the_version(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        await route(it, 50, BY_COOKIE)
        cookies = {}
        for number in range(60):
            async with it.client.post(it.url + "/predict", data=b"{}", headers={"cookie": "a=b"}) as response:
                assert response.headers["x-serin-snapshot"] == STABLE, "not in the test yet"
                given = SimpleCookie(response.headers["set-cookie"])["serin-ab"]
                assert (given["max-age"], given["path"]) == ("3600", "/")
                cookies[f"client-{number}"] = {"cookie": f"a=b; serin-ab={given.value}; c=d"}
        it.client.cookie_jar.clear()
        first = await versions(it, cookies)
        assert 15 < Counter(first.values())[CANDIDATE] < 45
        reordered = {user: {"cookie": f"c=e; {one['cookie'].split('; ')[1]}"} for user, one in cookies.items()}
        assert moved(first, await versions(it, reordered)) == {}, "other cookies do not matter"
        forged = {user: {**one, "x-serin-user": "somebody"} for user, one in cookies.items()}
        assert moved(first, await versions(it, forged)) == {}, "nor does a header that a client makes up"


async def test_no_cookie_header_keeps_a_thread_of_envoy_busy(tmp_path: Path) -> None:
    """One that no pattern matches, as long as headers may be: whoever else is answered by that thread would wait."""
    async with rig(tmp_path) as it:
        await route(it, 50, BY_COOKIE)
        for cookie in ("a" * 50_000, "a;" * 25_000, "; " * 25_000, f"a{' ' * 50_000}b"):
            async with asyncio.timeout(5.0):
                seen = await it.send(1, headers={"cookie": cookie})
            assert (seen["200"], seen[STABLE]) == (1, 1)
