"""Runtime profiles: how each kind of model server says that its *model* is loaded, not only that the server is up.

A server that is up without its model answers every prediction with an error, so readiness is asked of the model. It is
asked over HTTP/1.1, as the kubelet's probes speak it. A model server that serves gRPC has another port for that.

A new runtime is a line in the table. It has none for servers that cannot be asked in this way: TensorFlow Serving and
TorchServe answer 200 about a model that is still loading, and vLLM listens only when its model is loaded.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from serin.api.serving import Protocol, Serving


@dataclass(frozen=True, slots=True)
class Health:
    """Where an HTTP request is answered with 200 once the model is loaded."""

    path: str
    port: int


@dataclass(frozen=True, slots=True)
class Inference:
    """Where an HTTP request is answered by the model. `path`: "" when the runtime does not say it."""

    path: str
    port: int


@dataclass(frozen=True, slots=True)
class _Profile:
    """`http_port`: the runtime's own default, None: it has none."""

    http_port: int | None = None


# The Open Inference Protocol ("V2"), which KServe's, MLServer's and Triton's servers speak too.
_OPEN_INFERENCE: Final = "/v2/models"
_PROFILES: Final[Mapping[str, _Profile | None]] = {
    "generic": None,
    "openInference": _Profile(),
    "mlserver": _Profile(8080),  # gRPC 8081, metrics 8082
    "kserve": _Profile(8080),  # gRPC 8081
    "triton": _Profile(8000),  # gRPC 8001, metrics 8002
}


def health(runtime: str, model: str, port: int, serving: Serving) -> Health | None:
    """Where a version says that `model` is loaded; `port`: where it serves. None when the runtime cannot say it."""
    profile = _PROFILES[runtime]
    if profile is None:
        return None
    return Health(f"{_OPEN_INFERENCE}/{model}/ready", _http_port(profile, port, serving))


def inference(runtime: str, model: str, port: int, serving: Serving) -> Inference:
    """Where `model` is asked for an answer over HTTP/1.1; `port`: where the version serves."""
    profile = _PROFILES[runtime]
    if profile is None:
        return Inference("", port)
    return Inference(f"{_OPEN_INFERENCE}/{model}/infer", _http_port(profile, port, serving))


def metadata(runtime: str, model: str, port: int, serving: Serving) -> Inference | None:
    """Where a version says which inputs and outputs `model` has; None when the runtime cannot say it."""
    profile = _PROFILES[runtime]
    return None if profile is None else Inference(f"{_OPEN_INFERENCE}/{model}", _http_port(profile, port, serving))


def _http_port(profile: _Profile, port: int, serving: Serving) -> int:
    own = profile.http_port if serving.protocol is Protocol.HTTP2 else port
    return serving.health_port or own or port
