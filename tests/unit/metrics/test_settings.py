"""Settings of the adapter from the environment: what is read, and what a wrong value is answered with."""

import asyncio
import gc
from pathlib import Path

import pytest

from serin.metrics.answers import Failed
from serin.metrics.prometheus import Prometheus, Settings, SettingsError, read_settings, without_credentials


def test_defaults_and_everything_set() -> None:
    url = {"SERIN_PROMETHEUS_URL": "http://prometheus:9090/"}
    assert read_settings(url) == Settings("http://prometheus:9090")
    everything = {
        **url,
        "SERIN_PROMETHEUS_CREDENTIALS": "/etc/serin/prometheus",
        "SERIN_PROMETHEUS_INSECURE_SKIP_VERIFY": "true",
        "SERIN_PROMETHEUS_TIMEOUT": "2.5",
    }
    assert read_settings(everything) == Settings("http://prometheus:9090", Path("/etc/serin/prometheus"), True, 2.5)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("URL", "", "write an address such as"),
        ("URL", "prometheus:9090", "write an address such as"),
        ("TIMEOUT", "10s", "write seconds, above 0 and up to 300"),
        ("TIMEOUT", "0", "write seconds, above 0 and up to 300"),
        ("TIMEOUT", "nan", "write seconds, above 0 and up to 300"),
        ("INSECURE_SKIP_VERIFY", "yes", "write true or false"),
    ],
)
def test_wrong_values_are_refused(name: str, value: str, words: str) -> None:
    with pytest.raises(SettingsError, match=f"SERIN_PROMETHEUS_{name} is .*{words}"):
        read_settings({"SERIN_PROMETHEUS_URL": "http://a", f"SERIN_PROMETHEUS_{name}": value})


@pytest.mark.more
async def test_nothing_is_kept_of_namespaces_that_have_asked() -> None:
    prometheus = Prometheus(Settings("http://127.0.0.1:9"))
    answers = await asyncio.gather(*(prometheus.query("up", 0.0, f"space-{number}") for number in range(100)))
    prometheus.close()
    assert {type(one) for one in answers} == {Failed}
    del answers
    gc.collect()
    assert not list(prometheus._turns)


def test_credentials_never_show() -> None:
    assert without_credentials("https://me:secret@host:9090/path") == "https://host:9090/path"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("X-Scope-OrgID", "line 1 of SERIN_PROMETHEUS_HEADERS is no header: write one a line, as in X-Scope-OrgID"),
        ("A: b\n\nX Y: hunter2", "line 3 of SERIN_PROMETHEUS_HEADERS is no header"),
        ("A: hunter2\x01", "line 1 of SERIN_PROMETHEUS_HEADERS is no header"),
        ("host: hunter2", "has the header host, which Serin sets itself: remove it"),
    ],
)
def test_wrong_headers_are_refused_without_their_values(text: str, words: str) -> None:
    with pytest.raises(SettingsError) as refused:
        read_settings({"SERIN_PROMETHEUS_URL": "http://a", "SERIN_PROMETHEUS_HEADERS": text})
    assert words in str(refused.value)
    assert "hunter2" not in str(refused.value)
