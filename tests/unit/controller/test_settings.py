"""Flags of `serin run` about whose series count, with the environment variables behind them."""

import argparse
from collections.abc import Mapping

import pytest

from serin.controller.settings import Settings, add_arguments, read
from serin.metrics.enforced import Trust
from serin.metrics.prometheus import SettingsError
from serin.metrics.promql import Matcher


def settings(*words: str, environment: Mapping[str, str] | None = None) -> Settings:
    parser = argparse.ArgumentParser()
    add_arguments(parser, environment or {})
    return read(parser.parse_args(["--prometheus-url=http://a", *words]), {})


def test_a_router_is_believed_in_serins_own_namespace_and_users_read_their_own() -> None:
    own = (Matcher("namespace", "=", "serin-system"),)
    assert settings().trust == Trust(own, "serin_namespace", True)
    assert settings("--namespace=here").trust.router == (Matcher("namespace", "=", "here"),)


def test_everything_is_set_by_the_environment_or_switched_off() -> None:
    names = {"SERIN_ROUTER_MATCHERS": 'job="serin"', "SERIN_TENANT_LABEL": "ns", "SERIN_USER_QUERIES": "false"}
    assert settings(environment=names).trust == Trust((Matcher("job", "=", "serin"),), "ns", False)
    assert settings(environment=dict.fromkeys(list(names)[:2], "")).trust == Trust()


@pytest.mark.parametrize("word", ["--router-matchers=a", "--router-matchers={a='b'}", "--tenant-label=a-b"])
def test_wrong_matchers_are_refused(word: str) -> None:
    with pytest.raises(SettingsError, match=r"^SERIN_ROUTER_MATCHERS or SERIN_TENANT_LABEL: .*: write "):
        settings(word)
