"""The built-in metric templates, as the operator knows them."""

from serin.metrics.catalog import Catalog
from serin.routers.envoy.templates import templates

CATALOG = Catalog.of(templates())
