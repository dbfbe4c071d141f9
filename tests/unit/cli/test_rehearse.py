"""`serin rehearse` offline: what it says, for people and for programs, and how it ends."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from serin.cli.app import main
from serin.cli.exit_codes import Exit, Stop
from serin.cli.rehearse import plan
from serin.cli.rehearse.measure import proxy_path, through_cluster, traffic
from serin.metrics.answers import Answer, Series, Value
from tests.integration.cli_rig import Ran

ERRORS = {"name": "errors", "template": {"name": "request-errors"}, "severity": "critical"}
LATENCY = {"name": "latency", "template": {"name": "request-latency"}, "severity": "major"}
STEPS = [{"weight": 10, "bake": "10m"}]


class Rehearse:
    """The verb with a manifest; few runs, because most tests are about words."""

    def __init__(self, folder: Path, capture: pytest.CaptureFixture[str]) -> None:
        self.file, self._capture = folder / "fraud.yaml", capture

    def write(self, *more: dict[str, Any], **spec: Any) -> None:
        container = {"name": "model", "image": "m:1", "ports": [{"containerPort": 8080}]}
        body = {
            "apiVersion": "serin.dev/v1alpha1",
            "kind": "ModelDeployment",
            "metadata": {"name": "fraud"},
            "spec": {
                "template": {"spec": {"containers": [container]}},
                "strategy": {"canary": {"steps": STEPS}},
                "metrics": [ERRORS],
                "analysis": {"interval": "10s"},
            }
            | spec,
        }
        self.file.write_text(yaml.safe_dump_all([body, *more]))

    def __call__(self, *words: str) -> Ran:
        self._capture.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(["rehearse", "-f", str(self.file), "--runs", "20", *words])
        told = self._capture.readouterr()
        return Ran(int(ended.value.code or 0), told.out, told.err)


@pytest.fixture
def rehearse(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Rehearse:
    made = Rehearse(tmp_path, capsys)
    made.write()
    return made


def test_the_answer_in_words(rehearse: Rehearse) -> None:
    ran = rehearse("--rps", "50")
    assert ran.code == Exit.DONE
    lines = ran.out.splitlines()
    assert lines[0] == "fraud: 50 requests/s of which 1.0% are bad, a look every 10s; 20 rollouts simulated"
    assert lines[2].split("   ")[0] == "STEP"
    [row] = [line for line in lines if "20% bad" in line and line.startswith("1: 10% for 10m")]
    assert "100%" in row
    [sees] = [line for line in lines if line.startswith("step 1: 10m at 10% can see in errors")]
    assert "a 5x increase (median " in sees or "a 2x increase (median " in sees
    assert any(line.startswith("step 1: a ") for line in lines), "how long until the Pass"
    assert "false rollbacks: 0 of 20 good candidates, a chance of 0% to 16.8%" in ran.out
    assert "latencies" not in ran.out


def test_it_says_what_a_holdback_can_see(rehearse: Rehearse) -> None:
    rehearse.write(watch={"holdback": {"weight": 1, "for": "24h"}})
    assert (
        "holdback: 1% with the version before for 24h can see a 1.5x increase of the 1.0%"
        in rehearse("--rps", "500").out
    )
    rehearse.write(watch={"holdback": {"weight": 1, "for": "20s"}})
    assert "can see not even a 50x increase of the 1.0% of errors" in rehearse("--rps", "1").out


def test_it_says_when_a_limit_is_seen_to_be_broken_after_the_promotion(rehearse: Rehearse) -> None:
    limit = {"name": "errors", "template": {"name": "request-errors"}, "severity": "critical", "against": "limit"}
    rehearse.write(metrics=[{**limit, "limit": "0.05"}], watch={})
    assert "watch: twice the limit of errors, 10.0%, is seen within about 1m" in rehearse("--rps", "50").out
    rehearse.write(metrics=[{**limit, "limit": "0.05", "window": "1m"}], watch={})
    assert "and its window is 1m: write a longer one" in rehearse("--rps", "1").out


def test_too_little_traffic_ends_like_lint(rehearse: Rehearse) -> None:
    ran = rehearse("--rps", "0.4")
    assert ran.code == Exit.NO
    assert (
        "step 1: 10m at 10% can see nothing in errors, not even 20% bad: too short for minimumDetectableEffect"
        in ran.out
    )
    last = ran.out.splitlines()[-1]
    assert last.startswith("too little traffic for this policy: at 0.4 requests/s step 1 (10% for 10m) gathers 24 ")
    assert last.endswith("raise the weight, lengthen the bake, or raise analysis.minimumDetectableEffect")


def test_the_traffic_decides_and_the_error_rate_too(rehearse: Rehearse) -> None:
    """With one request in ten failing, a doubling is soon seen; with one in a hundred it is not."""
    sights = {}
    for rate in ("1%", "0.1"):
        [answer] = json.loads(rehearse("--rps", "20", "--error-rate", rate, "-o", "json").out)
        [step] = answer["steps"]
        [sights[rate]] = [one for one in step["sights"] if one["candidate"] == "a 2x increase"]
        assert answer["traffic"]["errors"] == {"rate": 20.0, "badShare": 0.01 if rate == "1%" else 0.1}
    assert sights["0.1"]["caughtInBake"] > sights["1%"]["caughtInBake"]
    assert sights["0.1"]["canSee"]
    assert not sights["1%"]["canSee"]
    assert sights["1%"]["seconds"]["p95"] is None


def test_programs_read_the_same(rehearse: Rehearse) -> None:
    ran = rehearse("--rps", "0.4", "-o", "yaml")
    [answer] = yaml.safe_load(ran.out)
    assert ran.code == Exit.NO
    assert (answer["name"], answer["runs"], answer["feasible"]) == ("fraud", 20, False)
    assert answer["message"].startswith("at 0.4 requests/s step 1")
    assert answer["steps"][0]["secondsUntilPass"]["median"] > 600


def test_the_seed_decides(rehearse: Rehearse) -> None:
    first, again, other = (rehearse("--rps", "20", "-o", "json", "--seed", seed).out for seed in ("1", "1", "2"))
    assert first == again
    assert first != other


def test_latency_is_made_up_and_says_so(rehearse: Rehearse) -> None:
    rehearse.write(metrics=[LATENCY])
    ran = rehearse("--rps", "50")
    assert "step 1: 10m at 10% can see in latency a doubling (median " in ran.out
    assert "latencies are made up: log-normal with a median of 100 ms" in ran.out


def test_what_cannot_be_rehearsed_is_named(rehearse: Rehearse) -> None:
    value = {"name": "memory", "value": {"query": "max(mem{ {{.candidate}} })", "max": "1"}, "severity": "major"}
    unknown = {"name": "elsewhere", "template": {"name": "of-the-cluster"}, "severity": "major"}
    shown = ERRORS | {"name": "shown", "severity": "info"}
    rehearse.write(metrics=[ERRORS, value, unknown, shown])
    ran = rehearse("--rps", "50")
    assert "not rehearsed: memory: it is not a share of bad requests or a latency" in ran.out
    assert "not rehearsed: elsewhere: its MetricTemplate is not in these files" in ran.out
    assert "shown" not in ran.out, "what cannot roll back decides nothing"
    rehearse.write(metrics=[value])
    ran = rehearse("--rps", "50")
    assert ran.code == Exit.NO
    assert "fraud has no metric that can be rehearsed: memory: " in ran.err


def test_a_template_of_the_same_files_is_used(rehearse: Rehearse) -> None:
    counters = {"bad": "bad_total{ {{.version}} }", "total": "all_total{ {{.version}} }"}
    head = {"apiVersion": "serin.dev/v1alpha1", "kind": "MetricTemplate", "metadata": {"name": "answers"}}
    rehearse.write(
        {**head, "spec": {"ratio": counters}},
        metrics=[{"name": "wrong", "template": {"name": "answers"}, "severity": "critical"}],
    )
    assert "can see in wrong" in rehearse("--rps", "50").out


def test_max_duration_ends_what_never_passes(rehearse: Rehearse) -> None:
    canary = {"steps": STEPS, "maxDuration": "20m"}
    rehearse.write(strategy={"canary": canary})
    ran = rehearse("--rps", "5")
    assert ran.code == Exit.NO
    assert "(maxDuration is 20m)" in ran.out
    assert "step 1: no Pass can be expected" in ran.out


def test_a_pause_goes_on_watching(rehearse: Rehearse) -> None:
    steps = [*STEPS, {"pause": {"for": "30m"}}, {"pause": {}}]
    rehearse.write(strategy={"canary": {"steps": steps}})
    [answer] = json.loads(rehearse("--rps", "50", "-o", "json").out)
    assert [(one["step"], one["weight"], one["bake"]) for one in answer["steps"]] == [(1, 10, 600.0), (2, 10, 1800.0)]


def test_what_lint_refuses_is_not_rehearsed(rehearse: Rehearse) -> None:
    rehearse.write(replicas=-1)
    ran = rehearse("--rps", "50")
    assert ran.code == Exit.NO
    assert "not rehearsed, because it cannot work as written" in ran.err
    assert "spec.replicas" in ran.err
    rehearse.file.write_text("{apiVersion: v1, kind: Secret, metadata: {name: other}}")
    assert rehearse("--rps", "50").code == Exit.USAGE


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "write --rps with the requests per second, or --from-cluster"),
        (("--rps", "5", "--from-cluster"), "write --rps with the requests per second, or --from-cluster"),
        (("--from-cluster", "--error-rate", "1%"), "leave --error-rate away"),
        (("--rps", "5", "--prometheus", "http://p"), "--prometheus says where --from-cluster measures"),
        (("--rps", "0"), "--rps"),
        (("--rps", "5", "--error-rate", "two"), "write for example 1% or 0.01"),
        (("--rps", "5", "--error-rate", "100%"), "write for example 1% or 0.01"),
    ],
)
def test_a_wrong_command_line_is_explained(rehearse: Rehearse, words: tuple[str, ...], told: str) -> None:
    ran = rehearse(*words)
    assert ran.code == Exit.USAGE
    assert told in " ".join(ran.err.split())


def test_the_traffic_is_that_of_the_router_that_the_operator_believes(rehearse: Rehearse) -> None:
    own = {"name": "own", "ratio": {"bad": "b{ {{.version}} }", "total": "t{ {{.version}} }"}, "severity": "major"}
    rehearse.write(metrics=[ERRORS, own])
    [found] = plan.read([rehearse.file])
    asked: list[str] = []

    async def ask(query: str, at: float) -> Answer:
        asked.append(query)
        labels = {"serin_namespace": "shop", "serin_model_deployment": "fraud", "serin_snapshot": "a"}
        names = ("envoy_serin_attempts", "t")
        return Value(tuple(Series({**labels, "__name__": one}, (at - 60.0, at), (0.0, 60.0)) for one in names))

    env = [{"name": "SERIN_PROMETHEUS_URL", "value": "http://p.m"}]
    env += [{"name": "SERIN_ROUTER_MATCHERS", "value": 'namespace="serin-system"'}]
    body = {"spec": {"template": {"spec": {"containers": [{"env": env}]}}}}
    connection = SimpleNamespace(get=lambda *_: body)
    _, router = through_cluster(connection)  # type: ignore[arg-type]
    traffic(found, "shop", ask, 1e9, router)
    of_router, of_user = asked
    assert "envoy_serin_attempts" in of_router
    assert 'namespace="serin-system"' in of_router
    assert "serin-system" not in of_user


@pytest.mark.parametrize("matchers", ["namespace=serin", "up{", "x) or vector(1", 'job="a"} or {job="b"'])
def test_matchers_that_cannot_be_read_are_named_with_their_place(matchers: str) -> None:
    env = [{"name": "SERIN_PROMETHEUS_URL", "value": "http://p.m"}]
    env += [{"name": "SERIN_ROUTER_MATCHERS", "value": matchers}]
    body = {"spec": {"template": {"spec": {"containers": [{"env": env}]}}}}
    with pytest.raises(Stop) as stopped:
        through_cluster(SimpleNamespace(get=lambda *_: body))  # type: ignore[arg-type]
    assert stopped.value.code is Exit.NO_ACCESS
    said = "SERIN_ROUTER_MATCHERS in the Deployment serin-operator of namespace serin-system cannot be read: "
    assert stopped.value.message.startswith(said)
    assert 'write for example namespace="serin-system"' in stopped.value.message
    assert "write --prometheus URL" in stopped.value.message


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("http://prometheus.monitoring:9090", "monitoring/services/prometheus:9090/proxy"),
        ("http://prometheus.monitoring.svc:9090", "monitoring/services/prometheus:9090/proxy"),
        ("https://p.m.svc.cluster.local/prom/", "m/services/https:p:443/proxy/prom"),
        ("http://p.m.svc", "m/services/p:80/proxy"),
    ],
)
def test_an_address_inside_the_cluster_is_reached_through_the_api_server(url: str, path: str) -> None:
    assert proxy_path(url) == f"/api/v1/namespaces/{path}"


@pytest.mark.parametrize("url", ["http://10.0.0.1:9090", "https://prometheus.example.com", "http://prometheus:9090"])
def test_an_address_outside_is_not(url: str) -> None:
    with pytest.raises(Stop, match="is no Service of the cluster: write --prometheus URL") as stopped:
        proxy_path(url)
    assert stopped.value.code is Exit.NO_ACCESS


def test_a_bandit_says_how_many_requests_a_proof_takes(rehearse: Rehearse) -> None:
    clicks = {"name": "clicks", "ratio": {"bad": "c_total{ {{.version}} }", "total": "r_total{ {{.version}} }"}}
    variant = {"name": "b", "config": {"threshold": "0.3"}}
    strategy = {"bandit": {"reward": {"metric": "clicks"}, "variants": [variant]}}
    rehearse.write(strategy=strategy, metrics=[ERRORS, clicks])
    ran = rehearse("--rps", "50", "--error-rate", "0.01")
    assert "reward clicks: that an arm earns 1.1x as much as the others takes about so many requests of each" in ran.out
    assert "the table shows their first hour" in ran.out
    assert "1: 5% for" in ran.out
