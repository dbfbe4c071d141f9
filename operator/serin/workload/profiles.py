"""Runtime profiles: how each kind of model server says that its *model* is loaded, not only that the server is up.

A server that is up without its model answers every prediction with an error, so readiness is asked of the model.
A new runtime is a line in the table.
"""

from collections.abc import Mapping
from typing import Final

# Path that answers 200 once the model is loaded; {model} is the model's name. None: the profile knows no such path.
# KServe, MLServer and Triton all serve the Open Inference Protocol ("V2").
_OPEN_INFERENCE: Final = "/v2/models/{model}/ready"
_READY_PATHS: Final[Mapping[str, str | None]] = {
    "generic": None,
    "openInference": _OPEN_INFERENCE,
    "mlserver": _OPEN_INFERENCE,
    "kserve": _OPEN_INFERENCE,
    "triton": _OPEN_INFERENCE,
}


def ready_path(runtime: str, model: str) -> str | None:
    """HTTP path on the serving port that answers 200 once `model` is loaded; None when the runtime has none."""
    path = _READY_PATHS[runtime]
    return path.format(model=model) if path else None
