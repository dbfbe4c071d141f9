"""`serin lint` says offline what the API server says: the same table of mistakes is asked of both.

tests/integration/test_crds.py sends every case of the table to a real API server, so that what is expected here is what
really happens there.
"""

from pathlib import Path
from typing import Any

import pytest
import yaml

from serin.cli.lint import check, rules, schema
from tests import crds
from tests.integration.test_crds import (
    ACCEPTED,
    BUILT_IN_REFUSED,
    REFUSED,
    TEMPLATES_REFUSED,
    _merge,
    smallest,
)
from tests.integration.test_crds import documents as sample

SAMPLES = crds.ROOT / "manifests" / "samples"
Json = dict[str, Any]


def lint(folder: Path, *bodies: Json) -> check.Report:
    file = folder / "given.yaml"
    file.write_text(yaml.safe_dump_all(bodies))
    return check.check([file])


def said(report: check.Report) -> list[str]:
    return [f"{one.path}: {one.message}" for one in report.findings if one.level == check.ERROR]


@pytest.mark.parametrize("case", REFUSED)
def test_every_mistake_that_the_api_server_refuses(case: str, tmp_path: Path) -> None:
    patch, words = REFUSED[case]
    found = said(lint(tmp_path, smallest("refused", patch)))
    assert any(all(word in one for word in words) for one in found), found


@pytest.mark.parametrize("case", TEMPLATES_REFUSED | BUILT_IN_REFUSED)
def test_every_mistake_in_a_metric_template(case: str, tmp_path: Path) -> None:
    patch, words = (TEMPLATES_REFUSED | BUILT_IN_REFUSED)[case]
    found = said(lint(tmp_path, _merge(sample("canary.yaml")[1], yaml.safe_load(patch))))
    assert any(all(word in one for word in words) for one in found), found


@pytest.mark.parametrize("case", ACCEPTED)
def test_what_the_api_server_accepts_is_not_refused_by_schema_and_rules(case: str) -> None:
    body = schema.defaulted(smallest("accepted", ACCEPTED[case]))
    problems = schema.problems(body)
    problems += rules.broken(body, schema.schema("ModelDeployment"), frozenset())
    assert problems == []
