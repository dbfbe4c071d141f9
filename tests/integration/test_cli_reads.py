"""What the verbs print and how they end, for real status documents of every phase in a real API server."""

import contextlib
import json
import os
import pty
import re
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from serin.cli.app import main
from serin.cli.exit_codes import Exit
from serin.cli.watching import outcome
from serin.cluster.client import KubernetesCluster
from serin.cluster.login import log_in
from serin.explain.sentences import headline
from tests.integration.cli_rig import Serin, every_state, put, write_status
from tests.integration.operator_process import Cluster
from tests.narratives import stories
from tests.narratives.film import Frame, film

pytestmark = pytest.mark.control_plane

PARTS = 8


@pytest.fixture(scope="module")
def cluster(control_plane: Any) -> Iterator[Cluster]:
    made = Cluster(control_plane)
    yield made
    made.remove()


def test_the_evidence_is_drawn_when_asked_for(serin: Serin) -> None:
    plotted = next(one for one in film(stories.good_candidate) if any(len(row.trail) > 5 for row in one.facts.metrics))
    put(serin.cluster, plotted)
    ended = serin("status", "fraud", "--plot")
    assert ended.code == Exit.DONE, ended.err
    assert "a failure begins at 1x; a Pass rules out 2x" in ended.out
    assert ended.out.count("•") > 5
    assert "•" not in serin("status", "fraud").out
    assert serin("status", "fraud", "--plot", "-o", "json").code == Exit.USAGE


def test_the_states_cover_every_phase() -> None:
    states = every_state()
    assert {name.split("-")[0] for name in states} == {
        *("Initializing", "Healthy", "Starting", "Progressing", "Paused", "Promoting", "RollingBack"),
    }
    assert len(states) >= 14


@pytest.mark.parametrize("part", range(PARTS))
def test_every_state_is_told_by_every_verb(serin: Serin, part: int) -> None:
    """In parts: whose names are known without playing the stories."""
    for state, frame in [*every_state().items()][part::PARTS]:
        print(state)
        _is_told(serin, frame)


def _is_told(serin: Serin, frame: Frame) -> None:
    body = put(serin.cluster, frame)
    shown = serin("status", "fraud")
    assert shown.code == Exit.DONE
    assert _timeless(shown.out.splitlines()[0]) == _timeless(headline(frame.facts))
    for snapshot in frame.body["status"]["traffic"]["weights"]:
        assert snapshot in shown.out
    for metric in frame.facts.metrics if frame.facts.weight else ():
        assert metric.message in shown.out
        assert metric.verdict in shown.out
    told = serin("explain", "fraud")
    assert told.code == Exit.DONE
    assert _timeless(told.out.splitlines()[0]) == _timeless(shown.out.splitlines()[0]) + "."
    past = serin("history", "fraud")
    made = sorted(
        serin.cluster.read("msnap")["items"],
        key=lambda one: (one["metadata"]["creationTimestamp"], one["metadata"]["name"]),
    )
    names = [one["metadata"]["name"] for one in made]
    versions = past.out.partition("\n\n")[0]  # retrainings come after an empty line
    assert [line.split()[0] for line in versions.splitlines()[1:]] == names[::-1]
    page = serin("report", "fraud")
    if (body.get("status") or {}).get("lastRollback", {}).get("from") in names:
        assert page.out.startswith("# fraud: ")
        assert "## Timeline" in page.out
        assert serin("report", "fraud", "--html").out.startswith("<!DOCTYPE html>")
        assert serin("report", "fraud", "--rollback", "99").code == Exit.NOT_FOUND
    elif not any(one.get("status", {}).get("rejectedAt") for one in made):
        assert page.code == Exit.NOT_FOUND
        assert "there is no rollback 1 of fraud: 0 rollbacks are known" in page.err
    listed = serin("list")
    assert listed.out.splitlines()[1].split()[0] == "fraud"
    assert frame.facts.reason in listed.out
    exported = json.loads(serin("status", "fraud", "-o", "json").out)
    assert exported["status"] == body["status"]
    assert "managedFields" not in exported["metadata"]
    expected = outcome(frame.facts)
    ended = serin("status", "fraud", "--wait", "--timeout", "500ms")
    assert ended.code == (Exit.TIMED_OUT if expected is None else expected)
    assert ended.out.count("\n") == 1
    assert ("fraud" in ended.err) == bool(ended.code)
    for one in (shown, told, past, listed):
        assert [line for line in one.out.splitlines() if line != line.rstrip() or len(line) > 400] == []
    assert all("\x1b" not in one.out for one in (shown, told, past, listed))


async def test_what_a_versions_pods_had_to_say_is_in_the_report_and_status_leads_there(serin: Serin) -> None:
    body = put(serin.cluster, film(stories.bad_candidate)[-1])
    last = body["status"]["lastRollback"]
    pod = f"{last['from']}-6b8f-x7k2p"
    regarding = {"apiVersion": "v1", "kind": "Pod", "namespace": serin.cluster.shop, "name": pod}
    told = {"type": "Warning", "reason": "FailedScheduling", "note": "0/1 nodes are available", "regarding": regarding}
    told |= {"action": "Scheduling", "reportingController": "default-scheduler", "reportingInstance": "one"}
    told |= {"eventTime": f"{last['at'][:19]}.000000Z"}
    events = [
        {"apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": f"one-{number:02}"}, **told}
        for number in range(60)
    ]
    serin.cluster.kubectl("create", "-f", "-", body={"apiVersion": "v1", "kind": "List", "items": events})
    text = serin("report", "fraud").out.partition("## What its pods had to say")[2].partition("##")[0]
    assert f"FailedScheduling | 60 | 1 | {pod}: 0/1 nodes are available |" in text
    hints = serin("status", "fraud").err
    assert f"serin report fraud -n {serin.cluster.shop}" in hints
    assert f"serin dashboard -n {serin.cluster.shop}" in hints
    client = KubernetesCluster(await log_in(serin.kubeconfig))
    try:
        pages = [page async for page in client.pod_warnings(serin.cluster.shop)]  # what the operator reads
        none = [page async for page in client.pod_warnings(serin.cluster.system)]
    finally:
        await client.close()
    found = [one for events, _ in pages for one in events]
    assert (len({one["metadata"]["name"] for one in found}), len(found)) == (60, 60)
    assert ([more for _, more in pages], [(len(events), more) for events, more in none]) == (
        [True, False],
        [(0, False)],
    )


def _timeless(line: str) -> str:
    return re.sub(r"rolled back .* and is", "rolled back and is", line)


def test_what_stories_end_with() -> None:
    ends = {
        stories.first_version: Exit.DONE,
        stories.good_candidate: Exit.DONE,
        stories.spec_back_to_stable: Exit.DONE,
        stories.promoted_by_user: Exit.DONE,
        stories.only_steps_change: Exit.DONE,
        stories.bad_candidate: Exit.NO,
        stories.aborted_by_user: Exit.NO,
        stories.candidate_never_ready: Exit.NO,
        stories.candidate_template_refused: Exit.NO,
        stories.first_version_never_ready: Exit.NO,
        stories.max_duration: Exit.NO,
        stories.no_traffic: None,
    }
    assert {story: outcome(film(story)[-1].facts) for story in ends} == ends


def test_waiting_follows_a_rollout_to_its_end(serin: Serin) -> None:
    frames = film(stories.good_candidate)
    baking = next(one for one in frames if one.facts.reason == "Baking")
    body = put(serin.cluster, baking)
    promoted = frames[-1].body["status"] | {"observedGeneration": body["metadata"]["generation"]}

    words = [sys.executable, "-m", "serin", "status", "fraud", "-n", serin.cluster.shop, "--wait", "--timeout", "5m"]
    environment = {**os.environ, "KUBECONFIG": str(serin.kubeconfig)}
    with subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        write_status(serin.cluster, "ModelDeployment", "fraud", promoted)
        rest = process.stdout.read()
    assert process.returncode == Exit.DONE
    assert first == "fraud tries model 2 on 5% of the requests; model 1 serves the rest (Baking)\n"
    assert rest == "fraud serves model 2 (Serving)\n"


def test_a_spec_that_was_not_seen_yet_is_waited_for(serin: Serin) -> None:
    """Right after `kubectl apply` the status is still that of the old spec: it must not end the wait."""
    put(serin.cluster, film(stories.first_version)[-1])
    serin.cluster.kubectl("scale", "md", "fraud", "--replicas=5")
    assert serin("status", "fraud", "--wait", "--timeout", "1s").code == Exit.TIMED_OUT
    told = serin("explain", "fraud")
    assert "has not looked at the newest spec yet" in told.out
    assert "kubectl -n serin-system get pods" in told.out


def test_a_deployment_without_a_status(serin: Serin) -> None:
    serin.cluster.kubectl("delete", "md,msnap", "--all")
    serin.cluster.deploy("fraud")
    assert serin("status", "fraud").out == "fraud: Serin has not looked at it yet\n"
    assert "NotSeenYet" in serin("list").out
    assert serin("history", "fraud").err.startswith("fraud has no snapshot yet")
    assert serin("approve", "fraud").code == Exit.NO


def test_pods_words_reach_the_user(serin: Serin) -> None:
    """The candidate's pod says why it is not ready; `explain` repeats it although the status does not."""
    frame = every_state()["Starting-CandidateStarting"]
    put(serin.cluster, frame)
    snapshot = frame.body["status"]["candidate"]["snapshot"]
    labels = {"serin.dev/model-deployment": "fraud", "serin.dev/snapshot": snapshot}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "model", "image": "m:1"}]}}
    spec = {"replicas": 1, "selector": {"matchLabels": labels}, "template": template, "paused": True}
    metadata = {"name": snapshot, "labels": labels}
    serin.cluster.kubectl("wait", "--for=create", "serviceaccount/default", "--timeout=60s")  # a pod needs it
    serin.cluster.kubectl(
        *("create", "-f", "-"), body={"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}
    )
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "fraud-pod", "labels": labels}}
    serin.cluster.kubectl(*("create", "-f", "-"), body={**pod, "spec": {**template["spec"], "schedulerName": "nobody"}})
    waiting = {"reason": "ImagePullBackOff", "message": "no such image"}
    container = {"name": "model", "ready": False, "restartCount": 0, "image": "m:1", "imageID": ""}
    status = {"containerStatuses": [{**container, "state": {"waiting": waiting}}]}
    patch = json.dumps({"status": status})
    serin.cluster.kubectl("patch", "pod", "fraud-pod", "--subresource=status", "--type=merge", "-p", patch)
    told = serin("explain", "fraud").out
    serin.cluster.kubectl("delete", "deploy,pod", "--all", "--wait=false")
    assert "container model is waiting: ImagePullBackOff: no such image" in told


class TestEnds:
    def test_a_name_that_is_not_there(self, serin: Serin) -> None:
        for verb in ("status", "explain", "history", "approve", "retry"):
            ended = serin(verb, "nobody")
            assert ended.code == Exit.NOT_FOUND
            assert f"there is no ModelDeployment nobody in namespace {serin.cluster.shop}" in ended.err

    def test_no_cluster(self, serin: Serin, tmp_path: Path) -> None:
        ended = serin.command("list", KUBECONFIG=str(tmp_path / "none"))
        assert ended.code == Exit.NO_ACCESS
        assert f"no kubeconfig at {tmp_path}/none: set --kubeconfig" in ended.err
        away = yaml.safe_load(serin.kubeconfig.read_text())
        for one in away["clusters"]:
            one["cluster"]["server"] = "https://127.0.0.1:9"
        (tmp_path / "away").write_text(yaml.safe_dump(away))
        ended = serin.command("list", KUBECONFIG=str(tmp_path / "away"))
        assert ended.code == Exit.NO_ACCESS
        assert ended.err.startswith("serin: no answer from https://127.0.0.1:9: ")
        assert "Traceback" not in ended.err
        ended = serin.command("list", "--context", "nowhere")
        assert ended.code == Exit.NO_ACCESS
        assert "has no context nowhere: write one of " in ended.err

    def test_the_command_line_itself(self) -> None:
        for words in (
            ("frobnicate",),
            ("status",),
            ("status", "fraud", "--timeout", "5m"),
            ("status", "fraud", "--wait", "--timeout", "5 minutes"),
            ("status", "fraud", "--wait", "--watch"),
            ("lint",),
            ("lint", "-f", "/nowhere.yaml"),
        ):
            with pytest.raises(SystemExit) as ended:
                main(words)
            assert ended.value.code == Exit.USAGE

    def test_all_namespaces_and_no_deployments(self, serin: Serin) -> None:
        put(serin.cluster, "Healthy-Serving")
        ended = serin("list", "-A", namespace=False)
        assert [serin.cluster.shop, "fraud"] in [line.split()[:2] for line in ended.out.splitlines()]
        empty = serin("list", "-n", "default", namespace=False)
        assert (empty.code, empty.out) == (Exit.DONE, "")
        assert empty.err == "no ModelDeployment in namespace default\n"


class TestAsACommand:
    def test_kubectl_finds_the_plugin_on_the_path(self, serin: Serin, control_plane: Any, tmp_path: Path) -> None:
        put(serin.cluster, "Paused-WaitingForApproval")
        for name in ("kubectl-serin", "kubectl_complete-serin"):
            found = Path(sys.executable).with_name(name)
            assert found.exists(), "the package's entry points are not installed: pip install -e ."
            (tmp_path / name).symlink_to(found)
        path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, "KUBECONFIG": str(serin.kubeconfig), "PATH": path}
        command = [*control_plane.kubectl_command(), "serin", "explain", "fraud", "-n", serin.cluster.shop]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=180, check=False)
        assert done.returncode == 0, done.stderr
        assert "fraud tries model 2 on 5% of the requests; model 1 serves the rest; it waits for" in done.stdout
        assert "kubectl serin approve fraud" in done.stdout
        asked = [*control_plane.kubectl_command(), "__complete", "serin", "hist"]
        done = subprocess.run(asked, env=environment, capture_output=True, text=True, timeout=180, check=False)
        assert done.stdout.startswith("history")

    def test_names_are_completed(self, serin: Serin) -> None:
        put(serin.cluster, "Healthy-Serving")
        words = f"serin status -n {serin.cluster.shop} fr"
        ended = serin.command(_SERIN_COMPLETE="bash_complete", COMP_WORDS=words, COMP_CWORD="4")
        assert "plain,fraud" in ended.out

    def test_completion_script_is_what_the_shell_reads(self, serin: Serin, tmp_path: Path) -> None:
        ended = serin.command("completion", "bash")
        assert ended.code == 0
        script = tmp_path / "completion"
        script.write_text(ended.out)
        bash = shutil.which("bash")
        assert bash
        done = subprocess.run(
            [bash, "-c", f"source {script}; complete -p serin"], capture_output=True, text=True, check=True
        )
        assert "_serin_completion" in done.stdout

    def test_colour_only_at_a_terminal_and_never_with_no_color(self, serin: Serin) -> None:
        put(serin.cluster, "Healthy-RejectedContent")
        words = ("status", "fraud", "-n", serin.cluster.shop)
        assert "\x1b" not in serin.command(*words).out
        assert "\x1b[" in _at_a_terminal(serin, words)
        assert "\x1b[" not in _at_a_terminal(serin, words, NO_COLOR="1")

    def test_watching_at_a_terminal_until_interrupted(self, serin: Serin) -> None:
        put(serin.cluster, "Progressing-Baking")
        ours, other = pty.openpty()
        words = [sys.executable, "-m", "serin", "status", "fraud", "-n", serin.cluster.shop, "--watch"]
        environment = {**os.environ, "TERM": "xterm", "KUBECONFIG": str(serin.kubeconfig)}
        process = subprocess.Popen(words, stdout=other, stderr=other, env=environment)
        os.close(other)
        text, end = b"", time.monotonic() + 120
        while text.count(b"fraud tries model 2 on 5%") < 3 and time.monotonic() < end:
            text += os.read(ours, 4096)
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(OSError):
            while part := os.read(ours, 4096):
                text += part
        os.close(ours)
        assert process.wait(90) == Exit.INTERRUPTED
        assert b"Traceback" not in text
        counted = {int(found) for found in re.findall(rb"(\d+)s left", text)}
        assert len(counted) >= 2, "the seconds that are left count down"

    def test_a_reader_that_leaves_early_is_no_error(self, serin: Serin) -> None:
        program = f"{sys.executable} -m serin explain fraud -n {serin.cluster.shop} | true"
        environment = {**os.environ, "KUBECONFIG": str(serin.kubeconfig)}
        done = subprocess.run(program, shell=True, env=environment, capture_output=True, text=True, check=False)
        assert done.stderr == ""


def _at_a_terminal(serin: Serin, words: tuple[str, ...], **environment: str) -> str:
    ours, other = pty.openpty()
    assert stat.S_ISCHR(os.fstat(other).st_mode)
    full = {**os.environ, "TERM": "xterm", "KUBECONFIG": str(serin.kubeconfig), **environment}
    full = {key: value for key, value in full.items() if key != "NO_COLOR" or key in environment}
    process = subprocess.Popen([sys.executable, "-m", "serin", *words], stdout=other, stderr=other, env=full)
    os.close(other)
    text = b""
    while True:
        try:
            part = os.read(ours, 4096)
        except OSError:
            break
        if not part:
            break
        text += part
    os.close(ours)
    assert process.wait(120) == 0
    return text.decode()
