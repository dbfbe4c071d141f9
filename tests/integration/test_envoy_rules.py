"""Rules on a real Envoy: which requests reach which version, by header and by cookie, and what is counted."""

from dataclasses import replace
from pathlib import Path

from serin.api.split import Rule
from tests.integration.envoy_rig import CANDIDATE, STABLE, Rig, model, rig


async def route(it: Rig, *rules: Rule) -> None:
    """All other requests go to stable."""
    wanted = replace(model(it.port, (it.stable,), (it.candidate,), 0), rules=rules)
    it.xds.update([wanted])
    await it.served(wanted)


async def answered_by(it: Rig, headers: dict[str, str]) -> set[str]:
    seen = await it.send(20, headers=headers)
    return {name for name in (STABLE, CANDIDATE) if seen[name]}


async def test_a_cohort_is_sent_to_its_version_and_nobody_else(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        await route(it, Rule(CANDIDATE, headers={"x-beta": "true"}, cookies={"group": "beta (1)"}))
        both = {"x-beta": "true", "cookie": "session=7; group=beta (1); theme=dark"}
        assert await answered_by(it, both) == {CANDIDATE}
        assert await answered_by(it, {**both, "x-beta": "truer"}) == {STABLE}
        assert await answered_by(it, {**both, "cookie": "session=7; group=beta (12)"}) == {STABLE}
        assert await answered_by(it, {"x-beta": "true"}) == {STABLE}
        assert await answered_by(it, {}) == {STABLE}
        it.candidate.error_share = 1.0
        seen = await it.send(20, headers=both)
        assert (seen["200"], seen["shielded"]) == (20, 20)


async def test_a_cookie_is_matched_whole_wherever_it_stands(tmp_path: Path) -> None:
    same = ("a.b=1", "x=2; a.b=1", "a.b=1;x=2", "x=2;a.b=1; y=3", " a.b=1 ")
    others = ("a.b=12", "xa.b=1", "axb=1", "x=a.b=1", "a.b=2")
    async with rig(tmp_path) as it:
        await route(it, Rule(CANDIDATE, cookies={"a.b": "1"}))
        for cookies, name in ((same, CANDIDATE), (others, STABLE)):
            for cookie in cookies:
                assert await answered_by(it, {"cookie": cookie}) == {name}, cookie


async def test_the_longest_cookies_that_the_schema_allows_are_matched(tmp_path: Path) -> None:
    cookies = {f"{number}".rjust(64, "n"): f"{number}".rjust(256, "v") for number in range(8)}
    said = [f"{name}={value}" for name, value in cookies.items()]
    async with rig(tmp_path) as it:
        await route(it, Rule(CANDIDATE, cookies=cookies))
        assert await answered_by(it, {"cookie": "; ".join(said)}) == {CANDIDATE}
        assert await answered_by(it, {"cookie": "; ".join(said[1:])}) == {STABLE}


async def test_who_tries_a_version_sees_what_it_does(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        await route(it, Rule(CANDIDATE, headers={"x-serin-preview": "true"}, preview=True))
        it.candidate.error_share = 1.0
        seen = await it.send(20, headers={"x-serin-preview": "true"})
        assert (seen["500"], seen[CANDIDATE]) == (20, 20)
        assert (await it.send(20))[STABLE] == 20
