"""What must be known of a cluster to use it again, or to clean up after it, from another process.

The record of a run is kept twice: in the cluster's own folder, and in a folder of this boot (`/run/serin` for root),
where the next launcher finds the runs whose launcher was killed, even if their folder is gone. Only launchers read
or write it, under one lock per user.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.cluster import cache
from tests.cluster.ports import Ports
from tests.cluster.processes import Identity

CONTROL_PLANE = "control-plane"
NODE = "node"


@dataclass(slots=True)
class Record:
    """One run of one cluster."""

    run: str
    level: str
    folder: Path
    ports: Ports
    owner: Identity | None = None
    """The launcher while it starts the cluster, or the test session that it lives for; None once it stands alone."""
    slice: int | None = None
    """The number of its part of the test address range, on the node level."""
    components: dict[str, Identity] = field(default_factory=dict)

    @property
    def logs(self) -> Path:
        """One log per component."""
        return self.folder / "logs"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's."""
        return self.folder / "kubeconfig"

    def abandoned(self) -> bool:
        """Whether nobody will ever stop this run: its launcher died, or its folder was deleted under it."""
        if self.owner is not None:
            return not self.owner.alive()
        return not (self.folder / "cluster.json").exists()

    def reread(self) -> None:
        """Take over what another process has restarted."""
        place = self.folder / "cluster.json"
        if place.exists():
            self.components = _read(place.read_text()).components

    def save(self) -> None:
        """Write both copies, each by one rename."""
        text = json.dumps(asdict(self), default=str, indent=2)
        for place in (self.folder / "cluster.json", _registry() / f"{self.run}.json"):
            scratch = place.with_suffix(".new")
            scratch.write_text(text)
            scratch.rename(place)

    def forget(self) -> None:
        """Remove both copies."""
        for place in (self.folder / "cluster.json", _registry() / f"{self.run}.json"):
            place.unlink(missing_ok=True)


def records() -> list[Record]:
    """Every run of this user that nobody has cleaned up yet."""
    found = []
    for place in sorted(_registry().glob("*.json")):
        try:
            found.append(_read(place.read_text()))
        except (OSError, ValueError, KeyError, TypeError):
            cache.say(f"{place} is not a record of this version; ignored")
    return found


def find(folder: Path) -> Record | None:
    """Return the run in `folder`."""
    return next((record for record in records() if record.folder == folder.absolute()), None)


@contextmanager
def locked() -> Iterator[None]:
    """Hold off every other launcher of this user: only for what takes moments."""
    with cache.lock(_registry() / "lock", "another launcher to tidy up"):
        yield


def _registry() -> Path:
    """A folder that a reboot empties, as it ends the processes that the records are about."""
    if os.geteuid() == 0:
        place = Path("/run/serin")
    elif os.environ.get("XDG_RUNTIME_DIR") and os.access(os.environ["XDG_RUNTIME_DIR"], os.W_OK):
        place = Path(os.environ["XDG_RUNTIME_DIR"]) / "serin"
    else:
        place = Path(tempfile.gettempdir()) / f"serin-{os.geteuid()}"
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    return place


def _read(text: str) -> Record:
    data = json.loads(text)
    components = {name: Identity(**identity) for name, identity in data["components"].items()}
    return Record(
        run=data["run"],
        level=data["level"],
        folder=Path(data["folder"]),
        ports=Ports(**data["ports"]),
        owner=Identity(**data["owner"]) if data["owner"] else None,
        slice=data["slice"],
        components=components,
    )
