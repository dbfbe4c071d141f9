"""The Debian packages that a node needs: found by their programs, installed when root, named in any case.

A machine that has the programs from elsewhere needs no package. No service is started by an installation: the node
starts its own containerd, and a second one on the host would be left behind.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tests.cluster import binaries, cache
from tests.cluster.cache import say
from tests.cluster.errors import Unavailable

PLUGINS = Path("/usr/lib/cni")
PROGRAMS = {
    "containerd": ("containerd", "ctr", "containerd-shim-runc-v2"),
    "runc": ("runc",),
    "containernetworking-plugins": ("bridge", "host-local", "loopback", "portmap"),
    "iptables": ("iptables", "iptables-restore"),
    "conntrack": ("conntrack",),
    "iproute2": ("ip",),
    "util-linux": ("unshare", "nsenter", "mount"),
    "prometheus": ("prometheus",),
}
ALERTMANAGER = {"prometheus-alertmanager": ("prometheus-alertmanager",)}
"""What a test needs beside a node."""
FOLDERS = (PLUGINS, *map(Path, ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")))
"""Where programs are looked for besides PATH, which for many users has no sbin and for nobody has the CNI plugins."""

_POLICY = Path("/usr/sbin/policy-rc.d")
_REFUSE = "#!/bin/sh\n# Put here by Serin's tests while they install packages; 101 = do not start services.\nexit 101\n"


def missing(of: Mapping[str, tuple[str, ...]] | None = None) -> list[str]:
    """Return the packages of which at least one program is not there. `of`: programs by package; None: a node's."""
    wanted = PROGRAMS if of is None else of
    return [name for name, programs in wanted.items() if not all(_which(one) for one in programs)]


def program(name: str) -> str:
    """Return the path of a program of one of the packages."""
    found = _which(name)
    if not found:
        raise Unavailable(f"no program {name!r} on this machine")
    return found


def ensure(of: Mapping[str, tuple[str, ...]] | None = None) -> None:
    """Install what is missing, as root and where there is apt. `of`: as in `missing`.

    Raises:
        Unavailable: with the command that installs it.
    """
    absent = missing(of)
    if not absent:
        return
    command = f"apt-get install --no-install-recommends {' '.join(absent)}"
    who = "a cluster with a real node" if of is None else "this test"
    named = f"{who} needs Debian packages that this machine lacks: {', '.join(absent)}"
    if os.geteuid() != 0:
        raise Unavailable(f"{named}. Install them with `sudo {command}`")
    if not _which("apt-get"):
        raise Unavailable(f"{named}. There is no apt-get here: install these programs in your system's own way")
    with cache.lock(cache.folder() / ".packages.lock", "another process to install Debian packages"):
        if missing(of):
            say(f"{named}; installing them")
            _install(absent)
    absent = missing(of)
    if absent:
        raise Unavailable(f"{', '.join(absent)}: installed, but their programs are not where they were expected")


def _which(name: str) -> str | None:
    return shutil.which(name, path=os.pathsep.join((*map(str, FOLDERS), os.environ.get("PATH", ""))))


def _install(names: list[str]) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    here = Path(tempfile.gettempdir())
    ours = not _POLICY.exists()
    if ours:
        _POLICY.write_text(_REFUSE)
        _POLICY.chmod(0o755)
    try:
        binaries.run_slowly("updating the list of Debian packages", ["apt-get", "-q", "update"], environment, here)
        install = ["apt-get", "-q", "-y", "install", "--no-install-recommends", *names]
        binaries.run_slowly(f"installing {' '.join(names)}", install, environment, here)
    finally:
        if ours:
            _POLICY.unlink()
