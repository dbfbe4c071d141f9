"""Pods of public charts, as a Deployment has them and as a version of a ModelDeployment: they differ as documented."""

import pytest

from serin.api.parse import content_of
from serin.cli.lint.schema import defaulted
from serin.workload.render import Owner, deployment
from tests.pods import CASES, meaning, spec_of, without_additions


@pytest.mark.parametrize("case", CASES)
def test_a_public_pod_template_is_kept(case: str) -> None:
    body = {"apiVersion": "serin.dev/v1alpha1", "kind": "ModelDeployment", "metadata": {"name": case}}
    content = content_of(defaulted({**body, "spec": spec_of(case)})["spec"])
    made = deployment(Owner("shop", case, "uid"), f"{case}-x", content, replicas=1, role="stable")["spec"]["template"]
    given = CASES[case]["template"]
    assert meaning(without_additions(made, given)) == meaning(given)
