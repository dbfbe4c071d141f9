"""The metric templates that read Envoy's series: which attempts are evidence."""

import re

import pytest

from serin.api.guard_record import TEMPLATES
from serin.routers.envoy.templates import templates


@pytest.mark.parametrize("name", sorted(templates()))
def test_every_query_leaves_out_what_is_no_fair_sample_and_says_so_once(name: str) -> None:
    # What the guard has recorded is told apart by field and label; its attempts are all first ones (guard/recorder.py).
    selectors = re.findall(r"{ ({{\.version}}.*?)(?:, field=.*?)? }", str(templates()[name]))
    attempts = '{{.version}}, serin_attempt!="shield", serin_attempt!="unkeyed"'
    # The guard looks at a request once, before any attempt, and compares answers once.
    others = ("invalid-inputs", "disagreements", "reviewed-wrong", *TEMPLATES)
    assert set(selectors) == {"{{.version}}" if name in others else attempts}
