"""The stories are worth something: each bug that is put into the operator is found by one of them.

Each runs in a process of its own, as the operator has to be loaded anew, with the bug in it. What others wrote is
loaded once: the processes are copies of one that has it.
"""

import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

import pytest

from tests.system.bugs import BUGS, find

LIBRARIES = ("aiohttp", "kopf", "kubernetes.aio.client", "numpy", "prometheus_api_client", "scipy.special", "structlog")


@pytest.fixture(scope="module")
def processes() -> Iterator[ProcessPoolExecutor]:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(LIBRARIES))
    with pytest.MonkeyPatch.context() as patch:
        # Looks of one moment come in the order of a set. Elsewhere each order is tried; here a bug is found for sure.
        patch.setitem(os.environ, "PYTHONHASHSEED", "0")
        with ProcessPoolExecutor(1, context, max_tasks_per_child=1) as executor:
            executor.submit(os.getpid).result()  # this starts the process that the others are copies of
            yield executor


@pytest.mark.parametrize("name", [bug.name for bug in BUGS])
def test_a_bug_is_found(name: str, processes: ProcessPoolExecutor) -> None:
    assert processes.submit(find, name).result(timeout=120), "no story finds it"


def test_there_are_enough_bugs() -> None:
    assert len({bug.name for bug in BUGS}) >= 40
