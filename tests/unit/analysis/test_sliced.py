"""Slices of the requests: the worst one decides, on the promise of the whole."""

import random
from dataclasses import replace

import pytest

from serin.analysis import engine
from serin.analysis.measured import reading
from serin.analysis.sliced import JUDGEMENTS, MOST
from serin.analysis.types import Arm, Judgement, Policy, RatioTick, SlicedTick
from serin.api.verdicts import FAILURES, Against, Severity, Verdict

ALPHA = 0.05
POLICY = Policy(
    "missed",
    Severity.MAJOR,
    alpha_minor=ALPHA / JUDGEMENTS,
    alpha_critical=0.01 / JUDGEMENTS,
    by="country",
    slice_requests=100,
    expected_ticks=60,
)
LIMIT = replace(POLICY, against=Against.LIMIT, limit=0.1)
Counts = dict[str, tuple[int, int, int, int]]  # requests and bad ones of the candidate, and of stable


def tick(at: float, slices: Counts) -> SlicedTick:
    whole = [sum(one[place] for one in slices.values()) for place in range(4)]
    arms = {name: (Arm(*one[:2]), Arm(*one[2:])) for name, one in slices.items()}
    return SlicedTick(at, RatioTick(at, Arm(*whole[:2]), Arm(*whole[2:])), arms)


def looks(slices: Counts, policy: Policy = POLICY, count: int = 10, before: Judgement | None = None) -> Judgement:
    found = before
    start = float(found.evidence["at"]) if found else 0.0  # type: ignore[arg-type]
    for look in range(1, count + 1):
        found = engine.fold(policy, found.evidence if found else None, tick(start + look, slices))
    assert found
    return found


GOOD = (100, 2, 100, 2)
BAD = (20, 10, 20, 0)


def test_a_slice_that_is_worse_fails_though_the_whole_is_well() -> None:
    slices = {"de": (1_000, 20, 1_000, 20), "fr": (1_000, 20, 1_000, 20), "pt": BAD}
    found = looks(slices).verdict
    assert found.verdict is Verdict.FAIL_MINOR
    assert found.message.startswith("country pt: 50.0% of the candidate's requests failed (100 of 200)")
    assert "; on the whole: 2.5% of the candidate's requests failed" in found.message
    assert found.requests == 20_200, "of the whole"
    whole = engine.fold(POLICY, None, RatioTick(1.0, Arm(20_200, 500), Arm(20_200, 400)))
    assert whole.verdict.verdict not in FAILURES, "without slices it would not be seen"


def test_what_is_needed_is_of_the_whole() -> None:
    slices, policy = {"de": (200, 1, 200, 10), "pt": BAD}, replace(POLICY, minimum_detectable_effect=1.1)
    found, whole = None, None
    for at in range(6):
        both = tick(float(at), slices)
        found = engine.fold(policy, found.evidence if found else None, both)
        whole = engine.fold(policy, whole.evidence if whole else None, both.whole)
    assert found
    assert whole
    assert whole.verdict.verdict not in FAILURES
    assert found.verdict.verdict in FAILURES
    assert found.verdict.needed == whole.verdict.needed != 0


def test_of_two_that_fail_the_one_that_fails_critically_is_named_though_it_has_less_evidence() -> None:
    slices = {"de": (20_000, 740, 20_000, 400), "pt": BAD}
    found = looks(slices, replace(POLICY, severity=Severity.CRITICAL)).verdict
    assert found.verdict is Verdict.FAIL_CRITICAL
    assert found.message.startswith("country pt")
    assert looks({"de": slices["de"]}).verdict.log_e > found.log_e


def test_how_many_values_count_in_the_whole_alone_is_the_most_that_one_look_had() -> None:
    many = looks({f"c{number}": GOOD for number in range(MOST + 4)}, count=1)
    assert "(4 more count in the whole alone)" in looks({"c0": GOOD}, count=1, before=many).verdict.message


def test_a_slice_with_few_requests_decides_nothing() -> None:
    slices = {"de": (1_000, 20, 1_000, 20), "pt": (9, 9, 20, 0)}
    found = looks(slices).verdict
    assert found.verdict is Verdict.PASS
    assert found.message.endswith("no country is proven worse, of 1 with enough requests")
    assert looks(slices, replace(POLICY, slice_requests=50)).verdict.verdict is Verdict.FAIL_MINOR


def test_a_slice_that_stable_does_not_have_is_compared_with_nothing() -> None:
    """As of a label that names pods: each pod is of one version."""
    found = looks({"pod-1": (300, 6, 0, 0), "pod-2": (0, 0, 300, 6)}).verdict
    assert "; no value of country has 100 requests of the candidate, and any of stable, yet" in found.message


def test_of_two_that_fail_the_one_with_more_evidence_is_named() -> None:
    found = looks({"de": (1_000, 20, 1_000, 20), "es": (20, 8, 20, 0), "pt": (200, 100, 200, 4)}).verdict
    assert found.message.startswith("country pt: ")


def test_a_failure_of_the_whole_names_the_slices_it_comes_from() -> None:
    critical = replace(POLICY, severity=Severity.CRITICAL)
    found = looks({"de": (500, 10, 500, 10), "pt": (500, 250, 500, 10)}, critical).verdict
    assert found.verdict is Verdict.FAIL_CRITICAL
    assert found.message.endswith("; also of country pt")


def test_as_many_slices_are_kept_as_the_promise_is_split_over_the_largest_first() -> None:
    slices = {f"c{number:02}": (10 + number, 0, 10, 0) for number in range(MOST + 4)}
    found = looks(slices, count=1)
    kept = found.evidence["slices"]
    assert isinstance(kept, dict)
    assert sorted(kept) == [f"c{number:02}" for number in range(4, MOST + 4)]
    later = looks({"zz": (9_999, 0, 10, 0), **slices}, count=3, before=found)
    assert sorted(later.evidence["slices"]) == sorted(kept), "the first ones stay"  # type: ignore[arg-type]
    assert later.verdict.message.endswith(
        " requests of the candidate, and any of stable, yet (5 more count in the whole alone)"
    )


def test_slices_are_the_largest_of_both_versions_when_the_candidate_has_had_few_requests() -> None:
    """At the first look it has some of the small values, and none of half of the large ones."""
    large = {f"large{number}": (number % 2, 0, 100, 0) for number in range(MOST)}
    small = {f"small{number:03}": (1, 1, 1, 0) for number in range(500)}
    found = looks({**small, **large}, count=1)
    assert sorted(found.evidence["slices"]) == sorted(large)  # type: ignore[arg-type]


def test_the_values_of_another_label_are_other_slices_of_the_same_whole() -> None:
    found = looks({"de": (1_000, 20, 1_000, 20), "pt": BAD})
    assert found.verdict.verdict in FAILURES
    tenants = replace(POLICY, by="tenant")
    assert engine.judge(tenants, found.evidence).verdict is Verdict.NO_DATA
    later = looks({"acme": GOOD}, tenants, count=1, before=found)
    assert later.evidence["slices"].keys() == {"acme"}  # type: ignore[union-attr]
    assert later.verdict.requests == found.verdict.requests + 100
    assert later.verdict.verdict not in FAILURES


def test_when_the_first_request_failed_is_kept_of_the_whole() -> None:
    found = looks({"de": (100, 0, 100, 0)}, count=2)
    assert engine.first_bad(found.evidence) is None
    assert engine.first_bad(looks({"de": GOOD}, count=1, before=found).evidence) == 3.0


def test_against_a_limit_each_slice_must_keep_it() -> None:
    found = looks({"de": (1_000, 20, 0, 0), "pt": (50, 20, 0, 0)}, LIMIT).verdict
    assert found.verdict is Verdict.FAIL_MINOR
    assert found.message.startswith("country pt: 40.0% of the candidate's requests failed")


def test_what_is_asked_anew_begins_anew() -> None:
    found = looks({"de": GOOD})
    asked = engine.judge(LIMIT, found.evidence)
    assert asked.verdict is Verdict.NO_DATA
    assert looks({"de": GOOD}, LIMIT, count=1, before=found).evidence["of"] == "limit"


def test_evidence_reads_as_it_was_written_and_is_small() -> None:
    found = looks({f"c{number}": GOOD for number in range(20)})
    assert engine.judge(POLICY, found.evidence) == found.verdict
    assert len(str(found.evidence)) < 12_000
    known = found.evidence["slices"]
    assert isinstance(known, dict)
    more = {**known, "one more": next(iter(known.values()))}
    for broken in ({"slices": more}, {"slices": {"de": 1}}, {"whole": None}, {"of": "latency"}):
        assert engine.judge(POLICY, {**found.evidence, **broken}).verdict is Verdict.NO_DATA


def test_a_record_is_of_the_whole() -> None:
    measured = reading(looks({"de": GOOD, "pt": BAD}).evidence)
    assert measured
    assert (measured.requests, measured.unit) == (1_200, "share")


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.more) for seed in range(1, 4))])
def test_a_healthy_version_keeps_the_promise_over_all_slices(seed: int) -> None:
    """50 rollouts of 40 looks at a time, 9 judgements each: at most 5% false, so of 50 no more than 8 (99.9%)."""
    dice, failed = random.Random(seed), 0

    def arm(requests: int) -> tuple[int, int]:
        return requests, sum(dice.random() < 0.05 for _ in range(requests))

    for _ in range(50):
        found = None
        for look in range(1, 41):
            slices = {f"c{place}": (*arm(8 + place), *arm(8 + place)) for place in range(MOST)}
            found = engine.fold(POLICY, found.evidence if found else None, tick(float(look), slices))
            if found.verdict.verdict in FAILURES:
                failed += 1
                break
    assert failed <= 8
