"""What the router's pods have counted, read from the pods themselves.

The same page that Prometheus scrapes, narrowed to some deployments by Envoy's own filter: so what is read here is what
Prometheus will have, only sooner. One answer is bounded in bytes and in time. A pod that answers nothing, too much or
something else is an error of its own.
"""

import asyncio
import math
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Final

import aiohttp
from yarl import URL

from serin.api.names import Key
from serin.routers.base import CountersUnread, PodCounters, RouterPod
from serin.routers.envoy.bootstrap import METRICS_PORT
from serin.routers.envoy.service_pods import ROUTER, ServicePods

# Of one answer: a deployment in a rollout is 30 KB at each pod, and those that are read at once are a hundred at most.
MAX_BYTES: Final = 8 * 1024 * 1024
TIMEOUT_SECONDS: Final = 1.0
# Bytes that are read in one go; the event loop parses no more than so many without a pause.
_STEP: Final = 64 * 1024

_PATH: Final = "/stats/prometheus"
_AGE: Final = "envoy_server_uptime"
# What the templates read of Serin's own counters (series.py); what clients got is none of it.
_NAMES: Final = "|".join(
    (
        *("attempts", "failures", "rejections", "milliseconds", "checked", "bad_outputs", "unchecked"),
        *("compared", "disagreements", "incomparable", "reviewed", "reviewed_wrong"),
    )
)
_LABELS: Final = ("serin_namespace", "serin_model_deployment")

_LINE: Final = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)\{([^{}]*)\} (\S+)(?: \d+)?")
_LABEL: Final = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="([^"\\]*)"(?:,|$)')


class LiveCounters:
    """Reads router pods. `seconds`, `most`: how long one answer may take, and how many bytes it may have."""

    def __init__(self, pods: ServicePods, *, seconds: float = TIMEOUT_SECONDS, most: int = MAX_BYTES) -> None:
        self._pods, self._seconds, self._most = pods, seconds, most

    def pods(self) -> tuple[RouterPod, ...]:
        """Every pod behind the router's Service, until it is gone."""
        found: dict[str, RouterPod] = {}
        for pod in self._pods.all(ROUTER):
            host = f"[{pod.address}]" if ":" in pod.address else pod.address
            serves = pod.serves or (pod.name in found and found[pod.name].serves)
            found[pod.name] = RouterPod(pod.name, f"{host}:{METRICS_PORT}", serves)
        return tuple(found.values())

    async def read(self, pod: RouterPod, deployments: Collection[Key]) -> PodCounters:
        """What a pod has counted for these deployments. Raises CountersUnread."""
        url = URL(f"http://{pod.address}{_PATH}").with_query({"filter": _filter(deployments)})
        timeout = aiohttp.ClientTimeout(total=self._seconds)
        try:
            async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url) as answer:
                answer.raise_for_status()
                text = await _text(answer.content, self._most)
            return await _parsed(text, frozenset(deployments))
        except (aiohttp.ClientError, TimeoutError, ValueError, OSError) as error:
            raise CountersUnread(f"router pod {pod.name}: {error or type(error).__name__}") from error


def _filter(deployments: Collection[Key]) -> str:
    """A regular expression for the names that Envoy itself gives to the series of these deployments, and its age."""
    ours = "|".join(
        rf"{re.escape(namespace)}\.serin_model_deployment\.{re.escape(name)}" for namespace, name in sorted(deployments)
    )
    known = "|".join(f"{re.escape(namespace)}/{re.escape(name)}" for namespace, name in sorted(deployments))
    return (
        rf"^(server\.uptime|serin\.({_NAMES})\.serin_namespace\.({ours})\.serin_snapshot\..*"
        rf"|cluster\.({known})/[^/.+]+\.membership_total)$"
    )


async def _text(content: aiohttp.StreamReader, most: int) -> str:
    """The whole answer. Raises ValueError when it is longer than `most` bytes, or no text."""
    found = bytearray()
    async for part in content.iter_any():
        found += part
        if len(found) > most:
            raise ValueError(f"it says more than {most:,} bytes")
    return found.decode()


async def _parsed(text: str, deployments: Collection[Key]) -> PodCounters:
    """Read the text format. Raises ValueError for a line that is none, and without an age."""
    age, found, read = math.nan, [], 0
    for line in text.splitlines():
        read += len(line)
        if read > _STEP:
            read = 0
            await asyncio.sleep(0)  # others have their turn
        if not line or line.startswith("#"):
            continue
        name, labels, value = _sample(line)
        if name == _AGE:
            age = value
        elif tuple(labels.get(one, "") for one in _LABELS) in deployments:
            found.append((name, labels, value))
    if not math.isfinite(age) or age < 0.0:
        raise ValueError(f"it does not say {_AGE}")
    return PodCounters(age, tuple(found))


def _sample(line: str) -> tuple[str, Mapping[str, str], float]:
    if (read := _LINE.fullmatch(line)) is None:
        raise ValueError(f"no sample: {line[:100]!r}")
    return read[1], dict(_labels(read[2])), float(read[3])


def _labels(text: str) -> Iterator[tuple[str, str]]:
    """Labels as Prometheus keeps them: without those that are empty. Raises ValueError."""
    end = 0
    for found in _LABEL.finditer(text):
        if found.start() != end:
            break
        end = found.end()
        if found[2]:
            yield found[1], found[2]
    if end != len(text):
        raise ValueError(f"no labels: {text[:100]!r}")
