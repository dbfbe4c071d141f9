"""What the folders promise."""

import operator
import re
from pathlib import Path

from serin.api.conditions import Reason

ROOT = Path(__file__).parents[2]


def test_the_standard_librarys_operator_is_not_shadowed() -> None:
    assert not (ROOT / "operator" / "__init__.py").exists()
    assert Path(operator.__file__).name == "operator.py"
    assert ROOT not in Path(operator.__file__).parents
    assert operator.add(2, 3) == 5


def test_every_reason_has_its_entry_in_the_docs_and_only_those() -> None:
    text = (ROOT / "docs" / "operations.md").read_text()
    documented = re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)
    assert len(documented) == len(set(documented)), "a reason is documented twice"
    assert set(documented) == {reason.value for reason in Reason}
