"""One replica of the lease tests, as a process of its own: `lease_worker.py KUBECONFIG LEASE IDENTITY COUNTER [SKEW]`.

While it leads it writes as fast as it can: each write adds one line "TIME IDENTITY" to the file COUNTER by a single
append; TIME is the machine's monotonic clock, which all processes share. It touches COUNTER.IDENTITY once it stands for
election. SKEW seconds are added to the clock that it writes into the Lease.
"""

import asyncio
import os
import signal
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from serin.cluster.client import KubernetesCluster
from serin.cluster.lease import Election, Terms
from serin.cluster.login import log_in

TERMS = Terms(duration=12, margin=4, renew=1, retry_period=0.2)
"""So long that a machine which stands still for some seconds ends no term."""


async def main(kubeconfig: str, lease: str, identity: str, counter: str, skew: str = "0") -> None:
    client = KubernetesCluster(await log_in(Path(kubeconfig)), timeout=4.0)
    wall = timedelta(seconds=float(skew))
    election = Election(client, "default", lease, identity, terms=TERMS, wall=lambda: datetime.now(UTC) + wall)
    out = os.open(counter, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    async def lead() -> None:
        while True:
            if election.leading():
                os.write(out, f"{time.monotonic():.6f} {identity}\n".encode())
            await asyncio.sleep(0.002)

    standing = asyncio.ensure_future(election.run(lead))
    os.close(os.open(f"{counter}.{identity}", os.O_CREAT))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, standing.cancel)
    await asyncio.wait([standing])
    await client.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
