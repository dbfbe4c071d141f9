"""The first process of a node's namespaces: sets them up, then adopts and reaps what the others leave.

Run as a file, by path and with the standard library alone. It never ends by itself; when it is killed, the kernel
ends every process in its PID namespace, and with the last of them go all mounts.
"""

import os
import socket
import subprocess
import sys
import time

HIDDEN = ("/run", "/var/lib", "/var/log")
"""Folders in which the kubelet, containerd and CNI leave files whatever they are told: here they are in memory."""

KERNEL_SETTINGS = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}
"""What the kubelet would set for the whole machine: it finds the values that it wants in files laid over the real."""


def main() -> None:
    """Set up, say so, and reap for ever."""
    socket.sethostname(sys.argv[1])
    # The kubelet hands mounts down to containers, which takes a shared tree.
    run("mount", "--make-rshared", "/")
    for folder in HIDDEN:
        run("mount", "-t", "tmpfs", "-o", "mode=755", "serin", folder)
    os.makedirs("/run/lock")
    for name, value in KERNEL_SETTINGS.items():
        if os.path.exists(f"/proc/sys/{name}"):
            cover = f"/run/sysctl.{name.replace('/', '.')}"
            with open(cover, "w") as file:
                file.write(f"{value}\n")
            run("mount", "--bind", cover, f"/proc/sys/{name}")
    with open("/proc/sys/net/ipv4/ip_forward", "w") as setting:
        setting.write("1")
    print("ready", flush=True)
    while True:
        try:
            os.wait()
        except ChildProcessError:
            time.sleep(1)


def run(*command: str) -> None:
    """Run a command or die of it."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: {done.stderr.strip()}")


main()
