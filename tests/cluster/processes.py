"""Components as processes: started with a log of their own, waited for, and ended only when surely ours.

A process id is reused after its process ends, so a process is known here by boot, id and start time, and every signal
goes through a pidfd whose start time was checked. Nothing is ever killed by name. When a component does not start,
the error names it, shows its last lines and guesses at the cause.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.errors import ComponentFailed

Probe = Callable[[], str | None]
"""Says what is still missing, or None when the component is ready."""

RUN_VARIABLE = "SERIN_CLUSTER_RUN"
"""Marks every component with its run, so that one started in the instant before a kill -9 is found too."""

READY_SECONDS = 120.0
STOP_SECONDS = 20.0
"""How long a component may take to end in its own way."""
GONE_SECONDS = 90.0
"""How long the machine may take to end what was killed."""
POLL_SECONDS = 0.05


COLLECTOR = {"GOGC": "400", "GOMEMLIMIT": "1GiB"}
"""For components, which are written in Go: a quarter of the API server's time went into collecting garbage."""


@dataclass(frozen=True, slots=True)
class Identity:
    """One process of one boot, even after its id was reused."""

    pid: int
    started: str

    def alive(self) -> bool:
        """Whether that very process still runs; a zombie does not."""
        return identify(self.pid) == self

    def send(self, number: int) -> bool:
        """Signal that very process; False when it has ended."""
        try:
            handle = os.pidfd_open(self.pid)
        except OSError:
            return False
        try:
            if not self.alive():
                return False
            signal.pidfd_send_signal(handle, number)
            return True
        except ProcessLookupError:
            return False
        finally:
            os.close(handle)


def identify(pid: int) -> Identity | None:
    """Return the identity of a running process; None when there is none or it is a zombie."""
    fields = _stat(pid)
    if fields is None or fields[0] in "ZX":
        return None
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return Identity(pid, f"{boot}:{fields[19]}")


def children(pid: int) -> list[int]:
    """Process ids whose parent is `pid`."""
    return [other for other in _all_pids() if (fields := _stat(other)) is not None and int(fields[1]) == pid]


def marked(run: str) -> list[Identity]:
    """Every process of this user that carries the run's mark in its environment."""
    mark = f"{RUN_VARIABLE}={run}".encode()
    found = []
    for pid in _all_pids():
        with contextlib.suppress(OSError):
            if mark in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                identity = identify(pid)
                if identity:
                    found.append(identity)
    return found


def _all_pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _stat(pid: int) -> list[str] | None:
    """Return the fields of /proc/PID/stat from the third (state) on; None when there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return text.rpartition(")")[2].split()


def end_all(identities: list[Identity], patience: float) -> list[Identity]:
    """SIGTERM, then SIGKILL after `patience` seconds; return those that are still there."""
    for identity in identities:
        identity.send(signal.SIGTERM if patience else signal.SIGKILL)
    left = _wait_gone(identities, patience)
    for identity in left:
        identity.send(signal.SIGKILL)
    return _wait_gone(left, GONE_SECONDS)


def _wait_gone(identities: list[Identity], seconds: float) -> list[Identity]:
    limit = time.monotonic() + seconds
    while True:
        left = [identity for identity in identities if identity.alive()]
        if not left or time.monotonic() > limit:
            return left
        time.sleep(POLL_SECONDS)


@dataclass(frozen=True, slots=True)
class Command:
    """How one component is run and how one sees that it is ready."""

    name: str
    argv: tuple[str, ...]
    ready: Probe
    inside: tuple[str, ...] = ()
    """A prefix that enters the cluster's namespaces; it stays outside as the parent of the component."""


class Component:
    """A running component."""

    def __init__(self, command: Command, logs: Path, run: str, found: Identity | None = None) -> None:
        self.command = command
        self.name = command.name
        self.log = logs / f"{command.name}.log"
        self._run = run
        self._outer = found
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start = 0

    def start(self) -> None:
        """Start the process; `wait_ready` says whether it came up."""
        environment = {**os.environ, **COLLECTOR, RUN_VARIABLE: self._run}
        with self.log.open("ab") as log:
            self._log_start = log.tell()
            self._process = subprocess.Popen(
                [*self.command.inside, *self.command.argv],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                cwd=self.log.parent,
                start_new_session=True,  # Ctrl-C is for the launcher, which then ends its components in order
            )
        self._outer = identify(self._process.pid)

    def outer(self) -> Identity | None:
        """The process that was started here: the component, or the one that entered the namespaces for it."""
        return self._outer

    def inner(self) -> Identity | None:
        """The component's own process; None when it does not run."""
        if self._outer is None or not self._outer.alive():
            return None
        entered = children(self._outer.pid) if self.command.inside else []
        return identify(entered[0]) if entered else self._outer

    def wait_ready(self, seconds: float = READY_SECONDS, others: Callable[[], None] = lambda: None) -> None:
        """Poll until ready; `others` raises when a component that this one needs has died.

        Raises:
            ComponentFailed: when the process ended or was not ready in time.
        """
        limit = time.monotonic() + seconds
        while True:
            missing = self._ask(others)
            if missing is None:
                return
            if time.monotonic() > limit:
                raise self._failure(f"was not ready after {seconds:.0f} s: {missing}")
            time.sleep(POLL_SECONDS)

    def _ask(self, others: Callable[[], None]) -> str | None:
        """Probe once; a process that has died is noticed before an answer that never comes."""
        answers: list[str | None] = []
        asking = threading.Thread(target=lambda: answers.append(self.command.ready()), daemon=True)
        asking.start()
        while True:
            self.check()
            others()
            if not asking.is_alive():
                return answers[0] if answers else "the check itself failed"
            asking.join(POLL_SECONDS)

    def check(self) -> None:
        """Raise ComponentFailed if the process has ended."""
        status = self._process.poll() if self._process else None
        if status is not None:
            raise self._failure(describe_exit(status), status)
        if self._process is None and (self._outer is None or not self._outer.alive()):
            raise self._failure("is not running")

    def condition(self) -> str:
        """Return "ready", or what is wrong in one line."""
        try:
            self.check()
        except ComponentFailed as failure:
            return failure.reason
        return self.command.ready() or "ready"

    def reap(self) -> None:
        """Take the exit status of a process that was ended by others."""
        if self._process:
            self._process.wait(GONE_SECONDS)

    def kill(self) -> None:
        """End it as a crash would."""
        self._end(0)

    def stop(self) -> None:
        """End it as its administrator would."""
        self._end(STOP_SECONDS)

    def _end(self, patience: float) -> None:
        process = self.inner()
        if process:
            end_all([process], patience)
        self.reap()  # the one outside ends when the component does

    def _failure(self, reason: str, status: int | None = None) -> ComponentFailed:
        text = self.log.read_bytes()[self._log_start :].decode(errors="replace") if self.log.exists() else ""
        tail = "\n".join(line[:400] for line in text.splitlines()[-15:])
        return ComponentFailed(self.name, reason, likely_cause(text, status), tail, str(self.log))


def describe_exit(status: int) -> str:
    """Put an exit status into words; a shell-like 128 + n counts as signal n, as nsenter reports it."""
    number = -status if status < 0 else status - 128 if status > 128 else 0
    try:
        return f"was killed by {signal.Signals(number).name}"
    except ValueError:
        return f"ended with exit status {status}"


_CAUSES = (
    (r"(?i)address already in use", "another process has its port: {line}"),
    (r"(?i)no space left on device", "the disk is full: {line}"),
    (r"(?i)too many open files|inotify", "a limit on open files or inotify is reached (fs.inotify.*): {line}"),
    (r"(?i)cannot allocate memory|out of memory", "the machine is out of memory: {line}"),
    (r"(?i)permission denied|operation not permitted", "it may not do what it tried: {line}"),
    (r"(?i)no such file or directory|not found in \$PATH", "a file is missing: {line}"),
    (r"(?i)connection refused", "something that it needs does not run: {line}"),
)


def likely_cause(log: str, status: int | None) -> str:
    """Guess why a component failed from its own log and exit status; a guess, and worded as one where unsure."""
    if status in (-signal.SIGKILL, 128 + signal.SIGKILL):
        return f"somebody sent SIGKILL; if nobody did, the kernel was out of memory ({_memory()})"
    lines = log.splitlines()[-60:]
    for pattern, words in _CAUSES:
        for line in reversed(lines):
            if re.search(pattern, line):
                return words.format(line=line.strip()[:300])
    if status is None:
        return f"a slow or overloaded machine ({_memory()}, load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores)"
    return "see the last lines"


def _memory() -> str:
    match = re.search(r"MemAvailable:\s+(\d+)", Path("/proc/meminfo").read_text())
    return f"{int(match[1]) // 1024} MiB of memory available" if match else "memory unknown"
