"""The base of every test image: Debian 12's own C library, Python 3.11 and a shell, without installing Debian.

The packages are fetched with apt and their files copied straight into one layer: no debootstrap, no root, no package
scripts, 2 seconds and 45 MB where a minimal installation takes 51 seconds and 241 MB. The release is fixed, so the
Python inside is 3.11 whatever the machine has. It refuses to know a mirror: that is the machine's, from its own apt
sources, or `SERIN_TEST_DEBIAN_MIRROR`.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

from tests.cluster import cache
from tests.cluster.cache import say
from tests.cluster.errors import Unavailable
from tests.cluster.images import Entry, ImageError, Layer, cached_layer, tree

RELEASE = "bookworm"
PYTHON = "3.11"
MIRROR_VARIABLE = "SERIN_TEST_DEBIAN_MIRROR"

LIBRARIES = ("libc6", "libgcc-s1", "libstdc++6", "libgomp1", "zlib1g")
PYTHON_PACKAGES = (
    "libpython3.11-minimal",
    "libpython3.11-stdlib",
    "python3.11-minimal",
    # What modules of the standard library load: ssl, ctypes, bz2, lzma, sqlite3, uuid, pyexpat, crypt.
    *("libssl3", "libffi8", "libbz2-1.0", "liblzma5", "libsqlite3-0", "libuuid1", "libexpat1", "libcrypt1"),
    *("media-types", "netbase"),
)
SHELL = "busybox-static"
APPLETS = ("sh", "cat", "echo", "env", "hostname", "id", "kill", "ls", "mkdir", "nslookup", "ps", "rm", "sleep", "wget")

SKIP = re.compile(
    r"usr/share/(?!zoneinfo)|usr/include/|usr/lib/python3\.11/(test|idlelib|lib2to3|pydoc_data)/|usr/lib/[^/]*/gconv/|.*\.a$"
)
"""Documentation, character sets of the C library, and parts of Python: no server uses them."""

SETTINGS = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nnonroot:x:65532:65532:nonroot:/home/nonroot:/bin/sh\n",
    "etc/group": "root:x:0:\nnonroot:x:65532:\n",
    "etc/nsswitch.conf": "hosts: files dns\n",
    "etc/os-release": 'ID=debian\nVERSION_ID="12"\nVERSION_CODENAME=bookworm\n',
}


def base_layer() -> Layer:
    """Return the layer with libraries, Python and a shell."""
    packages = (*LIBRARIES, *PYTHON_PACKAGES, SHELL)
    key = cache.digest(RELEASE, *packages, *APPLETS, SKIP.pattern, *SETTINGS.values(), Path(__file__).read_bytes())
    return cached_layer("debian", key, lambda scratch: _base(fetch(packages, scratch / "apt"), scratch / "root"))


def shell_layer() -> Layer:
    """Return a layer with nothing but one static program, which is a shell too (2 MB)."""

    def make(scratch: Path) -> Iterator[Entry]:
        (package,) = fetch((SHELL,), scratch / "apt")
        unpack(package, scratch / "root")
        yield Entry("bin/busybox", scratch / "root/usr/bin/busybox")

    return cached_layer("busybox", cache.digest(RELEASE, SHELL), make)


def fetch(packages: tuple[str, ...], folder: Path) -> list[Path]:
    """Download packages of the fixed release into `folder`, without their dependencies.

    Raises:
        Unavailable: there is no apt, no Debian mirror, or it does not answer.
    """
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        raise Unavailable("test images are made from Debian packages: apt-get and dpkg-deb are needed (Debian, Ubuntu)")
    say(f"fetching {len(packages)} packages of Debian {RELEASE} (once)")
    options = _private_apt(folder)
    for command in (("update", "-qq"), ("download", "-qq", *packages)):
        done = subprocess.run(["apt-get", *options, *command], cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Unavailable(
                f"apt-get {command[0]} for Debian {RELEASE} failed: {done.stderr.strip()}\n"
                f"The mirror is taken from this machine's apt sources; {MIRROR_VARIABLE}=URL names another."
            )
    found = sorted(folder.glob("*.deb"))
    if len(found) != len(packages):
        raise Unavailable(f"asked apt for {len(packages)} packages, got {len(found)}: {[x.name for x in found]}")
    return found


def _private_apt(folder: Path) -> list[str]:
    """Return options that make apt look at the fixed release only, with its lists in `folder`."""
    state = folder / "state"
    for part in ("lists/partial", "cache/archives/partial"):
        (state / part).mkdir(parents=True)
    (state / "status").touch()
    (state / "sources.list").write_text("".join(f"deb {source}\n" for source in _sources()))
    settings = {
        "Dir::Etc::SourceList": state / "sources.list",
        "Dir::Etc::SourceParts": "/dev/null",
        "Dir::State::Lists": state / "lists",
        "Dir::State::Status": state / "status",
        "Dir::Cache": state / "cache",
        "Acquire::Languages": "none",
        "APT::Sandbox::User": "root",  # the scratch folder is closed to apt's own user
    }
    return [f"-o{name}={value}" for name, value in settings.items()]


def _sources() -> list[str]:
    """Return "URL suite main" of the fixed release and its security updates, on the machine's own mirrors."""
    chosen = os.environ.get(MIRROR_VARIABLE)
    if chosen:
        return [f"{chosen} {RELEASE} main"]
    query = ["apt-get", "indextargets", "--format", "$(SITE) $(RELEASE) $(COMPONENT)", "Created-By: Packages"]
    answer = subprocess.run(query, capture_output=True, text=True, check=False).stdout
    suite = re.compile(r"^(\S*debian\S*) (\w+)(-security|-updates)? main$", re.MULTILINE)
    found = [f"{site} {RELEASE}{part} main" for site, _, part in suite.findall(answer)]
    if not found:
        raise Unavailable(
            f"this machine's apt sources name no Debian mirror: set {MIRROR_VARIABLE} to the URL of one that has "
            f"Debian {RELEASE}"
        )
    return sorted(set(found))


def python(root: Path) -> list[str]:
    """Return the command that runs the base's own Python from `root`, the base layer's files on this machine.

    It goes through the base's own loader and libraries, so neither root nor a container is needed.
    """
    (loader,) = root.glob("usr/lib/*-linux-gnu/ld-linux-*.so.*")
    libraries = [str(path) for path in root.glob("usr/lib/*-linux-gnu")]
    interpreter = str(root / f"usr/bin/python{PYTHON}")
    return [str(loader), "--library-path", ":".join(libraries), interpreter]


def compile_python(root: Path, folder: Path, target: str) -> None:
    """Write `folder`'s bytecode for the base's Python, as files that will lie at `target` in the image.

    Images are read-only for their programs, which would otherwise compile every import at every start. The bytecode
    is of the kind that is not compared with its source's time, because all times in a layer are 0.
    """
    options = ["-q", "-q", "--invalidation-mode", "unchecked-hash", "-s", str(folder), "-p", f"/{target}"]
    environment = {"PYTHONHOME": str(root / "usr"), "PYTHONHASHSEED": "0"}
    command = [*python(root), "-m", "compileall", *options, str(folder)]
    # Exit status 1 says that some file is not valid Python: packages ship such files as test data and templates.
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):
        raise ImageError(f"compiling {folder} with Python {PYTHON} failed: {done.stderr.strip()}")


def extract(layer: Layer, folder: Path) -> Path:
    """Lay a layer's files out in `folder` and return it."""
    with tarfile.open(layer.path) as tar:
        tar.extractall(folder, filter="fully_trusted")
    return folder


def _base(packages: list[Path], root: Path) -> Iterator[Entry]:
    for package in packages:
        unpack(package, root)
    compile_python(root, root / f"usr/lib/python{PYTHON}", f"usr/lib/python{PYTHON}")
    yield from tree(root, "", skip=lambda path: bool(SKIP.match(path.as_posix())))
    for name in ("bin", "sbin", "lib", "lib64"):
        yield Entry(name, link=f"usr/{name}")
    for name, text in SETTINGS.items():
        yield Entry(name, text.encode(), 0o644)
    yield from (Entry(f"usr/bin/{applet}", link="busybox") for applet in APPLETS)
    for name in ("python3", "python"):
        yield Entry(f"usr/bin/{name}", link=f"python{PYTHON}")
    for name in ("proc", "sys", "dev", "run", "root", "home", "usr/sbin"):
        yield Entry(name)
    yield Entry("tmp", mode=0o1777)


def unpack(package: Path, root: Path) -> None:
    """Lay the files of one package out below `root`, in the folders of today's Debian (/lib is /usr/lib)."""
    files = root.with_name(f"{package.stem}.tar")
    with files.open("wb") as output:
        subprocess.run(["dpkg-deb", "--fsys-tarfile", package], stdout=output, check=True)
    with tarfile.open(files) as tar:
        for member in tar:
            member.name = re.sub(r"^(bin|sbin|lib|lib64)/", r"usr/\1/", member.name.removeprefix("./"))
            if member.isfile() or member.issym():
                tar.extract(member, root, set_attrs=False, filter="fully_trusted")
                if member.isfile():
                    (root / member.name).chmod(member.mode & 0o755)
            elif not member.isdir():
                raise ImageError(f"{package.name}: {member.name} is neither a file, a link nor a folder")
