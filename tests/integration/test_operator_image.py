"""operator/Dockerfile is really built, and holds what the test cluster's image of the operator holds.

That image is made without a container engine (tests/cluster/recipes.py), so that everything else runs on what is
shipped. It takes more than 30 s because pip downloads and unpacks 370 MB.
"""

import hashlib
import json
import os
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster import debian, packages, recipes
from tests.cluster.images import Layer

BUILDAH = {"buildah": ("buildah",)}
BASE = "docker.io/library/python:3.11-slim-bookworm"
# What the image's base is here: the test images' Debian, with `python` and pip where the official image has them.
CONTAINERFILE = """\
FROM scratch
ADD layer.tar /
COPY pip /usr/local/lib/python3.11/dist-packages
RUN mkdir -p /usr/local/bin && ln -s /usr/bin/python3 /usr/local/bin/python \\
    && printf '#!/bin/sh\\nexec python3 -m pip "$@"\\n' > /usr/local/bin/pip && chmod 755 /usr/local/bin/pip
"""
# How pip and this machine reach a package index; the build has no other files of the machine.
SETTINGS = ("/etc/pip.conf", "/etc/ssl/certs", "/etc/resolv.conf")


class Buildah:
    """buildah with a store of its own in `folder`. Runs programs in a chroot: no rights are needed but root's."""

    def __init__(self, folder: Path) -> None:
        self._store = ("--root", str(folder / "store"), "--runroot", str(folder / "run"), "--storage-driver", "vfs")

    def __call__(self, *arguments: str) -> str:
        environment = {**os.environ, "BUILDAH_ISOLATION": "chroot"}
        command = [packages.program("buildah"), *self._store, *arguments]
        done = subprocess.run(command, cwd=recipes.ROOT, env=environment, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, f"{' '.join(arguments)}: {done.stdout[-2000:]}{done.stderr[-4000:]}"
        return done.stdout.strip()


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Buildah]:
    """The store with the image `serin`, built as docs/installation.md says."""
    if os.geteuid() != 0:
        pytest.skip("buildah needs root here")
    packages.ensure(BUILDAH)
    folder = tmp_path_factory.mktemp("image")
    buildah = Buildah(folder)
    base = folder / "base"
    recipes.install_wheels(base / "pip", "pip")
    os.link(debian.base_layer().path, base / "layer.tar")
    (base / "Containerfile").write_text(CONTAINERFILE)
    buildah("bud", "--quiet", "--tag", BASE, "--file", str(base / "Containerfile"), str(base))
    there = [argument for one in SETTINGS if os.path.exists(one) for argument in ("--volume", f"{one}:{one}:ro")]
    ignored = ("--ignorefile", "operator/Dockerfile.dockerignore")  # which docker finds by itself
    buildah("bud", "--quiet", "--pull-never", *there, *ignored, "--file", "operator/Dockerfile", "--tag", "serin", ".")
    yield buildah
    buildah("rm", "--all")
    buildah("rmi", "--all", "--force")


def test_it_is_what_the_test_cluster_runs(built: Buildah) -> None:
    container = built("from", "--pull-never", "serin")
    root = Path(built("mount", container))
    shipped = dict(_files(root))
    tested = {name: found for layer in recipes.operator_image().layers[1:] for name, found in _contents(layer)}
    assert len(shipped) > 5000
    assert {name for name in shipped.keys() ^ tested.keys() if not _is_of_the_installer(name)} == set()
    assert {
        name
        for name in shipped.keys() & tested.keys()
        if shipped[name] != tested[name] and not _is_of_the_installer(name)
    } == set()
    size = sum(path.stat().st_size for path in root.rglob("*") if path.is_file() and not path.is_symlink())
    print(f"files in the image: {size / 2**20:.0f} MiB with the base, {len(shipped)} of them in /app")


def test_it_starts_as_the_test_clusters_does(built: Buildah) -> None:
    config = json.loads(built("inspect", "--type", "image", "serin"))["OCIv1"]["config"]
    tested = json.loads(recipes.operator_image().config)["config"]
    for key in ("User", "Entrypoint", "Cmd", "WorkingDir"):
        assert config[key] == tested[key], key
    assert _settings(config) == _settings(tested)


def test_it_runs_without_root(built: Buildah) -> None:
    container = built("from", "--pull-never", "serin")
    said = built("run", container, "--", "python3", "-m", "serin", "run", "--help")
    assert "--namespace" in said
    assert built("run", container, "--", "id", "-u") == "65532"


def _files(root: Path) -> Iterator[tuple[str, str]]:
    for path in (root / recipes.APP).rglob("*"):
        if path.is_file():
            yield str(path.relative_to(root)), hashlib.sha256(path.read_bytes()).hexdigest()


def _contents(layer: Layer) -> Iterator[tuple[str, str]]:
    with tarfile.open(layer.path) as tar:
        for member in tar:
            content = tar.extractfile(member) if member.isfile() else None
            if content is not None:
                yield member.name, hashlib.sha256(content.read()).hexdigest()


def _is_of_the_installer(name: str) -> bool:
    """Whether a file is pip's or uv's own: what they have installed, and how the packages' commands are started."""
    path = Path(name)
    return path.parent.name.endswith(".dist-info") or path.is_relative_to("app/lib/bin") or path.name == ".lock"


def _settings(config: dict[str, list[str]]) -> set[str]:
    return {one for one in config["Env"] if not one.startswith("PATH=")}
