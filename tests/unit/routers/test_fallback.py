"""A Service falls back to its own address and to nothing that it stands for."""

from typing import Any

import pytest

from serin.api.kill_switch import FallbackService
from serin.routers.endpoints import Endpoint
from serin.routers.fallback import NoFallback, fallback_endpoint

WANTED = FallbackService("rules", 8080)


def service(**spec: Any) -> dict[str, Any]:
    return {"metadata": {"namespace": "shop", "name": "rules"}, "spec": {"ports": [{"port": 8080}], **spec}}


def test_the_address_of_the_service() -> None:
    assert fallback_endpoint(WANTED, service(clusterIP="10.96.0.7")) == Endpoint("10.96.0.7", 8080)


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (None, "there is no Service rules"),
        (service(clusterIP="None"), "no address of its own"),
        (service(), "no address of its own"),
        (service(type="ExternalName", externalName="secrets.other.svc"), "no address of its own"),
        (service(type="ExternalName", externalName="secrets.other.svc", clusterIP="10.0.0.1"), "no address of its own"),
        (service(clusterIP="10.96.0.7", ports=[{"port": 80}]), "no TCP port 8080"),
        (service(clusterIP="10.96.0.7", ports=[{"port": 8080, "protocol": "UDP"}]), "no TCP port 8080"),
    ],
)
def test_what_cannot_answer_says_what_to_do(found: dict[str, Any] | None, why: str) -> None:
    with pytest.raises(NoFallback, match=why):
        fallback_endpoint(WANTED, found)
