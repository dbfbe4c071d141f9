"""A split says who gets which request, in a form that survives JSON; what is no split is never carried further."""

from typing import Any

import pytest

from serin.api.split import NOWHERE, Mirror, Rule, Split, Sticky, all_to, between, lowered, read_split, write_split

BETA = Rule("fraud-b", headers={"x-beta": "true"}, cookies={"group": "beta"})
PREVIEW = Rule("fraud-b", headers={"x-serin-preview": "true"}, preview=True)


ARMS = ("fraud-b", "fraud-c", "fraud-d")
STICKY = [
    Sticky(header="x-user-id", salt="fraud-b"),
    Sticky(cookie="serin-ab", ttl=3600),
    Sticky(header="x-user-id", arms=ARMS),
]


@pytest.mark.parametrize(
    "split",
    [
        NOWHERE,
        between("fraud-a", "fraud-b", 5),
        Split({"fraud-a": 100}, (BETA, PREVIEW)),
        *(Split({"fraud-a": 40, "fraud-b": 30, "fraud-c": 30}, sticky=one) for one in STICKY),
    ],
)
def test_it_survives_json(split: Split) -> None:
    assert read_split(write_split(split)) == split


def test_without_rules_it_is_its_weights() -> None:
    assert write_split(all_to("fraud-a")) == {"weights": {"fraud-a": 100}}


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"weights": {"fraud-a": 50}},
        {"weights": {"fraud-a": "all"}},
        {"weights": {"fraud-a": 100}, "rules": [{}]},
        {"weights": {"fraud-a": 100}, "rules": [{"snapshot": "fraud-b"}]},
        {"weights": {"fraud-a": 100}, "rules": 3},
        {"weights": {"fraud-a": 100}, "sticky": {"salt": "only"}},
        {"weights": {"fraud-a": 100}, "sticky": {"header": "x-user-id", "cookie": "both"}},
        {"weights": {"fraud-a": 100}, "sticky": {"cookie": 'ends a text"'}},
        {"weights": {"fraud-a": 100}, "sticky": 3},
        {"weights": {"fraud-a": 100}, "mirror": 20},
        {"weights": {"fraud-a": 100}, "mirror": {"snapshot": "fraud-b"}},
        {"weights": {"fraud-a": 100}, "mirror": {"snapshot": "fraud-b", "percent": 200}},
        {"weights": {}, "mirror": {"snapshot": "fraud-b", "percent": 20}},
        {"weights": {}, "rules": [{"snapshot": "fraud-b", "headers": {"x": "y"}}]},
        [],
    ],
)
def test_what_is_no_split_is_refused(told: Any) -> None:
    with pytest.raises(ValueError, match=r"split|sum|rule|literal|sticky|cookie|copies"):
        read_split(told)


def test_a_rule_reaches_a_snapshot_that_has_no_weight() -> None:
    split = Split({"fraud-a": 100}, (BETA,))
    assert split.reached() == ("fraud-a", "fraud-b")
    assert (split.of("fraud-b"), split.has_clients("fraud-b")) == (0, True)
    assert not split.is_all_to("fraud-a")
    assert split.is_all_to("fraud-b") is False


def test_a_mirror_reaches_a_snapshot_and_sends_it_no_client() -> None:
    split = Split({"fraud-a": 100}, mirror=Mirror("fraud-b", 20))
    assert split.reached() == ("fraud-a", "fraud-b")
    assert (split.of("fraud-b"), split.has_clients("fraud-b"), split.is_asked("fraud-b")) == (0, False, True)
    assert not split.is_asked("fraud-c")
    assert not split.is_all_to("fraud-a")
    assert read_split(write_split(split)) == split


@pytest.mark.parametrize("percent", [0, -5, 101])
def test_a_mirror_copies_some_of_the_requests(percent: int) -> None:
    with pytest.raises(ValueError, match="copies 1 to 100 percent"):
        Mirror("fraud-b", percent)


def test_people_who_try_a_snapshot_are_no_clients_of_it() -> None:
    split = Split({"fraud-a": 100}, (PREVIEW,))
    assert split.reached() == ("fraud-a", "fraud-b")
    assert not split.has_clients("fraud-b")


def owners(split: Split) -> list[str]:
    """Who answers each percent of the users."""
    found: list[str] = []
    for below, snapshot in split.turns("fraud-a"):
        found += [snapshot] * (below - len(found))
    return found


def shared(*shares: int) -> Split:
    weights = {"fraud-a": 100 - sum(shares), **dict(zip(ARMS, shares, strict=True))}
    return Split(weights, sticky=Sticky(header="x-user-id", arms=ARMS))


@pytest.mark.parametrize("shares", [(20, 20, 20), (33, 33, 33), (1, 0, 5), (0, 0, 0), (33, 0, 0)])
def test_turns_are_the_weights(shares: tuple[int, int, int]) -> None:
    found = owners(shared(*shares))
    assert len(found) == 100
    assert tuple(found.count(arm) for arm in ARMS) == shares


def test_no_change_of_an_arm_moves_the_users_of_another() -> None:
    before, without, more = owners(shared(20, 20, 20)), owners(shared(20, 0, 20)), owners(shared(33, 33, 33))
    for was, gone, grown in zip(before, without, more, strict=True):
        assert gone == ("fraud-a" if was == "fraud-c" else was)
        assert grown == was or was == "fraud-a"


def test_what_has_no_part_of_its_own_has_its_weight_all_the_same() -> None:
    split = Split({"fraud-a": 20, "fraud-b": 80}, sticky=Sticky(header="x-user-id", arms=ARMS))
    assert split.turns("fraud-a") == ((80, "fraud-b"), (100, "fraud-a"))


def test_what_is_lowered_goes_to_stable_with_its_rules() -> None:
    split = Split({"fraud-a": 60, "fraud-b": 30, "fraud-c": 10}, (BETA,))
    assert lowered(split, {"fraud-b": 0}, "fraud-a") == Split({"fraud-a": 90, "fraud-c": 10})
    assert lowered(split, {"fraud-b": 50, "fraud-c": 5}, "fraud-a").weights == {
        "fraud-a": 65,
        "fraud-b": 30,
        "fraud-c": 5,
    }
