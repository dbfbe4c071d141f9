"""What a peer has seen written lowers traffic, and raises none, whatever it says."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serin.api.split import NOWHERE, Mirror, Rule, Split, Sticky
from serin.routers.envoy.xds_written import Written, lower, read_written

PREVIEW = Rule("b", headers={"x-preview": "1"}, preview=True)
COHORT = Rule("b", headers={"x-team": "blue"})


@pytest.mark.parametrize(
    ("here", "newer", "served"),
    [
        ({"a": 80, "b": 20}, {"a": 100}, {"a": 100}),
        ({"a": 50, "b": 50}, {"a": 80, "b": 20}, {"a": 80, "b": 20}),
        ({"a": 60, "b": 20, "c": 20}, {"a": 80, "c": 20}, {"a": 80, "c": 20}),
        ({"b": 100}, {"a": 100}, {"a": 100}),  # everything was given to it, and it was not stable yet
        ({"a": 80, "b": 20}, {"a": 90, "d": 10}, {"a": 100}),  # overtaken by a version that is not known here
    ],
)
def test_what_a_newer_version_lowers_is_lowered(
    here: dict[str, int], newer: dict[str, int], served: dict[str, int]
) -> None:
    assert lower(Split(here), "a", Split(newer)).weights == served


@pytest.mark.parametrize(
    ("stable", "newer"),
    [
        ("a", {"a": 50, "b": 50}),  # raised
        ("a", {"b": 100}),  # promoted
        ("a", {"z": 100}),  # gone back further: "a" may have no pods
        ("a", {}),
        (None, {"a": 100}),  # no version is stable here yet
    ],
)
def test_nothing_else_changes_anything(stable: str | None, newer: dict[str, int]) -> None:
    here = Split({"a": 80, "b": 20})
    assert lower(here, stable, Split(newer)) == here


def test_rules_to_a_version_go_and_users_stay_where_they_are() -> None:
    sticky = Sticky(header="x-user")
    here = Split({"a": 80, "b": 20}, (PREVIEW, COHORT), sticky)
    assert lower(here, "a", Split({"a": 100})) == Split({"a": 100}, (), sticky)
    assert lower(here, "a", Split({"a": 90, "b": 10}, (PREVIEW,))) == Split({"a": 90, "b": 10}, (PREVIEW,), sticky)


@pytest.mark.parametrize(
    ("newer", "copies"),
    [(Mirror("b", 5), 5), (Mirror("b", 50), 20), (Mirror("c", 5), None), (None, None)],
)
def test_copies_are_lowered_too(newer: Mirror | None, copies: int | None) -> None:
    here = Split({"a": 100}, mirror=Mirror("b", 20))
    served = lower(here, "a", Split({"a": 100}, mirror=newer)).mirror
    assert (served and served.percent) == copies


def test_the_way_back_in_a_holdback_is_taken_and_nothing_else_of_the_version_before() -> None:
    here = Split({"b": 99, "a": 1})  # "b" is stable, and "a" was it before
    assert lower(here, "b", Split({"a": 100}), "a") == Split({"a": 100})
    assert lower(here, "b", Split({"b": 100}), "a") == Split({"b": 100})
    assert lower(here, "b", Split({"b": 90, "a": 10}), "a") == here
    assert lower(here, "b", Split({"a": 100})) == here, "it is not held back any more"


@st.composite
def _splits(draw: st.DrawFn) -> Split:
    cuts = sorted(draw(st.lists(st.integers(0, 100), min_size=2, max_size=2)))
    weights = dict(zip("abc", (cuts[0], cuts[1] - cuts[0], 100 - cuts[1]), strict=True))
    return Split(weights, tuple(draw(st.lists(st.sampled_from((PREVIEW, COHORT)), unique_by=str))))


@given(_splits(), _splits() | st.just(NOWHERE))
def test_no_version_but_stable_gets_more(here: Split, newer: Split) -> None:
    served = lower(here, "a", newer)
    assert all(served.of(one) <= here.of(one) for one in "bc")
    assert all(rule in here.rules for rule in served.rules)


def test_what_is_told_is_read_again_and_what_is_none_is_refused() -> None:
    written = Written("u", "7", Split({"a": 80, "b": 20}, (COHORT,)))
    assert read_written(written.told()) == written
    broken: list[dict[str, Any]] = [{}, {"uid": "u", "version": "7", "split": {"weights": {"a": 7}}}]
    for one in broken:
        with pytest.raises((KeyError, ValueError)):
            read_written(one)


def test_only_a_later_version_of_the_same_deployment_is_news() -> None:
    body = {"metadata": {"uid": "u", "resourceVersion": "9"}}
    news = {
        (uid, version): Written(uid, version, NOWHERE).is_news_about(body)
        for uid, version in (("u", "8"), ("u", "9"), ("u", "10"), ("other", "10"), ("u", "none"), ("u", "1" * 5000))
    }
    assert [one for one, is_news in news.items() if is_news] == [("u", "10"), ("u", "1" * 5000)]
