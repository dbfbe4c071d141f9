"""Further ports of the clients' Service: whose pods are behind them, and at which port."""

from typing import Any

import pytest

from serin.api import names
from serin.api.fields import InvalidSpec
from serin.api.json import JsonObject
from serin.api.parse import parse_model_deployment
from serin.api.spec import ExtraPort
from serin.routers.envoy import extra_ports
from serin.routers.envoy.clients import ClientRoute
from tests.narratives.world import World
from tests.unit.routers.test_clients import ROUTERS, stored

ADMIN, GRPC = {"name": "admin", "port": 90}, {"name": "grpc", "port": 81, "appProtocol": "grpc"}


def world(*extra: JsonObject, annotations: dict[str, str] | None = None, **ports: int) -> World:
    """`ports`: of the spec's own template, by name."""
    made = World()
    listed = [{"containerPort": 8080}, *({"name": name, "containerPort": port} for name, port in ports.items())]
    made.spec["template"]["spec"]["containers"][0]["ports"] = listed
    made.spec["service"] = {"extraPorts": list(extra)}
    made.annotations = dict(annotations or {})
    return made


def snapshot(**ports: int) -> JsonObject:
    """A ModelSnapshot whose pods listen there; a sidecar has the last port."""
    *first, last = ports.items()
    server = {"name": "model", "ports": [{"name": name, "containerPort": port} for name, port in first]}
    sidecar = {"name": "proxy", "ports": [{"name": last[0], "containerPort": last[1]}]}
    pod = {"containers": [server], "initContainers": [sidecar]}
    return {"spec": {"content": {"runtime": {"template": {"spec": pod}}}}}


def pods(of: str, *addresses: str, ready: bool = True) -> JsonObject:
    """The EndpointSlice of a snapshot's Service."""
    labels = {"kubernetes.io/service-name": of, names.LABEL_SNAPSHOT: of}
    conditions = {"ready": ready, "serving": True, "terminating": not ready}
    return {
        "metadata": {"labels": labels},
        "ports": [{"name": names.PORT_NAME, "port": 8080}],
        "endpoints": [{"addresses": [one], "conditions": conditions} for one in addresses],
    }


SLICES = (pods("old", "10.1.0.2", "10.1.0.1"), pods("new", "10.1.0.9"), pods("old", "10.1.0.3", ready=False))


def endpoints(made: World, stable: str | None, of: JsonObject | None, slices: Any = SLICES) -> JsonObject:
    return extra_ports.endpoints(parse_model_deployment(made.body), stable, slices, of)


def test_the_pods_of_stable_are_behind_them_at_the_ports_of_its_own_template() -> None:
    found = endpoints(world(ADMIN, GRPC, admin=9000, grpc=9001), "old", snapshot(admin=7000, grpc=7001))
    assert [one["addresses"] for one in found["endpoints"]] == [["10.1.0.1"], ["10.1.0.2"]]
    assert [(one["name"], one["port"], one.get("appProtocol")) for one in found["ports"]] == [
        ("admin", 7000, None),
        ("grpc", 7001, "grpc"),
    ]


def test_a_slice_that_somebody_else_has_written_hides_nobody() -> None:
    """Of host names, or of the other IP family: one EndpointSlice has one kind of addresses."""
    foreign = pods("old", "elsewhere.example", "fd00::1")
    found = endpoints(world(ADMIN, admin=9000), "old", snapshot(admin=7000), (*SLICES, foreign))
    assert (found["addressType"], [one["addresses"] for one in found["endpoints"]]) == (
        "IPv4",
        [["10.1.0.1"], ["10.1.0.2"]],
    )


@pytest.mark.parametrize(
    ("stable", "of", "level"),
    [
        (None, None, "Off"),
        ("old", snapshot(other=1), "Off"),
        ("old", None, "Off"),
        ("gone", snapshot(admin=7000), "Off"),
        ("old", snapshot(admin=7000), "All"),
    ],
    ids=["no version yet", "no port of that name", "no snapshot", "no pods", "nobody may answer"],
)
def test_nobody_is_behind_them(stable: str | None, of: JsonObject | None, level: str) -> None:
    made = world(ADMIN, admin=9000, annotations={names.ANNOTATION_KILL_SWITCH: level})
    assert endpoints(made, stable, of)["endpoints"] == []


def test_with_the_candidate_switched_off_stable_answers() -> None:
    made = world(ADMIN, admin=9000, annotations={names.ANNOTATION_KILL_SWITCH: "Candidate"})
    assert endpoints(made, "old", snapshot(admin=7000))["endpoints"]


def test_pods_that_leave_answer_when_there_are_no_others() -> None:
    found = endpoints(world(ADMIN, admin=9000), "old", snapshot(admin=7000), [pods("old", "fd00::3", ready=False)])
    assert (found["addressType"], found["endpoints"][0]["addresses"]) == ("IPv6", ["fd00::3"])


def test_the_port_that_leads_to_the_router_cannot_be_one_of_them() -> None:
    extra_ports.check([ExtraPort("admin", 90)], 8080)
    with pytest.raises(
        InvalidSpec, match=r"spec.service.extraPorts\[1\].port: 90 is the port that leads to the router"
    ):
        extra_ports.check([ExtraPort("grpc", 81), ExtraPort("admin", 90)], 90)


def test_a_name_that_the_template_does_not_have_is_refused() -> None:
    words = r"extraPorts\[0\].name: no container of the template has a port named admin \(there are: grpc\)"
    with pytest.raises(InvalidSpec, match=words):
        parse_model_deployment(world(ADMIN, grpc=81).body)
    with pytest.raises(InvalidSpec, match=r"no port has a name\): write it there, for example ports: \[\{name: admin"):
        parse_model_deployment(world(ADMIN).body)


class TestObjects:
    """What is written of it."""

    def route(self, made: World, direct: JsonObject | None) -> ClientRoute:
        return ClientRoute(parse_model_deployment(made.body), 8080, 10_000, ROUTERS, direct)

    def objects(self, stable: str = "old") -> tuple[ClientRoute, list[JsonObject]]:
        made = world(ADMIN, GRPC, admin=9000, grpc=9001)
        route = self.route(made, endpoints(made, stable, snapshot(admin=7000, grpc=7001)))
        direct = route.direct_slice()
        assert direct is not None
        return route, stored(route.service(), route.endpoint_slice(), direct)

    def test_the_service_has_them_beside_its_own(self) -> None:
        _, (service, _, direct) = self.objects()
        assert [one["port"] for one in service["spec"]["ports"]] == [8080, 90, 81]
        assert direct["metadata"]["name"] == "fraud-direct"
        assert direct["metadata"]["labels"]["kubernetes.io/service-name"] == "fraud"

    def test_what_is_there_is_not_written_again(self) -> None:
        route, found = self.objects()
        assert route.repairs(*found) == ()
        assert [one["metadata"]["name"] for one in route.repairs(*found[:2])] == ["fraud-direct"]

    def test_another_stable_is_one_write(self) -> None:
        _, found = self.objects()
        route, _ = self.objects("new")
        [written] = route.repairs(*found)
        assert [one["addresses"] for one in written["endpoints"]] == [["10.1.0.9"]]

    def test_taken_out_of_the_spec_they_lead_nowhere(self) -> None:
        _, found = self.objects()
        found[2]["addressType"] = "IPv6"
        without = self.route(world(), None)
        service, direct = without.repairs(*found)
        assert [one["port"] for one in service["spec"]["ports"]] == [8080]
        assert (direct["endpoints"], direct["ports"], direct["addressType"]) == ([], [], "IPv6")
        assert without.repairs(*stored(service), found[1], *stored(direct)) == ()
        assert without.direct_slice() is None

    def test_an_object_of_that_name_that_is_somebody_elses_is_left_alone(self) -> None:
        route, (service, routers, direct) = self.objects()
        direct["metadata"]["ownerReferences"] = []
        told = route.not_ours(service, routers, direct)
        assert told is not None
        assert "EndpointSlice named fraud-direct exists already" in told
