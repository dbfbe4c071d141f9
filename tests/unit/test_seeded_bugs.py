"""The bugs that tests/system puts into the operator still find their places: a change of a line moves its bug along."""

import pytest

from tests.system.bugs import BUGS, Bug


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_a_bug_has_one_place(bug: Bug) -> None:
    assert bug.path.read_text().count(bug.old) == 1
