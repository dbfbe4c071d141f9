"""The suite in two processes side by side: which tests stay together, and how an interrupted run ends.

pytest-xdist does the rest: it starts the processes (`make test` says how many), hands each the next group of tests
until none is left, so that no cut by measured seconds has to be kept up to date, counts a process that dies as a
failure, and reports as one pytest does. Its own `--dist loadgroup` is not used: with pytest 9.2 it groups nothing.
Without `-n` only the handling of signals has an effect.
"""

from __future__ import annotations

import json
import os
import signal
import tempfile
from collections.abc import Generator
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from types import FrameType

import pytest
import xdist
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController

from tests import together
from tests.cluster import binaries, launcher, state
from tests.cluster.processes import children, identify

CLUSTER = "control_plane"
"""The fixture that a session starts once: all tests that use it are one group."""

ALONE = f"{together.NODE} alone"
"""The group of all that runs on the node with nothing beside it: one process waits for its turns, and not both."""

BESIDE = 2
"""How many processes use that one side by side: its tests wait more than they compute, and its pods take two cores."""

MARKERS = ("stories",)
"""Tests that share what takes long to make in a process, and are one group: all stories, played once."""

GROUPS = "serin_groups"
"""In what the controller tells its workers: the file in which they tell it the group of every test."""

END_SECONDS = 120.0
"""How long an interrupted process may take to end what it started."""

SIGNALS = (signal.SIGINT, signal.SIGTERM)


def pytest_configure() -> None:
    """End on SIGTERM as on SIGINT: fixtures stop what they started.

    SIGINT is also taken back where a shell's `&` or nohup has switched it off: programs under test would inherit that.
    """
    for number in SIGNALS:
        signal.signal(number, _interrupt)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    for number in SIGNALS:
        # A second signal must not interrupt the end. Not SIG_IGN: programs would inherit that.
        signal.signal(number, lambda *_: None)
    raise KeyboardInterrupt


def pytest_keyboard_interrupt() -> None:
    """Wait for no build."""
    binaries.give_up()


def group(item: pytest.Item) -> str:
    """Name the control plane that a test shares with others, else what its marker says, else its module.

    The marker is for modules that share something costly (`xdist_group`); a module shares its fixtures.
    """
    fixtures, marker = getattr(item, "fixturenames", ()), item.get_closest_marker("xdist_group")
    rest = marker.args[0] if marker else item.nodeid.partition("::")[0]
    rest = next((name for name in MARKERS if item.get_closest_marker(name)), rest)
    if together.NODE in fixtures:
        return ALONE if item.get_closest_marker("alone") else f"{together.NODE} {rest}"
    return CLUSTER if CLUSTER in fixtures else rest


class _Turn:
    """This process' turn at the node cluster: a module's, from its first test to its last."""

    def __init__(self) -> None:
        self.module, self.held = "", ExitStack()

    def begin(self, item: pytest.Item) -> None:
        module = item.nodeid.partition("::")[0]
        if together.NODE in getattr(item, "fixturenames", ()) and module != self.module:
            self.module = module
            self.held.enter_context(together.turn(alone=item.get_closest_marker("alone") is not None))

    def end(self, following: pytest.Item | None) -> None:
        if following is None or following.nodeid.partition("::")[0] != self.module:
            self.module = ""
            self.held.close()


_turn = _Turn()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> Generator[None, object, object]:
    """Wait for the turn outside of the test's own time limit."""
    _turn.begin(item)
    try:
        return (yield)
    finally:
        _turn.end(nextitem)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """In a worker: tell the controller, which collects nothing itself, before it hears that this is done."""
    if xdist.is_xdist_worker(session):
        place = Path(session.config.workerinput[GROUPS])  # type: ignore[attr-defined]
        scratch = place.with_name(f"{place.name}.{os.getpid()}")
        scratch.write_text(json.dumps({item.nodeid: group(item) for item in session.items}))
        scratch.rename(place)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """In the controller: hand out tests by group, and end the workers in their own time."""
    if xdist.is_xdist_controller(session):
        session.config.pluginmanager.register(_Controller())


class _Groups(LoadScopeScheduling):
    """Hands out tests by group, in the order in which they were collected; the longest first where it need not wait."""

    def __init__(self, config: pytest.Config, log: Producer, groups: Path) -> None:
        super().__init__(config, log)
        self.groups = groups
        self.on_node: set[WorkerController] = set()

    @cached_property
    def _group_of(self) -> dict[str, str]:
        """Known when all workers have collected: nobody asks before."""
        found: dict[str, str] = json.loads(self.groups.read_text())
        return found

    def _split_scope(self, nodeid: str) -> str:
        return self._group_of[nodeid]

    def _assign_work_unit(self, node: WorkerController) -> None:
        """While tools are built, quick tests run. Then what takes longest: the node in two processes, and CLUSTER."""
        if binaries.all_built():
            if len(self.on_node) < BESIDE:
                self.on_node.add(node)
            wanted = node in self.on_node
            chosen = [one for one in self.workqueue if one.startswith(together.NODE) == wanted]
            if chosen:
                # ALONE when the other process has nothing left there.
                first = min(chosen, key=lambda one: (one != CLUSTER, one == ALONE))
                self.workqueue.move_to_end(first, last=False)
        super()._assign_work_unit(node)


class _Controller:
    def __init__(self) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="serin-groups-")
        self.workers: list[WorkerController] = []
        os.environ[together.FOLDER] = self.folder.name  # for the workers, which are started later

    def pytest_configure_node(self, node: WorkerController) -> None:
        node.workerinput[GROUPS] = f"{self.folder.name}/groups.json"
        self.workers.append(node)

    def pytest_xdist_make_scheduler(self, config: pytest.Config, log: Producer) -> LoadScopeScheduling:
        """Take the place of what `--dist` names."""
        config.option.loadscopereorder = False  # the order is ours, and not that of the number of tests
        return _Groups(config, log, Path(self.folder.name, "groups.json"))

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, exitstatus: int) -> None:
        """Give interrupted processes the time to stop their clusters: xdist itself would kill them after 10 s."""
        if exitstatus not in (pytest.ExitCode.INTERRUPTED, pytest.ExitCode.INTERNAL_ERROR):
            return
        for pid in children(os.getpid()):
            process = identify(pid)
            if process:
                process.send(signal.SIGTERM)
        for worker in self.workers:
            try:
                worker.channel.waitclose(END_SECONDS)
            except (OSError, EOFError):  # it died, or still runs
                continue
        with state.locked():
            launcher.sweep()
