"""Layers are deterministic and shared; the base and the operator run (in containerd: see the node tests)."""

import hashlib
import json
import os
import stat
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.cluster import debian, images, recipes
from tests.cluster.images import Entry, ImageError, Run, build_image, cached_layer, save_image, tree, write_tar

pytestmark = pytest.mark.usefixtures("debian_packages")


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SERIN_TEST_CACHE", str(tmp_path / "cache"))
    return tmp_path


def layer(name: str, text: str) -> images.Layer:
    return cached_layer(name, text, lambda _: [Entry(f"app/{name}.txt", text.encode(), 0o644)])


def test_a_tar_depends_on_its_entries_alone(tmp_path: Path) -> None:
    written = []
    for number, clock in enumerate((1_000_000_000, 1_700_000_000)):
        source = tmp_path / f"source-{number}"
        names = ["z.py", "a/b.py", "a/run"]
        for name in names if number else reversed(names):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_text(name)
            os.utime(source / name, (clock, clock))
        (source / "a/run").chmod(0o775 if number else 0o700)
        (source / "link").symlink_to("a/b.py")
        entries = list(tree(source, "app"))
        path = tmp_path / f"{number}.tar"
        write_tar(path, entries if number else reversed(entries))
        written.append(path.read_bytes())
    assert written[0] == written[1]


def test_a_tar_has_folders_modes_links_and_no_owner(tmp_path: Path) -> None:
    write_tar(
        tmp_path / "x.tar",
        [Entry("usr/bin/run", b"#!", 0o755), Entry("bin", link="usr/bin"), Entry("tmp", mode=0o1777)],
    )
    with tarfile.open(tmp_path / "x.tar") as tar:
        found = {member.name: member for member in tar}
    assert list(found) == ["bin", "tmp", "usr", "usr/bin", "usr/bin/run"]
    assert found["bin"].linkname == "usr/bin"
    assert found["tmp"].mode == 0o1777
    assert found["usr"].isdir()
    assert found["usr/bin/run"].mode == 0o755
    assert {(x.uid, x.gid, x.uname, x.mtime) for x in found.values()} == {(0, 0, "", 0)}


@pytest.mark.parametrize("name", ["/etc/passwd", "a/../../b"])
def test_entries_stay_below_the_root(tmp_path: Path, name: str) -> None:
    with pytest.raises(ImageError, match="relative to the image's root"):
        write_tar(tmp_path / "x.tar", [Entry(name, b"")])


def test_the_same_name_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="given twice"):
        write_tar(tmp_path / "x.tar", [Entry("a", b"1"), Entry("a", b"2")])


@pytest.mark.usefixtures("own_cache")
def test_a_layer_is_made_once_for_its_key() -> None:
    made = []

    def make(scratch: Path) -> list[Entry]:
        made.append(scratch)
        (scratch / "file").write_text("content")
        return list(tree(scratch, "app"))

    first, second = cached_layer("x", "1", make), cached_layer("x", "1", make)
    assert first == second
    assert len(made) == 1
    assert not made[0].exists(), "scratch space must not stay in the cache"
    assert first.digest == f"sha256:{hashlib.sha256(first.path.read_bytes()).hexdigest()}"
    assert first.size == first.path.stat().st_size
    cached_layer("x", "2", make)
    assert len(made) == 2


@pytest.mark.usefixtures("own_cache")
def test_a_layer_that_fails_leaves_nothing() -> None:
    def fail(_: Path) -> list[Entry]:
        raise ImageError("no")

    with pytest.raises(ImageError, match="no"):
        cached_layer("x", "1", fail)
    assert layer("x", "1").size


@pytest.mark.usefixtures("own_cache")
def test_images_share_unchanged_layers_and_are_named_by_content() -> None:
    base, old, new = layer("base", "base"), layer("app", "old"), layer("app", "new")
    before = build_image("app", [base, old], Run(command=("run",)))
    after = build_image("app", [base, new], Run(command=("run",)))
    assert before.layers[0] == after.layers[0]
    assert before.reference != after.reference
    assert before == build_image("app", [base, old], Run(command=("run",)))
    assert before.reference != build_image("app", [base, old], Run(command=("walk",))).reference
    assert build_image("app", [base], Run(), tag="v1").reference == "serin.test/app:v1"


def test_an_archive_is_an_oci_layout_whose_digests_hold(own_cache: Path) -> None:
    image = build_image("app", [layer("base", "base"), layer("app", "new")], Run(command=("run",)))
    with tarfile.open(save_image(image, own_cache / "image.tar")) as tar:
        files = {member.name: tar.extractfile(member).read() for member in tar if member.isfile()}  # type: ignore[union-attr]

    def blob(digest: str) -> bytes:
        content = files[f"blobs/{digest.replace(':', '/')}"]
        assert f"sha256:{hashlib.sha256(content).hexdigest()}" == digest
        return content

    assert json.loads(files["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    (described,) = json.loads(files["index.json"])["manifests"]
    assert described["annotations"]["io.containerd.image.name"] == image.reference
    manifest = json.loads(blob(described["digest"]))
    config = json.loads(blob(manifest["config"]["digest"]))
    assert [x["digest"] for x in manifest["layers"]] == config["rootfs"]["diff_ids"] == [x.digest for x in image.layers]
    assert all(len(blob(x["digest"])) == x["size"] for x in manifest["layers"])
    assert config["config"]["User"] == "65532:65532"
    again = save_image(image, own_cache / "again.tar")
    assert again.read_bytes() == (own_cache / "image.tar").read_bytes()


def test_what_ctr_says_is_in_the_error(own_cache: Path) -> None:
    image = build_image("app", [layer("base", "base")], Run())
    with pytest.raises(ImageError, match="ctr"):
        images.import_image(image, own_cache / "no.sock")


def test_the_base_runs_python_311_with_the_modules_that_servers_need(tmp_path: Path) -> None:
    root = debian.extract(debian.base_layer(), tmp_path)
    program = "import sys, asyncio, bz2, ctypes, lzma, sqlite3, ssl, uuid, zoneinfo; print(sys.version_info[:2])"
    command = [*debian.python(root), "-I", "-c", program]
    done = subprocess.run(command, env={"PYTHONHOME": str(root / "usr")}, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "(3, 11)", done.stderr
    assert stat.S_IMODE((root / "tmp").stat().st_mode) == 0o1777


def test_the_operator_image_holds_the_whole_package_and_its_dependencies(tmp_path: Path) -> None:
    image = recipes.operator_image()
    for part in image.layers:
        debian.extract(part, tmp_path)
    source = recipes.ROOT / "operator/serin"
    inside = tmp_path / "app/serin"
    for path in source.rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            assert (inside / path.relative_to(source)).read_bytes() == path.read_bytes()
    assert list(inside.glob("__pycache__/__init__.cpython-311.pyc")), "compiled for the base's Python"
    program = "import serin.__main__, kopf, kubernetes.aio, scipy.special, structlog; print(serin.__file__)"
    environment = {"PYTHONHOME": str(tmp_path / "usr"), "PYTHONPATH": f"{tmp_path}/app:{tmp_path}/app/lib"}
    command = [*debian.python(tmp_path), "-c", program]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == str(inside / "__init__.py"), done.stderr


def test_a_machine_without_a_debian_mirror_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake = tmp_path / "apt-get"
    fake.write_text("#!/bin/sh\necho http://mirror.invalid/ubuntu jammy main\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.delenv(debian.MIRROR_VARIABLE, raising=False)
    with pytest.raises(debian.Unavailable, match="SERIN_TEST_DEBIAN_MIRROR"):
        debian.fetch(("libc6",), tmp_path / "work")


@pytest.mark.parametrize(
    "lock", ["operator/requirements.txt", "tests/requirements.txt", "tests/e2e/models/requirements.txt"]
)
def test_lock_files_have_hashes_and_no_hosts(lock: str) -> None:
    text = (recipes.ROOT / lock).read_text()
    assert "://" not in text
    assert text.count("==") > 20
    pins = [block for block in text.split("\n\n") if "==" in block]
    assert "--hash=sha256:" in pins[-1]
    assert "-index-url" not in text
