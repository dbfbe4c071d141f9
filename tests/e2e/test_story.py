"""What a user types and reads, from the first manifest on. The output is in the test's log: read it as a user would."""

import json

import pytest

from tests.e2e.fraud import NAME
from tests.e2e.install import Installation
from tests.e2e.models.image import PORT
from tests.e2e.models.train import Cases
from tests.e2e.shop import Shop
from tests.e2e.traffic import Traffic

SMALLEST = """
apiVersion: serin.dev/v1alpha1
kind: ModelDeployment
metadata: {{name: fraud}}
spec:
  template:
    spec:
      containers:
      - name: model
        image: {image}
        ports: [{{containerPort: 8080}}]
"""


@pytest.mark.timeout(900)
def test_ten_lines_give_a_safe_rollout(serin: Installation, cases: Cases) -> None:
    name = "story"
    serin.cluster.kubectl("create", "namespace", name)
    shop = Shop(serin.cluster, name)
    manifest = SMALLEST.format(image=serin.model)
    assert len(manifest.strip().splitlines()) <= 10
    shop.kubectl("apply", "-f", "-", body=manifest)
    shop.kubectl("wait", "--for=condition=Ready", "md/fraud", "--timeout=110s")
    with Traffic(f"http://{shop.address(NAME)}:{PORT}", cases, rate=20) as traffic:
        traffic.settle()
        shop.kubectl("apply", "-f", "-", body=manifest.replace(serin.model, "serin.test/none:1"))
        shop.wait(NAME, "starting", lambda one: one.get("reason") == "CandidateStarting")
        columns = shop.kubectl("get", "md", NAME)
        print(columns)
        assert columns.split("\n")[0].split() == [
            *("NAME", "STABLE", "CANDIDATE", "WEIGHT", "STEP", "VERDICT", "READY", "REASON", "AGE"),
        ]
        assert "CandidateStarting" in columns
        # Back in Git, back in the cluster: no steps.
        shop.kubectl("apply", "-f", "-", body=manifest)
        shop.wait(NAME, "settled", lambda one: one.get("phase") == "Healthy" and not one.get("candidate"))
    words = ("Serving", "RolloutStarted", "SpecBackToStable")
    # Events are written after what they tell about.
    shop.until(f"story with {words}", lambda: all(word in shop.story(NAME) for word in words))
    print(shop.story(NAME))
    assert traffic.stop().failures == 0
    shop.kubectl("delete", "md", NAME)
    # The garbage collector goes from owner to owner: the slices of a Service go after the Service.
    kinds = "endpointslices,services,deployments,replicasets,pods,msnap"
    shop.until("empty namespace", lambda: not json.loads(shop.kubectl("get", kinds, "-o", "json"))["items"])
    serin.cluster.kubectl("delete", "namespace", name, "--wait=false")
