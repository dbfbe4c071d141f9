"""The golden probe of the models under test."""

import json
from typing import Any

from tests.e2e.models.train import Cases


def integrity(cases: Cases, **more: Any) -> dict[str, Any]:
    """A golden probe of four rows of each label, all of which every good version gets right."""
    chosen = [place for label in (0, 1) for place in _first(cases, label, 4)]
    rows = [cases.rows[place] for place in chosen]
    features = {"name": "features", "datatype": "FP32", "shape": [len(rows), len(rows[0])], "data": rows}
    labels = {"name": "label", "data": [cases.labels[place] for place in chosen]}
    # A list has all of its entries; what is not said of the second one is not compared.
    expected = {"outputs": [labels, {"name": "probability"}]}
    probe = {"name": "known-labels", "body": json.dumps({"inputs": [features]}), "expected": json.dumps(expected)}
    return {"goldenProbes": [{**probe, "tolerance": "0", "timeout": "10s", **more}], "every": "10s"}


def _first(cases: Cases, label: int, count: int) -> list[int]:
    return [place for place, one in enumerate(cases.labels) if one == label][:count]
