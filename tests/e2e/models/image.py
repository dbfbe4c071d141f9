"""The model server's image: Debian's Python, MLServer and ONNX Runtime, the trained models, and the server's files."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from tests.cluster import cache, debian, recipes
from tests.cluster.images import Entry, Image, Layer, Run, build_image, cached_layer, tree
from tests.e2e.models.train import trained

LOCK = Path(__file__).parent / "requirements.txt"
SERVER = Path(__file__).parent / "server"
PORT = 8080
METRICS_PORT = 8082

SETTINGS = (
    ("MLSERVER_HOST", "0.0.0.0"),
    ("MLSERVER_HTTP_PORT", str(PORT)),
    ("MLSERVER_METRICS_PORT", str(METRICS_PORT)),
    ("MLSERVER_PARALLEL_WORKERS", "0"),  # one process: a worker more would double the memory
    ("MLSERVER_DEBUG", "false"),  # or there is a log line for each request
    ("OMP_NUM_THREADS", "1"),
    ("OPENBLAS_NUM_THREADS", "1"),
)


def model_image(tag: str | None = None, build: str = "") -> Image:
    """Return the server with every version of the model; SERIN_MODEL_URI or SERIN_MODEL_VERSION chooses one.

    It serves `/v2/models/fraud/infer` on port 8080 and MLServer's own metrics on 8082. `build`: another image, which
    does the same.
    """
    layers = [
        debian.base_layer(),
        recipes.dependency_layer("model-server", LOCK),
        _models_layer(trained()),
        recipes.program_layer("model-server", SERVER, "app/server"),
    ]
    environment = {**dict(recipes.PYTHON_ENVIRONMENT), **dict(SETTINGS), "PYTHONPATH": "/app/server:/app/lib"}
    environment |= {"BUILD": build} if build else {}
    start = ("python3", "-c", "from mlserver.cli import main; main()", "start", "/app/server")
    return build_image("model-server", layers, Run(entrypoint=start, environment=tuple(environment.items())), tag)


def _models_layer(models: Path) -> Layer:
    def make(scratch: Path) -> Iterator[Entry]:
        shutil.copytree(models, scratch / "models")
        yield from tree(scratch / "models", "app/models")

    return cached_layer("models", cache.digest(models.name), make)
