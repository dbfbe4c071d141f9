"""What a router is built from, for tests that need one without an operator around it."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

from prometheus_client import CollectorRegistry

from serin.api.json import JsonObject
from serin.cluster.cache import ObjectCache
from serin.cluster.protocol import Cluster
from serin.controller.settings import parse
from serin.routers.base import RouterContext


async def no_keys() -> JsonObject:
    """For tests that serve nobody."""
    return {"keys": []}


def no_cluster() -> Cluster:
    """For tests that serve nobody."""
    raise AssertionError("nothing is asked of the API server")


def router_context(
    cache: ObjectCache, *flags: str, namespace: str = "serin-system", registry: CollectorRegistry | None = None
) -> RouterContext:
    """With the default of every flag that is not given."""
    options: Any = parse(["--prometheus-url", "http://127.0.0.1:9", *flags]).routers
    counted = registry or CollectorRegistry()
    return RouterContext(cache, namespace, options, counted, lambda _: None, no_keys, no_cluster)


async def until(true: Callable[[], object], seconds: float = 30.0) -> None:
    """Let others run until a condition holds."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"not within {seconds:g} s"
        await asyncio.sleep(0.01)
