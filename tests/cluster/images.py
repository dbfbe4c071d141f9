"""Container images without a registry or a container engine: layers, the OCI image layout, import into containerd.

A layer is a deterministic tar (sorted names, time 0, owner root) in the test cache, named by what went into it, so an
image of a changed operator shares the megabytes of Debian and site-packages with the image before it, and the import
sends containerd only the layers that it does not have. Layers are not compressed: they never leave the machine, and
time is what counts here. What goes into the images is `recipes.py`; nothing here knows Python or Debian.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import platform
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tests.cluster import cache
from tests.cluster.errors import ClusterError

DOMAIN = "serin.test"
"""Registry part of every image name. The domain exists nowhere, so a kubelet that tries to pull fails at once."""

NAMESPACE = "k8s.io"
"""Where the kubelet's images live in containerd."""

BLOCK = 1 << 20
LAYER_FORMAT = "1"
"""Part of every layer's key: raise it when the way that tars are written changes."""

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"


class ImageError(ClusterError):
    """An image could not be made or imported."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One member of a layer. `content` is a file on disk or the bytes; None makes a folder, or a link if `link`."""

    name: str
    content: Path | bytes | None = None
    mode: int = 0o755
    link: str = ""


@dataclass(frozen=True, slots=True)
class Layer:
    """One tar in the cache; `digest` is `sha256:...` of the whole file, `size` its bytes."""

    digest: str
    size: int
    path: Path

    def blob(self) -> Blob:
        """Return the layer as it is sent to containerd."""
        return Blob(self.digest, self.size, self.path)


@dataclass(frozen=True, slots=True)
class Run:
    """What the container starts with, unless its pod says otherwise."""

    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    user: str = "65532:65532"
    working_dir: str = "/"

    def config(self) -> dict[str, object]:
        """Return the `config` object of an OCI image; keys are Docker's, with capitals."""
        return {
            "User": self.user,
            "Env": [f"{name}={value}" for name, value in self.environment],
            "Entrypoint": list(self.entrypoint),
            "Cmd": list(self.command),
            "WorkingDir": self.working_dir,
        }


@dataclass(frozen=True, slots=True)
class Blob:
    """One content-addressed part of an image: bytes, or a file."""

    digest: str
    size: int
    content: Path | bytes


@dataclass(frozen=True, slots=True)
class Image:
    """An image whose layers lie in the cache. `reference` is what a pod names, such as serin.test/operator:1f2e3d."""

    reference: str
    config: bytes
    manifest: bytes
    layers: tuple[Layer, ...]

    @property
    def digest(self) -> str:
        """Digest of the manifest."""
        return _digest(self.manifest)

    @property
    def size(self) -> int:
        """Bytes of all layers, uncompressed."""
        return sum(layer.size for layer in self.layers)

    def blobs(self) -> Iterator[Blob]:
        """Yield every part: layers first, the manifest last."""
        yield from (layer.blob() for layer in self.layers)
        for part in (self.config, self.manifest):
            yield Blob(_digest(part), len(part), part)


@dataclass(frozen=True, slots=True)
class Import:
    """What one import sent: how many layers, how many of them containerd had already, and the bytes."""

    reference: str
    layers: int
    shared: int
    sent: int = 0


def cached_layer(name: str, key: str, make: Callable[[Path], Iterable[Entry]]) -> Layer:
    """Return the layer filed under name and key; `make(empty folder)` gives its entries the first time.

    The folder is scratch space that lasts until the tar is written.
    """

    def write(place: Path) -> None:
        scratch = place / "scratch"
        scratch.mkdir()
        write_tar(place / "layer.tar", make(scratch))
        shutil.rmtree(scratch)
        described = _describe(place / "layer.tar")
        (place / "layer.json").write_text(json.dumps(described))

    place = cache.entry(f"layer-{name}", cache.digest(LAYER_FORMAT, key), write)
    known = json.loads((place / "layer.json").read_text())
    return Layer(known["digest"], known["size"], place / "layer.tar")


def write_tar(path: Path, entries: Iterable[Entry]) -> None:
    """Write a tar whose bytes depend on the entries alone: not on their order, the clock, or the user."""
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
        for entry in _with_folders(entries):
            _add(tar, entry)


def tree(source: Path, target: str, skip: Callable[[Path], bool] = lambda _: False) -> Iterator[Entry]:
    """Yield the files and links below `source` as entries below `target`. A file stays executable if it is."""
    for path in sorted(source.rglob("*")):
        if skip(path.relative_to(source)) or (path.is_dir() and not path.is_symlink()):
            continue
        name = f"{target}/{path.relative_to(source).as_posix()}".lstrip("/")
        if path.is_symlink():
            yield Entry(name, link=str(path.readlink()))
        else:
            yield Entry(name, path, 0o755 if path.stat().st_mode & 0o100 else 0o644)


def build_image(name: str, layers: Iterable[Layer], run: Run, tag: str | None = None) -> Image:
    """Put layers and a start command together; no bytes are copied.

    Without a `tag` the image is tagged with its own content, so that changed code is a changed image name and a
    Deployment rolls by itself. Never `latest`: the kubelet would try to pull it.
    """
    stack = tuple(layers)
    config = _json(
        {
            "architecture": {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine()),
            "os": "linux",
            "config": run.config(),
            "rootfs": {"type": "layers", "diff_ids": [layer.digest for layer in stack]},
        }
    )
    manifest = _json(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": {"mediaType": CONFIG_TYPE, "digest": _digest(config), "size": len(config)},
            "layers": [{"mediaType": LAYER_TYPE, "digest": x.digest, "size": x.size} for x in stack],
        }
    )
    tag = tag or _digest(manifest).removeprefix("sha256:")[:12]
    return Image(f"{DOMAIN}/{name}:{tag}", config, manifest, stack)


def save_image(image: Image, path: Path) -> Path:
    """Write the whole image as one OCI archive, as `kind load image-archive` and `docker load` read it."""
    with path.open("wb") as file:
        _write_layout(file, image, frozenset())
    return path


def import_image(image: Image, address: Path | str, snapshotter: str = "overlayfs") -> Import:
    """Import into the containerd that listens at the socket `address`, and unpack.

    Only parts that containerd lacks are sent. An image that it has already costs two calls of `ctr`.

    Raises:
        ImageError: with ctr's own words.
    """
    ctr = ("ctr", "--address", str(address), "--connect-timeout", "3s", "--namespace", NAMESPACE)
    known = frozenset(_ctr(*ctr, "content", "ls", "-q").split())
    shared = sum(layer.digest in known for layer in image.layers)
    if image.digest in known and image.reference in _ctr(*ctr, "images", "ls", "-q").split():
        return Import(image.reference, len(image.layers), shared)
    command = (*ctr, "images", "import", "--snapshotter", snapshotter, "-")
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        sent = 0
        with contextlib.suppress(BrokenPipeError):  # ctr gave up early: its output says why
            sent = _write_layout(process.stdin, image, known)
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        output = process.stdout.read().decode(errors="replace")
    if process.returncode:
        raise ImageError(f"containerd refused {image.reference}: {output.strip()}")
    return Import(image.reference, len(image.layers), shared, sent)


def remove_image(reference: str, address: Path | str) -> None:
    """Take an image away from the containerd at this socket; pods that run go on.

    Raises:
        ImageError: with ctr's own words.
    """
    _ctr("ctr", "--address", str(address), "--namespace", NAMESPACE, "images", "rm", "--sync", reference)


def _ctr(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ImageError(f"{' '.join(command)} failed: {done.stderr.strip()}")
    return done.stdout


def _write_layout(file: IO[bytes], image: Image, known: frozenset[str]) -> int:
    """Write an OCI image layout as a tar stream, leaving out known layers. Returns the bytes of what was written."""
    described = {
        "mediaType": MANIFEST_TYPE,
        "digest": image.digest,
        "size": len(image.manifest),
        # The first is read by containerd, the second by other tools.
        "annotations": {
            "io.containerd.image.name": image.reference,
            "org.opencontainers.image.ref.name": image.reference,
        },
    }
    wanted = [blob for blob in image.blobs() if isinstance(blob.content, bytes) or blob.digest not in known]
    with tarfile.open(fileobj=file, mode="w|", format=tarfile.GNU_FORMAT, bufsize=BLOCK) as tar:
        _add(tar, Entry("oci-layout", b'{"imageLayoutVersion":"1.0.0"}', 0o644))
        _add(tar, Entry("index.json", _json({"schemaVersion": 2, "manifests": [described]}), 0o644))
        for blob in wanted:
            _add(tar, Entry(f"blobs/{blob.digest.replace(':', '/')}", blob.content, 0o644))
    return sum(blob.size for blob in wanted)


def _add(tar: tarfile.TarFile, entry: Entry) -> None:
    member = tarfile.TarInfo(entry.name)
    member.mode = entry.mode
    if entry.link:
        member.type, member.linkname, member.mode = tarfile.SYMTYPE, entry.link, 0o777
        tar.addfile(member)
    elif entry.content is None:
        member.type = tarfile.DIRTYPE
        tar.addfile(member)
    elif isinstance(entry.content, bytes):
        member.size = len(entry.content)
        tar.addfile(member, io.BytesIO(entry.content))
    else:
        member.size = entry.content.stat().st_size
        with entry.content.open("rb") as source:
            tar.addfile(member, source)


def _with_folders(entries: Iterable[Entry]) -> list[Entry]:
    """Sort, refuse names given twice, and add the folders in between (a layer without them gets odd modes)."""
    found: dict[str, Entry] = {}
    for entry in entries:
        if entry.name.startswith("/") or ".." in Path(entry.name).parts:
            raise ImageError(f"layer entry {entry.name!r}: write a path relative to the image's root, without ..")
        if entry.name in found:
            raise ImageError(f"layer entry {entry.name!r} is given twice")
        found[entry.name] = entry
    for name in list(found):
        for parent in Path(name).parents[:-1]:
            found.setdefault(parent.as_posix(), Entry(parent.as_posix()))
    return [found[name] for name in sorted(found)]


def _describe(path: Path) -> dict[str, object]:
    total = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            total.update(block)
    return {"digest": f"sha256:{total.hexdigest()}", "size": path.stat().st_size}


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
