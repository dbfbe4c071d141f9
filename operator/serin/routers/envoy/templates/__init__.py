"""Metric templates that Envoy's own series make possible, one YAML file each; series.py says what the series count."""

from collections.abc import Mapping

from serin.api.json import JsonObject
from serin.api.template_files import read_templates


def templates() -> Mapping[str, JsonObject]:
    """Read the templates: name to the spec of a MetricTemplate, with the extra keys that routers have."""
    return read_templates(__name__)
