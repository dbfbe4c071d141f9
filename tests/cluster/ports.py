"""The ports of a control plane: free ones on the host, the usual ones in a network namespace of its own."""

from __future__ import annotations

import os
import random
import socket
from dataclasses import dataclass, fields
from pathlib import Path

_given: set[int] = set()


@dataclass(frozen=True, slots=True)
class Ports:
    """One port per listener."""

    etcd: int = 2379
    etcd_peer: int = 2380
    api_server: int = 6443
    controller_manager: int = 10257
    scheduler: int = 10259
    kwok: int = 10247


def free_ports() -> Ports:
    """Choose ports on loopback that nobody listens on.

    They lie below the range that the kernel takes for outgoing connections. A port inside it could be taken by any
    client while its component is restarted, even by one that is trying to reach that very component.
    """
    return Ports(*(free_port() for _ in fields(Ports)))


def free_port() -> int:
    """Choose one such port. Never the same twice: whoever asked first may not listen on it yet.

    Each of the processes of a test session, which know nothing of each other, has ports of its own.
    """
    low, high = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % processes
    candidates = [*(range(max(1024, low - 16_000), low) or range(high + 1, 65536))][number::processes]
    random.shuffle(candidates)
    for port in candidates:
        if port not in _given and is_free(port):
            _given.add(port)
            return port
    raise OSError("no free port on 127.0.0.1")


def is_free(port: int) -> bool:
    """Whether one could listen on 127.0.0.1:port now."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
