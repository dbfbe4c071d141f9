"""Built-in metric templates as files: the spec of a MetricTemplate in YAML, and its name.

Each router, and the folder of model servers, keeps its own; the catalog in metrics/ puts them together.
"""

from collections.abc import Mapping
from functools import cache
from importlib import resources

import yaml

from serin.api.json import JsonObject


@cache
def read_templates(package: str) -> Mapping[str, JsonObject]:
    """Read every YAML file of a package: name to the same JSON that a MetricTemplate has as its spec."""
    found = {}
    for file in resources.files(package).iterdir():
        if file.name.endswith(".yaml"):
            body = yaml.safe_load(file.read_text())
            found[body.pop("name")] = body
    return found
