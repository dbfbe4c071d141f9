"""The trained models that end-to-end tests serve: three real classifiers of one real data set, as ONNX files.

The data set is the one of 569 tumours and 30 features that scikit-learn ships (Street, Wolberg and Mangasarian, 1993);
here it stands for card payments. Training is deterministic. Beside the models lie the cases that clients send: rows
that no model has seen, with their true label. The few rows on which one of the models errs (15 of 169) are left out, so
that any wrong answer is the fault of the version that gave it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.cluster import cache
from tests.cluster.cache import say

VERSIONS = ("1", "2", "3")
SEED = 2026
HELD_OUT = 169
MINIMUM_ACCURACY = 0.92

_SOURCE = Path(__file__).read_bytes()
"""Of the code that runs, even when the file is edited meanwhile."""


@dataclass(frozen=True, slots=True)
class Cases:
    """What a client sends and must get: `rows` of 30 features each, and the true label (0 or 1) of each row."""

    rows: tuple[tuple[float, ...], ...]
    labels: tuple[int, ...]

    @classmethod
    def load(cls, models: Path) -> Cases:
        """Read the cases that belong to trained models."""
        data = json.loads((models / "cases.json").read_text())
        return cls(tuple(tuple(row) for row in data["rows"]), tuple(data["labels"]))


def trained() -> Path:
    """Return the folder with `1.onnx`, `2.onnx`, `3.onnx` and `cases.json`; trained once, for each change of this file.

    The versions of scikit-learn and of the converter are part of the key.
    """
    import skl2onnx
    import sklearn

    key = cache.digest(_SOURCE, sklearn.__version__, skl2onnx.__version__)
    return cache.entry("models", key, train)


def train(folder: Path) -> None:
    """Train every version into `folder`.

    Raises:
        ValueError: a model came out worse than any of these should.
    """
    from sklearn.datasets import load_breast_cancer
    from sklearn.model_selection import train_test_split

    say("training the models of the end-to-end tests (once)")
    features, target = load_breast_cancer(return_X_y=True)
    rows, held_out, labels, truth = train_test_split(
        features.astype(np.float32), target, test_size=HELD_OUT, random_state=SEED, stratify=target
    )
    answers = {}
    for version in VERSIONS:
        model = _classifier(version).fit(rows, labels)
        accuracy = model.score(held_out, truth)
        if accuracy < MINIMUM_ACCURACY:
            raise ValueError(f"version {version} is right on {accuracy:.1%} of unseen rows, not {MINIMUM_ACCURACY:.0%}")
        (folder / f"{version}.onnx").write_bytes(_onnx(model, held_out[:1]))
        answers[version] = model.predict(held_out)
    right = np.all([answers[version] == truth for version in VERSIONS], axis=0)
    cases = {"rows": held_out[right].tolist(), "labels": truth[right].tolist()}
    (folder / "cases.json").write_text(json.dumps(cases))


def _classifier(version: str) -> Any:
    from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if version == "1":
        return make_pipeline(StandardScaler(), LogisticRegression(max_iter=500))
    if version == "2":
        return RandomForestClassifier(n_estimators=60, random_state=SEED)
    return GradientBoostingClassifier(random_state=SEED)


def _onnx(model: Any, example: Any) -> bytes:
    """Convert; the input is called X, and probabilities are one table instead of a list of dictionaries."""
    from skl2onnx import to_onnx

    converted = to_onnx(model, example, options={"zipmap": False})
    converted.opset_import.sort(key=lambda opset: opset.domain)  # from a set: else another order in every process
    return bytes(converted.SerializeToString())
