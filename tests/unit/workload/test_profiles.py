"""Where each kind of model server is asked for its model: over HTTP/1.1, so never at a port that speaks gRPC."""

import pytest

from serin.api.serving import Protocol, Serving
from serin.workload.profiles import Health, Inference, health, inference
from tests import crds

RUNTIMES = crds.schema("ModelDeployment")["properties"]["spec"]["properties"]["runtime"]["enum"]
PATH = "/v2/models/fraud/ready"
HTTP2 = Protocol.HTTP2


@pytest.mark.parametrize(
    ("runtime", "port", "serving", "asked"),
    [
        ("triton", 8000, Serving(), 8000),
        ("triton", 8001, Serving(HTTP2), 8000),
        ("triton", 9001, Serving(HTTP2, health_port=9000), 9000),
        ("triton", 9000, Serving(), 9000),
        ("mlserver", 8081, Serving(HTTP2), 8080),
        ("mlserver", 9000, Serving(health_port=9100), 9100),
        ("kserve", 8081, Serving(HTTP2), 8080),
        ("openInference", 8081, Serving(HTTP2, health_port=8080), 8080),
        ("openInference", 8080, Serving(), 8080),
    ],
)
def test_the_model_is_asked_for_where_the_runtime_speaks_http(
    runtime: str, port: int, serving: Serving, asked: int
) -> None:
    assert health(runtime, "fraud", port, serving) == Health(PATH, asked)
    assert inference(runtime, "fraud", port, serving) == Inference("/v2/models/fraud/infer", asked)


@pytest.mark.parametrize("serving", [Serving(), Serving(HTTP2)])
def test_a_generic_server_is_not_asked(serving: Serving) -> None:
    assert health("generic", "", 8080, serving) is None
    assert inference("generic", "", 8080, serving) == Inference("", 8080)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_every_runtime_of_the_schema_has_a_profile(runtime: str) -> None:
    assert (health(runtime, "fraud", 8080, Serving()) is None) == (runtime == "generic")
