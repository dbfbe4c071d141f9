"""The order in which Envoys get their configuration, shaken with seeded random orders.

`FakeEnvoy` keeps Envoy's rules: it asks for endpoints of the clusters it has and for routes of the listeners it has,
loses a cluster that a response leaves out, and breaks (a failed assertion) when a route names a cluster that it lacks.
"""

import random
from dataclasses import dataclass, field, replace

import pytest

from serin.api.names import Key
from serin.api.serving import Protocol, Serving
from serin.api.split import all_to, between
from serin.routers.endpoints import Endpoint
from serin.routers.envoy.limits import Limits
from serin.routers.envoy.rendered import render
from serin.routers.envoy.routed_model import Arm, RoutedModel
from serin.routers.envoy.routes import clusters_of
from serin.routers.envoy.settings import EnvoySettings
from serin.routers.envoy.xds.delivery import GRACE, SETTLE, Delivery
from serin.routers.envoy.xds.resources import DiscoveryRequest, DiscoveryResponse, Kind, Topic

HTTP2 = Serving(Protocol.HTTP2)
POD = (Endpoint("10.0.0.1", 80),)


def model(name: str, *arms: tuple[str, int], port: int = 1) -> RoutedModel:
    found = tuple(Arm(snapshot, weight, POD) for snapshot, weight in arms)
    return RoutedModel("shop", name, port, EnvoySettings(), arms[0][0] if arms else None, found)


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class FakeEnvoy:
    """An Envoy that takes every response at once, except resources in `refuses`."""

    name: str
    delivery: Delivery
    versions: dict[Topic, str] = field(default_factory=dict)
    clusters: set[str] = field(default_factory=set)
    aggregates: set[str] = field(default_factory=set)
    warm: set[str] = field(default_factory=set)
    listeners: set[str] = field(default_factory=set)
    routes: dict[str, frozenset[str]] = field(default_factory=dict)
    refuses: set[str] = field(default_factory=set)

    def topics(self) -> list[Topic]:
        """What it would ask now. Listeners come after all clusters are warm for the first time."""
        asked: list[Topic] = [(Kind.CLUSTERS, "")]
        asked += [(Kind.ENDPOINTS, name) for name in sorted(self.clusters - self.aggregates)]
        if self.versions.get((Kind.CLUSTERS, "")) and (self.clusters <= self.warm or self.listeners):
            asked.append((Kind.LISTENERS, ""))
        return asked + [(Kind.ROUTES, name) for name in sorted(self.listeners)]

    def ask(self, topic: Topic) -> bool:
        """Send one request; True when there was a response."""
        request = DiscoveryRequest(self.name, topic[0], topic[1], self.versions.get(topic, ""))
        self.delivery.on_request(request)
        response = self.delivery.respond(request)
        self.delivery.on_close(request)
        if response is not None:
            self.take(topic, response)
        return response is not None

    def take(self, topic: Topic, response: DiscoveryResponse) -> None:
        names = {item.name for item in response.resources}
        if names & self.refuses:
            return
        match topic[0]:
            case Kind.CLUSTERS:
                for name in self.clusters - names:
                    self.versions.pop((Kind.ENDPOINTS, name), None)
                self.aggregates = {item.name for item in response.resources if "cluster_type" in item.body}
                self.clusters, self.warm = names, self.warm & names | self.aggregates
                used = {name for route in self.routes.values() for name in route}
                assert used <= self.clusters, f"{used - self.clusters} was taken away from under a route"
            case Kind.ENDPOINTS:
                self.warm |= names
            case Kind.LISTENERS:
                for name in self.listeners - names:
                    self.routes.pop(name, None)
                    self.versions.pop((Kind.ROUTES, name), None)
                self.listeners = names
            case Kind.ROUTES:
                wanted = clusters_of(response.resources[0].body)
                assert wanted <= self.warm, f"the route names {wanted - self.warm}, which Envoy does not have"
                self.routes[topic[1]] = wanted
        self.versions[topic] = response.version

    def ask_all(self) -> bool:
        """Ask everything once; True when anything was answered."""
        return sum(self.ask(topic) for topic in self.topics()) > 0

    def settle(self, clock: Clock) -> None:
        """Ask until nothing is new, twice over, as an acknowledgement may free something."""
        self.ask_all()
        clock.now += SETTLE
        quiet = 0
        for _ in range(200):
            quiet = 0 if self.ask_all() else quiet + 1
            if quiet == 2:
                return
        raise AssertionError("it never comes to rest")


@dataclass
class Setting:
    clock: Clock
    delivery: Delivery
    propagated: list[tuple[tuple[str, str], float]]
    refusals: list[DiscoveryRequest]
    failures: list[Key]

    def envoy(self, name: str = "one") -> FakeEnvoy:
        return FakeEnvoy(name, self.delivery)


@pytest.fixture
def it() -> Setting:
    return setting()


def setting() -> Setting:
    clock, propagated, refusals = Clock(), list[tuple[tuple[str, str], float]](), list[DiscoveryRequest]()
    failures = list[Key]()
    delivery = Delivery(
        clock,
        lambda key, seconds: propagated.append((key, seconds)),
        refusals.append,
        lambda key, _: failures.append(key),
        "0.0.0.0",
        Limits(),
    )
    return Setting(clock, delivery, propagated, refusals, failures)


def test_an_envoy_gets_everything_and_then_silence(it: Setting) -> None:
    it.delivery.update([model("fraud", ("fraud-a", 95), ("fraud-b", 5))])
    envoy = it.envoy()
    envoy.settle(it.clock)
    assert envoy.routes == {"shop/fraud": frozenset({"shop/fraud/fraud-a", "shop/fraud/fraud-b"})}
    assert not envoy.ask_all()
    assert it.delivery.observe(("shop", "fraud")) == between("fraud-a", "fraud-b", 5)


def test_a_split_counts_when_the_slowest_envoy_has_it(it: Setting) -> None:
    it.delivery.update([model("fraud", ("fraud-a", 100), ("fraud-b", 0))])
    fast, slow = it.envoy("fast"), it.envoy("slow")
    assert it.delivery.observe(("shop", "fraud")) is None, "no Envoy at all"
    fast.settle(it.clock)
    slow.settle(it.clock)
    it.propagated.clear()
    it.delivery.update([model("fraud", ("fraud-a", 50), ("fraud-b", 50))])
    assert it.delivery.observe(("shop", "fraud")) == all_to("fraud-a")
    assert fast.ask_all()
    assert not fast.ask_all()
    assert it.delivery.observe(("shop", "fraud")) is None
    it.clock.now += 0.5
    assert slow.ask_all()
    assert not slow.ask_all()
    assert it.delivery.observe(("shop", "fraud")) == between("fraud-a", "fraud-b", 50)
    assert it.propagated == [(("shop", "fraud"), 0.5)]
    it.clock.now += 60
    assert it.delivery.observe(("shop", "fraud")) is None, "both are gone"
    assert it.delivery.envoys() == 0


def test_lowering_waits_for_nothing(it: Setting) -> None:
    it.delivery.update([model("fraud", ("fraud-a", 50), ("fraud-b", 50))])
    envoy = it.envoy()
    envoy.settle(it.clock)
    it.delivery.update([model("fraud", ("fraud-a", 100), ("fraud-b", 0))])
    assert envoy.ask((Kind.ROUTES, "shop/fraud")), "the first request is answered, whatever else has changed"
    assert envoy.routes["shop/fraud"] == {"shop/fraud/fraud-a"}


def test_lowering_waits_for_no_cluster_that_is_made_anew(it: Setting) -> None:
    it.delivery.update([model("fraud", ("fraud-a", 50), ("fraud-b", 50))])
    envoy = it.envoy()
    envoy.settle(it.clock)
    it.delivery.on_request(DiscoveryRequest("one", Kind.ENDPOINTS, "shop/fraud/fraud-a", ""))
    it.delivery.update([model("fraud", ("fraud-a", 100), ("fraud-b", 0))])
    assert envoy.ask((Kind.ROUTES, "shop/fraud"))
    assert envoy.routes["shop/fraud"] == {"shop/fraud/fraud-a"}


def test_a_cluster_that_was_made_anew_has_the_endpoints_that_it_had(it: Setting) -> None:
    it.delivery.update([model("fraud", ("fraud-a", 100), ("fraud-b", 0))])
    envoy = it.envoy()
    envoy.settle(it.clock)
    topic = (Kind.ENDPOINTS, "shop/fraud/fraud-b")
    first = DiscoveryRequest("one", *topic, "")
    it.delivery.on_request(first)
    it.delivery.update([model("fraud", ("fraud-a", 80), ("fraud-b", 20))])
    assert not envoy.ask((Kind.ROUTES, "shop/fraud")), "it may have no endpoints yet"
    answer = it.delivery.respond(first)
    assert answer is not None
    assert answer.version == envoy.versions[topic]
    it.delivery.on_request(DiscoveryRequest("one", *topic, answer.version))
    assert envoy.ask((Kind.ROUTES, "shop/fraud")), "it has what it had, and proves it"


def test_a_route_waits_for_its_clusters_but_not_for_ever(it: Setting) -> None:
    it.delivery.update([model("fraud", ("fraud-a", 100))])
    envoy = it.envoy()
    envoy.settle(it.clock)
    it.delivery.update([model("fraud", ("fraud-a", 50), ("fraud-b", 50))])
    request = DiscoveryRequest("one", Kind.ROUTES, "shop/fraud", envoy.versions[Kind.ROUTES, "shop/fraud"])
    it.delivery.on_request(request)
    assert it.delivery.respond(request) is None
    assert it.delivery.recheck_after(request) == pytest.approx(GRACE)
    it.clock.now += GRACE
    assert it.delivery.respond(request) is not None, "its other requests may go to another replica"


def test_a_restarted_operator_knows_again_what_an_envoy_has(it: Setting) -> None:
    models = [model("fraud", ("fraud-a", 50), ("fraud-b", 50))]
    it.delivery.update(models)
    envoy = it.envoy()
    envoy.settle(it.clock)
    again = setting()
    again.delivery.update(models)
    envoy.delivery = again.delivery
    assert not envoy.ask_all(), "same content, same versions: nothing to send"
    assert again.delivery.observe(("shop", "fraud")) == between("fraud-a", "fraud-b", 50)
    again.delivery.update([model("fraud", ("fraud-a", 100))])
    envoy.ask((Kind.CLUSTERS, ""))
    assert "shop/fraud/fraud-b" in envoy.clusters, "the route still names it"
    envoy.settle(it.clock)
    assert envoy.clusters == {"shop/fraud/fraud-a"}


@pytest.mark.parametrize("bad", [1, 3])
def test_what_is_refused_is_found_among_many(it: Setting, bad: int) -> None:
    models = [model(f"m{number}", (f"m{number}-a", 100), port=number) for number in range(20)]
    it.delivery.update(models)
    envoy = it.envoy()
    envoy.refuses = {f"shop/m{number}" for number in range(bad)}
    for _ in range(300):
        envoy.ask_all()
    assert envoy.listeners == {f"shop/m{number}" for number in range(bad, 20)}
    assert set(it.delivery.refused()) == {("shop", f"m{number}") for number in range(bad)}
    assert all("listener" in message for message in it.delivery.refused().values())
    asked = len(it.refusals)
    for _ in range(20):
        assert not envoy.ask_all(), "a refused response is not sent again and again"
    assert len(it.refusals) == asked
    envoy.refuses = set()
    it.clock.now += 61
    envoy.settle(it.clock)
    assert len(envoy.listeners) == 20, "it gets another chance after a minute"
    assert it.delivery.refused() == {}


def test_what_was_refused_is_forgotten_when_it_changes(it: Setting) -> None:
    it.delivery.update([model("fraud", ("fraud-a", 100)), model("other", ("other-a", 100), port=2)])
    envoy = it.envoy()
    envoy.refuses = {"shop/other"}
    for _ in range(20):
        envoy.ask_all()
    assert it.delivery.refused().keys() == {("shop", "other")}
    mended = model("other", ("other-a", 100), port=3)
    it.delivery.change({mended.key: mended})
    assert it.delivery.refused() == {}
    envoy.refuses = set()
    envoy.settle(it.clock)
    assert envoy.listeners == {"shop/fraud", "shop/other"}
    envoy.refuses = {"shop/other"}
    again = model("other", ("other-a", 100), port=4)
    it.delivery.change({again.key: again})
    for _ in range(20):
        envoy.ask_all()
    assert it.delivery.refused().keys() == {("shop", "other")}
    it.delivery.change({again.key: None})
    assert it.delivery.refused() == {}, "it is gone"


def test_what_one_envoy_refuses_every_other_still_gets(it: Setting) -> None:
    """A rollback's route among them: it waits for nobody."""
    it.delivery.update([model("fraud", ("fraud-a", 50), ("fraud-b", 50))])
    broken, sound = it.envoy("broken"), it.envoy("sound")
    for envoy in (broken, sound):
        envoy.settle(it.clock)
    broken.refuses = {"shop/fraud"}
    it.delivery.update([model("fraud", ("fraud-a", 100), ("fraud-b", 0))])
    for _ in range(5):
        broken.ask_all()
    assert "router pod broken refuses the routes" in it.delivery.refused()["shop", "fraud"]
    assert sound.ask((Kind.ROUTES, "shop/fraud"))
    assert sound.routes["shop/fraud"] == {"shop/fraud/fraud-a"}
    assert it.delivery.refused(), "that another one has taken them changes nothing for the one that refuses"
    assert not broken.ask_all(), "nor is it asked again and again"
    it.clock.now += 10
    sound.ask_all()
    assert it.delivery.refused() == {}, "the one that refused is gone"


def test_an_envoy_that_was_restarted_has_nothing(it: Setting) -> None:
    it.delivery.update([model("fraud", ("fraud-a", 50), ("fraud-b", 50))])
    it.envoy().settle(it.clock)
    again = it.envoy()
    assert again.ask((Kind.CLUSTERS, ""))
    request = DiscoveryRequest("one", Kind.ROUTES, "shop/fraud", "")
    it.delivery.on_request(request)
    assert it.delivery.respond(request) is None, "its clusters have no endpoints yet"
    it.delivery.on_close(request)
    again.settle(it.clock)
    assert len(again.routes["shop/fraud"]) == 2


def test_a_port_that_becomes_free_is_taken_after_a_minute(it: Setting) -> None:
    before = model("fraud", ("fraud-a", 100))
    it.delivery.update([before])
    envoy = it.envoy()
    envoy.settle(it.clock)
    envoy.refuses = {"shop/other"}
    it.delivery.update([before, model("other", ("other-a", 100))])
    for _ in range(5):
        envoy.ask_all()
    assert set(it.delivery.refused()) == {("shop", "other")}
    assert not envoy.ask_all()
    envoy.refuses = set()
    assert not envoy.ask_all(), "not asked again at once"
    it.clock.now += 61
    envoy.settle(it.clock)
    assert envoy.listeners == {"shop/fraud", "shop/other"}
    assert it.delivery.refused() == {}


def test_a_restarted_operator_takes_nothing_away_that_it_does_not_know(it: Setting) -> None:
    """The candidate went while no operator was there to take the route away first."""
    it.delivery.update([model("fraud", ("fraud-a", 50), ("fraud-b", 50))])
    envoy = it.envoy()
    envoy.settle(it.clock)
    again = setting()
    envoy.delivery = again.delivery
    again.delivery.update([model("fraud", ("fraud-a", 100))])
    assert not envoy.ask((Kind.CLUSTERS, ""))
    envoy.settle(again.clock)
    assert envoy.clusters == {"shop/fraud/fraud-a"}


def test_a_restarted_operator_keeps_a_cluster_that_is_made_of_others(it: Setting) -> None:
    two = model("fraud", ("fraud-a", 50), ("fraud-b", 50))
    it.delivery.update([replace(two, arms=(two.arms[0], replace(two.arms[1], serving=HTTP2)))])
    envoy = it.envoy()
    envoy.settle(it.clock)
    assert envoy.routes["shop/fraud"] >= envoy.aggregates == {"shop/fraud/fraud-b+shielded"}
    again = setting()
    envoy.delivery = again.delivery
    again.delivery.update([model("fraud", ("fraud-a", 100))])
    again.clock.now += SETTLE
    for _ in range(3):  # FakeEnvoy checks that nothing is taken from under its route
        envoy.ask((Kind.CLUSTERS, ""))
    envoy.settle(again.clock)
    assert envoy.clusters == {"shop/fraud/fraud-a"}


def test_a_route_waits_for_what_its_cluster_is_made_of_and_no_longer(it: Setting) -> None:
    two = model("fraud", ("fraud-a", 100), ("fraud-b", 0))
    two = replace(two, arms=(two.arms[0], replace(two.arms[1], serving=HTTP2)))
    it.delivery.update([two])
    envoy = it.envoy()
    envoy.settle(it.clock)
    it.delivery.update([replace(two, arms=(replace(two.arms[0], weight=50), replace(two.arms[1], weight=50)))])
    assert envoy.ask((Kind.ROUTES, "shop/fraud")), "everything is there: at once"


def test_a_restarted_operator_withholds_nothing_that_serves(it: Setting) -> None:
    models = [model(f"m{number}", (f"m{number}-a", 100), port=number) for number in range(4)]
    it.delivery.update(models)
    envoy = it.envoy()
    envoy.settle(it.clock)
    again = setting()
    envoy.delivery, envoy.refuses = again.delivery, {"shop/new"}
    again.delivery.update([*models, model("new", ("new-a", 100))])
    for _ in range(20):
        envoy.ask_all()
    assert len(envoy.listeners) == 4


def test_an_answer_that_was_lost_once_is_no_refusal(it: Setting) -> None:
    it.delivery.update([model("fraud", ("fraud-a", 100), ("fraud-b", 0))])
    envoy = it.envoy()
    envoy.settle(it.clock)
    it.delivery.update([model("fraud", ("fraud-a", 50), ("fraud-b", 50))])
    envoy.refuses = {"shop/fraud"}
    envoy.ask((Kind.ROUTES, "shop/fraud"))
    envoy.refuses = set()
    envoy.settle(it.clock)
    assert it.delivery.refused() == {}
    assert len(envoy.routes["shop/fraud"]) == 2


@pytest.mark.parametrize("seed", range(40))
def test_no_order_of_events_breaks_a_route(seed: int) -> None:
    """Updates, requests of two Envoys and operator restarts in random order; FakeEnvoy checks every response."""
    draw = random.Random(seed)
    it = setting()
    envoys = [it.envoy("one"), it.envoy("two")]
    models: list[RoutedModel] = []
    for _ in range(300):
        match draw.randrange(30):
            case 0:
                models = [random_model(draw, number) for number in range(3) if draw.random() < 0.8]
                it.delivery.update(models)
            case 1:
                changed = random_model(draw, draw.randrange(3))
                models = [one for one in models if one.key != changed.key]
                if draw.random() < 0.8:
                    models.append(changed)
                    it.delivery.change({changed.key: changed})
                else:
                    it.delivery.change({changed.key: None})
            case 2 if draw.random() < 0.3:
                it = setting()
                it.delivery.update(models)
                for envoy in envoys:
                    envoy.delivery = it.delivery
                    # Requests that were held at the old operator come at once.
                    envoy.ask_all()
            case _:
                envoy = draw.choice(envoys)
                envoy.ask(draw.choice(envoy.topics()))
        it.clock.now += 0.001
    for envoy in envoys:
        envoy.settle(it.clock)
        assert envoy.listeners == {f"shop/{one.name}" for one in models}
        assert envoy.clusters == {cluster for one in models for cluster in render(one).clusters}
    for one in models:
        assert it.delivery.observe(one.key) == one.split()
    assert it.delivery.refused() == {}


def test_a_change_of_one_deployment_renders_that_one_alone(it: Setting) -> None:
    models = [model(f"m{number}", (f"m{number}-a", 100), port=number + 1) for number in range(50)]
    it.delivery.update(models)
    assert it.delivery.renders == 50
    changed = model("m7", ("m7-a", 90), ("m7-b", 10), port=8)
    topics = it.delivery.change({changed.key: changed})
    assert it.delivery.renders == 51
    assert topics == {(Kind.ROUTES, "shop/m7"), (Kind.CLUSTERS, ""), (Kind.ENDPOINTS, "shop/m7/m7-b")}
    assert it.delivery.change({changed.key: changed}) == set()
    it.delivery.update([*models[:7], changed, *models[8:]])
    assert it.delivery.renders == 51, "nothing has changed"


def test_a_deployment_that_cannot_be_rendered_is_served_as_before_and_stops_no_other(it: Setting) -> None:
    good, other = model("fraud", ("fraud-a", 100)), model("other", ("other-a", 100), port=2)
    it.delivery.update([good, other])
    envoy = it.envoy()
    envoy.settle(it.clock)
    impossible = model("fraud", ("fraud-a", 90), ("fraud-b", 20))
    moved = model("other", ("other-a", 50), ("other-b", 50), port=2)
    it.delivery.change({impossible.key: impossible, moved.key: moved})
    envoy.settle(it.clock)
    assert it.failures == [("shop", "fraud")]
    assert it.delivery.refused().keys() == {("shop", "fraud")}
    assert "sum to 100" in it.delivery.refused()["shop", "fraud"]
    assert it.delivery.observe(("shop", "fraud")) == all_to("fraud-a")
    assert it.delivery.observe(("shop", "other")) == between("other-a", "other-b", 50)
    assert it.delivery.change({good.key: good}) == set()
    assert it.delivery.refused() == {}


def random_model(draw: random.Random, number: int) -> RoutedModel:
    snapshots = draw.sample(["a", "b", "c"], draw.randrange(1, 4))
    weight = draw.choice([0, 5, 50, 100]) if len(snapshots) > 1 else 0
    weights = [100 - weight, weight, 0]
    arms = [(f"m{number}-{snapshot}", share) for snapshot, share in zip(snapshots, weights, strict=False)]
    found = model(f"m{number}", *arms, port=number + 1)
    # What a snapshot speaks never changes.
    spoken = {f"m{number}-b": HTTP2}
    return replace(found, arms=tuple(replace(arm, serving=spoken.get(arm.snapshot, arm.serving)) for arm in found.arms))
