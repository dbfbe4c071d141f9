"""The folder that outlives clusters: built tools and base images, each under a key made of all that went into it.

An entry is complete or absent: it is made in a temporary folder beside its place and moved there by one rename. A
file lock per entry lets only one process make it; the others wait and say so. Nothing here knows what an entry holds.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


def folder() -> Path:
    """`SERIN_TEST_CACHE`, else serin in the user's cache folder."""
    chosen = os.environ.get("SERIN_TEST_CACHE")
    if chosen:
        return Path(chosen).absolute()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return (Path(base).expanduser() / "serin").absolute()


def say(text: str) -> None:
    """Tell the person at the terminal (standard error: standard output is for results)."""
    print(f"serin: {text}", file=sys.stderr, flush=True)


def digest(*parts: str | bytes) -> str:
    """Ten hexadecimal digits that change when any part changes."""
    total = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        total.update(len(data).to_bytes(8, "big") + data)
    return total.hexdigest()[:10]


def entry(name: str, key: str, make: Callable[[Path], None], within: Path | None = None) -> Path:
    """Return the folder `<name>-<key>`, made by `make(empty folder)` the first time it is asked for."""
    place = (within or folder()) / f"{name}-{key}"
    if place.is_dir():
        return place
    place.parent.mkdir(parents=True, exist_ok=True)
    with lock(place.with_name(f".{place.name}.lock"), f"another process to finish making {name}"):
        if place.is_dir():
            return place
        for left in place.parent.glob(f".{place.name}-*"):
            shutil.rmtree(left, ignore_errors=True)  # its maker was killed: a live one would hold the lock
        scratch = Path(tempfile.mkdtemp(prefix=f".{place.name}-", dir=place.parent))
        scratch.chmod(0o755)
        try:
            make(scratch)
            scratch.rename(place)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return place


@contextmanager
def lock(path: Path, waiting_for: str) -> Iterator[None]:
    """Hold an exclusive lock on `path`. It falls with the process, however that ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            began = time.monotonic()
            say(f"waiting for {waiting_for}")
            fcntl.flock(file, fcntl.LOCK_EX)
            say(f"waited {time.monotonic() - began:.0f} s")
        yield
