"""Every reason was thought of: it has advice, or none is needed."""

import pytest

from serin.api.conditions import Reason
from serin.explain.advice import ADVICE, NOTHING_TO_DO, advice


def test_every_reason_was_thought_of() -> None:
    assert set(ADVICE) | NOTHING_TO_DO == set(Reason)
    assert not set(ADVICE) & NOTHING_TO_DO


@pytest.mark.parametrize("reason", ADVICE)
def test_advice_names_what_the_user_typed(reason: str) -> None:
    said = advice(reason, "fraud", "shop", "kubectl serin")
    assert said
    assert "{" not in said
    assert "serin.dev/" not in said.replace("serin.dev/model-deployment", "")


def test_a_reason_of_a_newer_operator_is_no_error() -> None:
    assert advice("SomethingNew", "fraud", "shop", "serin") == ""
