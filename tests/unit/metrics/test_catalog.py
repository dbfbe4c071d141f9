"""The catalog of built-in templates, and what the metrics folder does not know of routers."""

from pathlib import Path

import pytest

import serin.metrics
from serin.metrics.catalog import Catalog
from serin.routers import envoy
from tests.catalog import CATALOG


def test_templates_of_all_providers_are_found_by_name() -> None:
    assert {"request-errors", "request-latency"} <= {*CATALOG.names}
    more = Catalog.of(envoy.templates(), {"answers": {"distribution": {"counts": "a{ {{.version}} }", "by": "label"}}})
    assert more.names == tuple(sorted({*CATALOG.names, "answers"}))


def test_a_name_is_given_once() -> None:
    with pytest.raises(ValueError, match="two built-in templates have the name bad-outputs"):
        Catalog.of(envoy.templates(), envoy.templates())


def test_no_router_is_named() -> None:
    files = [path for path in Path(serin.metrics.__path__[0]).rglob("*") if path.suffix in (".py", ".yaml")]
    assert len(files) > 10
    assert not [path.name for path in files if "envoy" in path.read_text().lower()]
